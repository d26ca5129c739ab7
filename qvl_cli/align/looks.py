"""Where to look again for a boundary, and what several looks agree on. Pure: plain data in, exact times out.

A look is the plan's own even grid, begun a few frames later. Its steps are like those the checkpoint was
trained on (two frames 1/fps apart), so it is asked nothing new; but each look has its frames at other
places, and all looks together have one at every place of the native rate, or as many as there are looks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from qvl_cli.align import ScoredSpan
from qvl_cli.media.info import MediaInfo
from qvl_cli.sampling import Step
from qvl_cli.sampling.grid import distinct, even_pairs, tile
from qvl_cli.timeline import TimeSpan, merge

REACH = 8  # grid times that are watched on either side of a boundary: four steps
LOOKS = 5  # odd: grids begun at fifths of a step also part the two frames of a step at fifths
WIDEST = 60  # grid times on either side, where the plan's own steps are far apart
APART = 2  # grid times that a boundary may move; also how far the looks may disagree


@dataclass(frozen=True, slots=True)
class Boundary:
    """One end of a found span. of: number of the span; time: where it was found; within: how far from there
    it may truly be, by the steps around it."""

    of: int
    is_start: bool
    time: Fraction
    within: Fraction


def boundaries(spans: Sequence[ScoredSpan], steps: Sequence[Step], fps: Fraction) -> list[Boundary]:
    """Both ends of every span, in the order of the spans. steps: those that were watched, in order."""
    starts = [step.interval.start for step in steps]

    def around(time: Fraction) -> Fraction:
        at = bisect_left(starts, time)
        near = steps[max(at - 2, 0) : at + 1]
        return max(APART / fps, *(step.interval.duration for step in near))

    return [
        Boundary(number, is_start, time, around(time))
        for number, each in enumerate(spans)
        for is_start, time in ((True, each.span.start), (False, each.span.end))
    ]


def windows(found: Sequence[Boundary], fps: Fraction, bounds: TimeSpan) -> list[TimeSpan]:
    """The stretches to look at: around each boundary, those that overlap as one."""
    spans = []
    for each in found:
        reach = max(2 * each.within, REACH / fps)
        spans.append(TimeSpan(max(each.time - reach, bounds.start), min(each.time + reach, bounds.end)))
    return merge(spans)


def look_steps(info: MediaInfo, window: TimeSpan, fps: Fraction, looks: int) -> list[tuple[Step, ...]]:
    """Up to `looks` grids over `window`, each begun at another frame of its first step."""
    times, step = info.frame_times, 2 / fps
    first = bisect_left(times, window.start)
    begins = times[first : max(bisect_left(times, min(window.start + step, window.end)), first + 1)]
    count = min(looks, len(begins))
    found = []
    for look in range(count):
        wanted = window.start + step * look / count
        begin = begins[min(bisect_left(begins, wanted), len(begins) - 1)]
        span = TimeSpan(begin, window.end)
        if begin < window.end:
            found.append(tuple(tile(distinct(list(even_pairs(info, span, fps))), span)))
    return found


def vote(boundary: Boundary, steps: Sequence[Step], spans: Sequence[TimeSpan]) -> Fraction | None:
    """Where one look sees the boundary; None where it does not, or cannot tell: a span that reaches into the
    look's first step may have begun before it, and so at the last one."""
    if not steps:
        return None
    seen = TimeSpan(steps[0].interval.end, steps[-1].interval.start) if len(steps) > 2 else None
    ends = [span.start if boundary.is_start else span.end for span in spans]
    near = [
        end
        for end in ends
        if seen and seen.start <= end <= seen.end and abs(end - boundary.time) <= boundary.within
    ]
    return min(near, key=lambda end: abs(end - boundary.time), default=None)


def agreed(votes: Sequence[Fraction | None], fps: Fraction) -> Fraction | None:
    """The mean of the votes without the first and the last; None where most looks saw nothing, or where
    those that did contradict each other."""
    cast = sorted(each for each in votes if each is not None)
    if 2 * len(cast) <= len(votes):
        return None
    middle = cast[1:-1] if len(cast) > 3 else cast
    if middle[-1] - middle[0] > APART / fps:
        return None
    return sum(middle, Fraction(0)) / len(middle)


def first_frame(info: MediaInfo, time: Fraction) -> Fraction:
    """The time of the first frame at or after `time`: what begins then is first seen in it, what ends then no
    longer. The end of the video where there is none."""
    at = bisect_left(info.frame_times, time)
    return info.frame_times[at] if at < len(info.frame_times) else info.duration


def moved_spans(
    spans: Sequence[ScoredSpan], moved: Mapping[tuple[int, bool], Fraction]
) -> tuple[ScoredSpan, ...]:
    """`spans` with the boundaries of `moved`: (number of the span, whether its start) -> time. A span that
    would end before it starts, or reach into another that it did not share time with, stays as it was."""
    done = list(spans)
    for number, each in enumerate(spans):
        start = moved.get((number, True), each.span.start)
        end = moved.get((number, False), each.span.end)
        if ((number, True) not in moved and (number, False) not in moved) or start >= end:
            continue
        span = TimeSpan(start, end)
        others = [(other, spans[at]) for at, other in enumerate(done) if at != number]
        if all(not span.intersection(a.span) or each.span.intersection(b.span) for a, b in others):
            done[number] = replace(each, span=span, refined=True)
    return tuple(done)
