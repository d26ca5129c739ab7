"""Changes -> the times that matter most: where motion begins and ends, and where scenes are cut."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.scan import Change

# Shares of the picture. Something small may move all the time: each level has its own beginnings and ends.
_LEVELS = (0.001, 0.004, 0.016, 0.064, 0.256)
_TRAIL = 0.2  # of the largest change: what follows below it is shadows and ripples
_CUT = 0.4  # of the picture changes at a cut
_CALM = 0.5  # of a cut's area: no change just before a cut is larger


@dataclass(frozen=True, slots=True)
class Edge:
    """A stretch of motion begins or ends at `time`; strength: the largest area of a change in it."""

    time: Fraction
    begins: bool
    strength: float


def edges(changes: Sequence[Change], quiet: Fraction) -> list[Edge]:
    """Beginnings and ends of motion, the strongest first.

    quiet: seconds without a change of a level that part two stretches. A beginning reaches back to those of
    the levels below that lie within `quiet`: a person comes in head first.
    """
    found: list[Edge] = []
    begins: list[list[Fraction]] = []
    for level in _LEVELS:
        runs = _runs([change for change in changes if change.area >= level], quiet)
        for run in runs:
            most = max(change.area for change in run)
            first = run[0].time
            for lower in reversed(begins):
                at = bisect_left(lower, first - quiet)
                first = min([first, *lower[at : at + 1]])
            found.append(Edge(first, True, most))
            found.append(Edge(max(each.time for each in run if each.area >= most * _TRAIL), False, most))
        begins.append([run[0].time for run in runs])
    kept: dict[bool, list[Fraction]] = {True: [], False: []}
    strongest: list[Edge] = []
    # Of the levels of one stretch the widest speaks: the earliest beginning, the latest end.
    widest = sorted(found, key=lambda each: (-each.strength, each.time if each.begins else -each.time))
    for edge in widest:
        same = kept[edge.begins]
        at = bisect_left(same, edge.time)
        if any(abs(edge.time - time) <= quiet for time in same[max(at - 1, 0) : at + 1]):
            continue
        same.insert(at, edge.time)
        strongest.append(edge)
    return strongest


def cuts(changes: Sequence[Change], quiet: Fraction) -> list[Fraction]:
    """Times at which most of the picture changes at once, the largest change first."""
    found: list[Change] = []
    for at, change in enumerate(changes):
        since = bisect_right(changes, change.time - quiet, key=lambda each: each.time)
        if change.area >= _CUT and all(each.area <= change.area * _CALM for each in changes[since:at]):
            found.append(change)
    return [change.time for change in sorted(found, key=lambda each: (-each.area, each.time))]


def _runs(changes: Sequence[Change], quiet: Fraction) -> list[list[Change]]:
    runs: list[list[Change]] = []
    for change in changes:
        if runs and change.time - runs[-1][-1].time <= quiet:
            runs[-1].append(change)
        else:
            runs.append([change])
    return runs
