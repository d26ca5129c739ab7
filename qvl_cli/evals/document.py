"""The one JSON line a suite or a benchmark ends in: results, and on what they were measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qvl_cli import __version__

_PACKAGES = ("torch", "transformers", "av", "numpy")
# What decides which kernels torch, numpy and the codecs run.
_CPU_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "i8mm", "bf16", "sve",
)  # fmt: skip


def document(
    bench: str, results: Mapping[str, Any], n: Mapping[str, int], ci: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """results: key -> number, or variant -> number. n: how many of what. ci: key -> [low, high], None
    where there is too little to tell. more: what else the reader must know, under names of its own."""
    return {
        "bench": bench,
        "results": dict(results),
        "n": dict(n),
        "ci": dict(ci),
        **more,
        "machine": machine(),
        "versions": versions(),
    }


def machine() -> str:
    """Architecture, processor, cores this process may use, and what its kernels depend on."""
    info = _cpuinfo()
    words = (info.get("flags") or info.get("Features") or "").split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [platform.machine(), info.get("model name", ""), f"{cores} cores"]
    parts.append(" ".join(flag for flag in _CPU_FLAGS if flag in words))
    if threads := os.environ.get("OMP_NUM_THREADS"):
        parts.append(f"OMP_NUM_THREADS={threads}")
    return ", ".join(part for part in parts if part)


def versions() -> dict[str, str]:
    """qvl's, Python's, and those of the packages results depend on."""
    found = {"qvl": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpuinfo() -> dict[str, str]:
    """The last processor of /proc/cpuinfo; empty where there is none (macOS)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {
        key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon
    }
