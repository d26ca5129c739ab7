"""Sampling frames from 1080p x264 beside PyAV and decord: processor seconds, memory, and exact times."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from qvl_cli.bench.process import measure
from qvl_cli.bench.row import Bench, Figures, Flag, Round, Settings, Variant, python_module
from qvl_cli.errors import QvlError, UsageError

_RUN = "qvl_cli.bench.decode_run"
_DENSE, _SPARSE = "1", "5"  # seconds from frame to frame
_LONG_GOP, _SHORT_GOP = 250, 60
_PEERS = ("pyav", *(("decord",) if find_spec("decord") else ()))
_NONKEY = "pyav-nonkey"  # keyframes alone


def _variants(settings: Settings, folder: Path) -> Sequence[Variant]:
    minutes, hours = _number(settings, "minutes"), _number(settings, "hours")
    dense = _footage(folder, round(60 * minutes), _LONG_GOP, settings["clip"])
    sparse = _footage(folder, round(60 * minutes), _SHORT_GOP, settings["clip"])
    long = _footage(folder, round(3600 * hours), _SHORT_GOP, settings["clip"])

    def sampled(decoder: str, what: str, path: str, every: str) -> Variant:
        return Variant(f"{decoder} {what}", python_module(_RUN, decoder, path, every))

    return [
        *(sampled(decoder, "dense", dense, _DENSE) for decoder in ("qvl", *_PEERS)),
        *(sampled(decoder, "sparse", sparse, _SPARSE) for decoder in ("qvl", *_PEERS)),
        *(sampled(decoder, "keyframes", dense, "keyframes") for decoder in ("qvl", "pyav", _NONKEY)),
        sampled("qvl", "long", long, _SPARSE),
        Variant("imports", python_module(_RUN, "imports")),
        Variant("times", python_module(_RUN, "times", str(folder))),
    ]


def _figures(runs: Round) -> Figures:
    """Ratios are qvl's processor seconds over those of the better peer that was not told what it may skip;
    `keyframe_over_nonkey_ratio` over PyAV that is told to skip all but keyframes. Raises QvlError where a
    peer gives other frames."""
    ratios: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for what in ("dense", "sparse", "keyframes"):
        ways = {name.split()[0]: run for name, run in runs.items() if name.endswith(f" {what}")}
        own = ways["qvl"]
        for run in ways.values():
            if run.report.get("digest") != own.report.get("digest"):
                raise QvlError(f"{run.variant} gave other frames than {own.variant}")
            seconds[run.variant] = run.number("cpu_seconds")
        plain = min(ways[peer].number("cpu_seconds") for peer in _PEERS if peer in ways)
        ratios[what] = own.number("cpu_seconds") / plain
    imports = runs["imports"].peak_bytes
    return {
        "dense_ratio": ratios["dense"],
        "sparse_ratio": ratios["sparse"],
        "keyframe_ratio": ratios["keyframes"],
        "keyframe_over_nonkey_ratio": seconds["qvl keyframes"] / seconds[f"{_NONKEY} keyframes"],
        "rss_mb": (runs["qvl long"].peak_bytes - imports) / 2**20,
        "rss_growth": (runs["qvl long"].peak_bytes - imports) / (runs["qvl sparse"].peak_bytes - imports),
        "max_time_error_ms": runs["times"].number("max_time_error_ms"),
        "sampling_s": seconds,
    }


def _footage(folder: Path, seconds: int, gop: int, clip: str) -> str:
    """The file to sample: from the cache of an earlier run, or made now."""
    shows = sha256(Path(clip).read_bytes()).hexdigest()[:12] if clip else "drawn"
    cache = Path(tempfile.gettempdir()) / "qvl-bench-footage"
    cache.mkdir(mode=0o700, exist_ok=True)
    path, once = cache / f"{shows}-gop{gop}-{seconds}s.mp4", cache / f"{shows}-gop{gop}.mp4"
    if not path.exists():
        writing = python_module("qvl_cli.bench.footage", str(path), str(once), str(seconds), str(gop), clip)
        measure(Variant(f"writing {path.name}", writing), folder)
    return str(path)


def _number(settings: Settings, flag: str) -> float:
    try:
        value = float(settings[flag])
    except ValueError:
        value = 0
    if not 0.1 <= value <= 100:
        raise UsageError(f"--{flag} {settings[flag]!r} is no length", "write a number from 0.1 to 100")
    return value


BENCH = Bench(
    name="decode",
    measures="sampling 1080p x264 beside PyAV and decord: 1 fps, a frame per 5 s, keyframes; memory; times",
    variants=_variants,
    figures=_figures,
    repeats=3,
    flags=(
        Flag("minutes", "10", "Length of what is sampled side by side."),
        Flag("hours", "2", "Length of what is sampled for its memory."),
        Flag("clip", "", "A video to make the footage from, instead of a drawn scene."),
    ),
)
