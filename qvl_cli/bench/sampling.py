"""Adaptive sampling beside even sampling: tokens, what is lost, and real clips with known changes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from qvl_cli.bench.row import Bench, Figures, Flag, Round, Settings, Variant, python_module
from qvl_cli.errors import UsageError

_RUN = "qvl_cli.bench.sampling_run"
_PERSONS = (
    "6.1", "20.0", "22.8", "45.0", "50.3", "70.0", "74.5", "87.0", "92.1", "120.1", "123.5", "136.1",
)  # fmt: skip

# Clip in the folder of --media -> seconds at which it is known to change. From intel-iot-devkit/sample-videos
# (a person comes into view, leaves, ...) and opencast/opencast (a slide changes).
REAL: Mapping[str, tuple[Fraction, ...]] = {
    "one-by-one-person-detection.mp4": tuple(Fraction(time) for time in _PERSONS),
    "scene-change.mov": (Fraction(12),),
    "black.mp4": (Fraction(20),),
}


def _variants(settings: Settings, folder: Path) -> Sequence[Variant]:
    counts = {flag: _count(settings, flag) for flag in ("busy-videos", "locate-videos", "static-videos")}
    variants = [
        Variant("still", python_module(_RUN, "still", str(folder))),
        Variant("busy", python_module(_RUN, "busy", str(folder), counts["busy-videos"])),
        Variant("locate", python_module(_RUN, "locate", str(folder), counts["locate-videos"])),
        Variant("static", python_module(_RUN, "static", str(folder), counts["static-videos"])),
    ]
    if not settings["media"]:
        _say("real_changes_kept is not measured: no --media folder")
        return variants
    media = Path(settings["media"])
    if missing := [name for name in REAL if not (media / name).is_file()]:
        raise UsageError(f"{media} lacks {', '.join(missing)}", "name the folder that has them, or none")
    return [*variants, Variant("real", python_module(_RUN, "real", str(folder), str(media)))]


def _figures(runs: Round) -> Figures:
    """Ratios are adaptive's tokens over the even plan's; deltas are points of R1@0.5."""
    still, busy, locate = runs["still"], runs["busy"], runs["locate"]
    figures: dict[str, float | Mapping[str, float]] = {
        "still_token_ratio": {
            name: still.number(f"{name}_active") / still.number(f"{name}_even")
            for name in ("screen", "camera")
        },
        "still_changes_kept": {
            name: still.number(f"{name}_kept") / still.number(f"{name}_known")
            for name in ("screen", "camera")
        },
        "still_locate_delta": 100
        * (locate.number("active") - locate.number("even"))
        / locate.number("asked"),
        "still_locate_even": 100 * locate.number("even") / locate.number("asked"),
        "still_locate_tokens": locate.number("active_tokens") / locate.number("even_tokens"),
        "still_locate_asked": locate.number("asked"),
        "scan_over_watch": locate.number("scan_cpu_s") / locate.number("watch_cpu_s"),
        "busy_token_ratio": busy.number("active") / busy.number("even"),
        "busy_events_lost": busy.number("lost"),
        "busy_events": busy.number("seen"),
    }
    static, kinds = runs["static"], ("still", "busy")
    figures |= {
        "drop_static_token_ratio": {
            kind: static.number(f"{kind}_changed_tokens") / static.number(f"{kind}_all_tokens")
            for kind in kinds
        },
        "drop_static_locate_delta": {
            kind: 100
            * (static.number(f"{kind}_changed") - static.number(f"{kind}_all"))
            / static.number(f"{kind}_asked")
            for kind in kinds
        },
        "drop_static_asked": {kind: static.number(f"{kind}_asked") for kind in kinds},
    }
    if real := runs.get("real"):
        known = sum(real.number(f"{name} known") for name in REAL)
        figures["real_changes_kept"] = sum(real.number(f"{name} kept") for name in REAL) / known
        figures["real_changes"] = known
        figures["real_token_ratio"] = {name: real.number(f"{name} ratio") for name in REAL}
        figures["real_token_ratio_free"] = {name: real.number(f"{name} free") for name in REAL}
    return figures


def _count(settings: Settings, flag: str) -> str:
    if not settings[flag].isdecimal() or int(settings[flag]) < 1:
        raise UsageError(f"--{flag} {settings[flag]!r} is no number above 0", f"try --{flag} 10")
    return settings[flag]


def _say(line: str) -> None:
    sys.stderr.write(f"qvl: {line}\n")


BENCH = Bench(
    name="sampling",
    measures="adaptive sampling beside even sampling: tokens, and what is lost",
    variants=_variants,
    figures=_figures,
    repeats=1,  # of all but scan_over_watch, which is timed, a second round finds the same: videos are seeded
    flags=(
        Flag("media", "", "Folder of the real clips with known changes; none: they are left out."),
        Flag("busy-videos", "10", "Drawn busy videos of 90 seconds."),
        Flag(
            "locate-videos", "40", "Drawn videos of 90 seconds in which little happens, four questions each."
        ),
        Flag(
            "static-videos",
            "10",
            "Drawn videos of 90 seconds for --drop-static: still, and as many busy.",
        ),
    ),
)
