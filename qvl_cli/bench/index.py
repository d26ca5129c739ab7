"""The saved index: the second question beside the first, from a cold disk, and runs killed at any moment.

Cold are the video and its index, which the kernel is told to forget before each question; where it cannot be,
that is said, and `cold` is 0. The model's weights are warm: `cold_first_token_s` counts from after its load.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from qvl_cli.bench.page_cache import unforgettable
from qvl_cli.bench.process import measure
from qvl_cli.bench.row import Bench, Figures, Flag, Round, Settings, Variant, python_module
from qvl_cli.errors import UsageError

_RUN = "qvl_cli.bench.index_run"


def _variants(settings: Settings, folder: Path) -> Sequence[Variant]:
    seconds, kill_seconds, kills = (_count(settings, name) for name in ("seconds", "kill-seconds", "kills"))
    if why := unforgettable(folder):
        _say(f"the second question is not read from a cold disk: {why}; TMPDIR names another folder")
    clip, short = str(folder / "long.mp4"), str(folder / "short.mp4")
    measure(Variant("drawing the video", python_module(_RUN, "film", clip, str(seconds))), folder)
    variants = [
        Variant("first", python_module(_RUN, "first", clip, str(folder / "cache"))),
        Variant("second", python_module(_RUN, "second", clip, str(folder / "cache"))),
    ]
    if kills:
        measure(Variant("drawing the video", python_module(_RUN, "film", short, str(kill_seconds))), folder)
        kill = python_module(_RUN, "kill", short, str(folder / "kills"), str(kills), settings["seed"])
        variants.append(Variant("kill", kill))
    return variants


def _figures(runs: Round) -> Figures:
    first, second = runs["first"], runs["second"]
    figures: dict[str, float | dict[str, float]] = {
        "second_question_ratio": second.number("seconds") / first.number("seconds"),
        "second_question_s": second.number("seconds"),
        "second_question_cpu_s": second.number("cpu_seconds"),
        "first_answer_s": first.number("seconds"),
        "first_answer_cpu_s": first.number("cpu_seconds"),
        "cold_first_token_s": second.number("first_token_s"),
        "cold_first_token_cpu_s": second.number("first_token_cpu_s"),
        "cold": second.number("cold"),
        "index_mb": second.number("index_bytes") / 2**20,
    }
    if "kill" in runs:
        figures["kill_resume_equal"] = runs["kill"].number("equal")
        figures["kills"] = runs["kill"].number("kills")
        figures["kills_with_blocks"] = runs["kill"].number("with_blocks")
    return figures


def _count(settings: Settings, name: str) -> int:
    if not settings[name].isdigit():
        raise UsageError(f"--{name} {settings[name]!r} is no whole number", "write one, like 50")
    return int(settings[name])


def _say(line: str) -> None:
    sys.stderr.write(f"qvl: {line}\n")


BENCH = Bench(
    name="index",
    measures="a second question about a watched hour, and indexing killed at random moments",
    variants=_variants,
    figures=_figures,
    repeats=1,
    flags=(
        Flag("seconds", "3600", "Length of the drawn video."),
        Flag("kills", "50", "How often indexing is killed; 0 leaves it out."),
        Flag("kill-seconds", "60", "Length of the video whose indexing is killed."),
        Flag("seed", "0", "Of the moments."),
    ),
)
