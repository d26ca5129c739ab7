"""Chunked streaming beside transformers' one-shot forward, at equal tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from qvl_cli.bench.process import measure
from qvl_cli.bench.row import Bench, Figures, Flag, Round, Settings, Variant, python_module
from qvl_cli.bench.shapes import shape_named
from qvl_cli.errors import QvlError, UsageError

SIDE = 256  # pixels of a frame's side
VISION_TOKENS = 64  # of a step
# at least: two brackets, and ten for `<0.0 seconds>` in the byte vocabulary
STEP_TOKENS = VISION_TOKENS + 12
KV = {"fp32": "none", "int8": "int8", "int4": "int4"}  # how the cache holds keys and values -> `--kv`

_RUN = "qvl_cli.bench.stream_run"


def _variants(settings: Settings, folder: Path) -> Sequence[Variant]:
    shape_named(settings["shape"])
    sizes, chunks = _counts(settings, "tokens"), _counts(settings, "chunks")
    model = folder / "model"
    writing = python_module("qvl_cli.bench.checkpoint", settings["shape"], str(model))
    measure(Variant("writing the random model", writing), folder)
    variants: list[Variant] = []
    for size in sizes:
        work = (str(model), str(_steps(sizes[size])))
        variants += [
            Variant(f"peer load {size}", python_module(_RUN, "load-peer", *work)),
            Variant(f"peer {size}", python_module(_RUN, "peer", *work, str(folder / f"peer-{size}.npy"))),
            Variant(f"qvl load {size}", python_module(_RUN, "load-qvl", *work)),
        ]
        for kv, chunk in product(KV, chunks):
            logits = str(folder / f"qvl-{size}-{kv}-{chunk}.npy")
            command = python_module(_RUN, "qvl", *work, logits, str(chunks[chunk]), kv)
            variants.append(Variant(f"qvl {size} chunk {chunk} {kv}", command))
    return variants


def _figures(runs: Round) -> Figures:
    """Ratios are qvl's over the peer's. The largest size with the smallest chunk goes by the name of its
    cache alone."""
    streams = [name.split() for name in runs if " chunk " in name]
    largest = streams[-1][1]
    _, _, _, smallest, _ = streams[0]
    figures: dict[str, dict[str, float]] = {
        key: {} for key in ("memory_ratio", "time_ratio", "cpu_ratio", "max_abs_diff", "qvl_mb", "peer_mb")
    }
    for _, size, _, chunk, kv in streams:
        key = kv if (size, chunk) == (largest, smallest) else f"{kv} {size} chunk {chunk}"
        stream, peer = runs[f"qvl {size} chunk {chunk} {kv}"], runs[f"peer {size}"]
        own = stream.peak_bytes - runs[f"qvl load {size}"].peak_bytes
        others = peer.peak_bytes - runs[f"peer load {size}"].peak_bytes
        if others <= 0:
            raise QvlError(f"{size} tokens take no memory that can be told from noise", "give more --tokens")
        figures["qvl_mb"][key], figures["peer_mb"][size] = own / 2**20, others / 2**20
        figures["memory_ratio"][key] = own / others
        figures["time_ratio"][key] = stream.number("seconds") / peer.number("seconds")
        figures["cpu_ratio"][key] = stream.number("cpu_seconds") / peer.number("cpu_seconds")
        figures["max_abs_diff"][key] = _distance(stream.report, peer.report)
    coded = {name.split()[-1]: runs[name] for name in runs if "kv_over_bf16" in runs[name].report}
    if coded:
        figures["kv_bytes_ratio"] = {kv: run.number("kv_over_bf16") for kv, run in coded.items()}
    figures["tokens"] = {size: runs[f"peer {size}"].number("tokens") for size in figures["peer_mb"]}
    return figures


def _distance(one: Mapping[str, str], other: Mapping[str, str]) -> float:
    """Largest difference between the logits two runs have left in files."""
    import numpy as np

    return float(np.abs(np.load(one["logits"]) - np.load(other["logits"])).max())


def _steps(tokens: int) -> int:
    """Steps that take at least so many tokens."""
    return -(-tokens // STEP_TOKENS)


def _counts(settings: Settings, flag: str) -> dict[str, int]:
    """`4k,16k` -> {"4k": 4096, "16k": 16384}, in rising order. Raises UsageError."""
    counts: dict[str, int] = {}
    for word in settings[flag].lower().split(","):
        digits = word.strip().removesuffix("k")
        if not digits.isdecimal() or int(digits) < 1:
            raise UsageError(f"--{flag} {settings[flag]!r} is no list of counts", "write 8192 or 4k,16k")
        counts[word.strip()] = int(digits) * (1024 if word.strip().endswith("k") else 1)
    return dict(sorted(counts.items(), key=lambda item: item[1]))


BENCH = Bench(
    name="stream",
    measures="chunked streaming beside transformers' one-shot forward (fp32, sdpa, last logit only)",
    variants=_variants,
    figures=_figures,
    flags=(
        Flag("tokens", "16k", "Prompt sizes: 4k,16k."),
        Flag("chunks", "8,32", "Steps per chunk."),
        Flag("shape", "small", "Of the random model: small, or 2b as released."),
    ),
)
