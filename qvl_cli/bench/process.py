"""One child process and what it took: wall and processor seconds, peak memory, its own report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from qvl_cli.bench.row import Run, Variant
from qvl_cli.errors import QvlError

SAMPLED = Path("/proc/self/status").exists()
_EVERY = 0.005  # seconds between two looks at the memory: touching 1 GiB for the first time takes 50 of them
MEMORY = (
    f"anonymous RSS of the process and its children, sampled every {_EVERY * 1000:.0f} ms"
    if SAMPLED
    else "peak RSS of the process as the kernel counts it, file pages included: no /proc here"
)


def measure(variant: Variant, folder: Path) -> Run:
    """Run the variant's command to its end. Raises QvlError with its last word where it fails.

    The child reads nothing from stdin and is a process group of its own: whatever ends this function, Ctrl-C
    too, ends the group. folder: for what it prints.
    """
    with tempfile.TemporaryFile(dir=folder) as out, tempfile.TemporaryFile(dir=folder) as err:
        began = time.monotonic()
        try:
            child = subprocess.Popen(
                variant.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise QvlError(f"{variant.name} cannot start: {error}") from error
        try:
            status, used, peak = _watch(child.pid)
            wall = time.monotonic() - began
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            _end_group(child)
        if child.returncode != 0:
            raise QvlError(
                f"{variant.name} {_how(child.returncode)}: {_last_line(err) or 'no word on stderr'}"
            )
        if not SAMPLED:  # macOS counts bytes, the others KiB
            peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Run(variant.name, wall, used.ru_utime + used.ru_stime, peak, _report(_last_line(out)))


def _watch(pid: int) -> tuple[int, Any, int]:
    """Wait status, resource usage and the most anonymous bytes seen until the process ends."""
    ended, peak = threading.Event(), 0

    def sample() -> None:
        nonlocal peak
        while not ended.wait(_EVERY):
            peak = max(peak, _anonymous_bytes(pid))

    sampler = threading.Thread(target=sample, name="qvl-bench-memory", daemon=True)
    if SAMPLED:
        sampler.start()
    try:
        _, status, used = os.wait4(pid, 0)
    finally:
        ended.set()
        if SAMPLED:
            sampler.join()
    return status, used, peak


def _anonymous_bytes(pid: int) -> int:
    """RssAnon of a process and all below it; 0 for one that is gone."""
    total = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total = int(line.split()[1]) * 1024
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += sum(_anonymous_bytes(int(child)) for child in (thread / "children").read_text().split())
    return total


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child and of what it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _how(code: int) -> str:
    return f"failed with exit code {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"


def _last_line(file: IO[bytes]) -> str:
    file.seek(max(file.seek(0, os.SEEK_END) - 65_536, 0))
    lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _report(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
