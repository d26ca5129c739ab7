"""Hours beside minutes: what a block takes when much has been watched, and what stays in memory of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qvl_cli.bench.process import measure
from qvl_cli.bench.row import Bench, Figures, Flag, Round, Settings, Variant, python_module
from qvl_cli.errors import UsageError

POLICIES = ("window", "retrieve")
SHORT = 600  # seconds of the video that the long one is compared with
_RUN = "qvl_cli.bench.scale_run"


def _variants(settings: Settings, folder: Path) -> Sequence[Variant]:
    window = _number(settings, "window")
    seconds = round(_number(settings, "hours") * 3600)
    if seconds <= SHORT:
        raise UsageError(
            f"--hours {settings['hours']} is not longer than 10 minutes", "compare a longer video"
        )
    variants: list[Variant] = []
    for name, length in (("short", SHORT), ("long", seconds)):
        clip = str(folder / f"{name}.mp4")
        measure(Variant("drawing the video", python_module(_RUN, "film", clip, str(length))), folder)
        variants += [
            Variant(f"{policy} {name}", python_module(_RUN, "watch", clip, policy, f"{window:g}"))
            for policy in POLICIES
        ]
    return variants


def _figures(runs: Round) -> Figures:
    """Blocks are compared within the long run, memory between the two. `asked` figures include a locate and
    a question after watching, which under retrieve sees a tenth of all blocks at once."""
    long = {policy: runs[f"{policy} long"] for policy in POLICIES}
    short = {policy: runs[f"{policy} short"] for policy in POLICIES}

    def over(above: str, below: str) -> dict[str, float]:
        return {policy: run.number(above) / run.number(below) for policy, run in long.items()}

    def growth(key: str) -> dict[str, float]:
        return {policy: run.number(key) / short[policy].number(key) for policy, run in long.items()}

    def each(key: str) -> dict[str, float]:
        return {policy: run.number(key) for policy, run in long.items()}

    return {
        "chunk_time_growth": over("late_cpu_s", "early_cpu_s"),
        "chunk_time_growth_wall": over("late_s", "early_s"),
        "rss_growth": growth("peak_bytes"),
        "rss_growth_asked": growth("asked_bytes"),
        "block_cpu_s": each("late_cpu_s"),
        "question_cpu_s": each("question_cpu_s"),
        "question_over_watching": over("question_cpu_s", "watch_cpu_s"),
        "steps": each("steps"),
        "window_s": each("window_s"),
    }


def _number(settings: Settings, name: str) -> float:
    try:
        number = float(settings[name])
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise UsageError(f"--{name} {settings[name]!r} is no number above 0", "write one, like 3 or 0.5")
    return number


BENCH = Bench(
    name="scale",
    measures="a block of video and the memory after hours, beside minutes (window, and retrieve on disk)",
    variants=_variants,
    figures=_figures,
    repeats=1,
    flags=(
        Flag("hours", "3", "Length of the long video; the short one has 10 minutes."),
        Flag("window", "120", "Seconds that a block sees while it is watched."),
    ),
)
