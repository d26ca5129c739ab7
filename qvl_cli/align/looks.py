"""Where to look again for a boundary, and what several looks agree on. Pure: plain data in, exact times out.

close     a step at every time that can be written (0.1 s), of two neighbouring frames, a second to either
          side; another look begins each step at another frame. What appears or leaves is seen to the frame.
          Such steps show no motion: for what something *does* a look finds nothing, and says so.
shifted   the even grid, begun a few frames later: steps like those checkpoints are trained on. Each look
          parts the frames elsewhere, so that what they say of a boundary is off in both directions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, pairwise

from qvl_cli.align import ScoredSpan
from qvl_cli.media.info import MediaInfo
from qvl_cli.sampling import Step
from qvl_cli.sampling.grid import distinct, even_pairs, tile
from qvl_cli.timeline import TimeSpan, prompt_seconds

LOOKS = 5  # shifted; odd: begun at fifths of a step they part the two frames of a step at fifths, too
CLOSE_LOOKS = 2
REACH = 8  # times of the grid that a shifted look reaches to either side
CLOSE_REACH = Fraction(1)  # seconds
CLOSE_SPREAD = Fraction(4)  # seconds, like SPREAD
WIDEST = 60  # like REACH, where the plan's own steps are far apart
SPREAD = 60  # times of the grid between the first and the last boundary that share a look
APART = 2  # times of the grid that a boundary may move; also how far shifted looks may disagree
CLOSE_APART = Fraction(1, 5)  # seconds that close looks may disagree


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


def windows(
    found: Sequence[Boundary], reach: Fraction, spread: Fraction, bounds: TimeSpan
) -> list[tuple[TimeSpan, list[Boundary]]]:
    """The stretches to look at, each with its boundaries: `reach` seconds around every boundary, those that
    meet as one while no two boundaries are more than `spread` seconds apart: a look must not outgrow what a
    model holds."""
    stretches: list[tuple[TimeSpan, list[Boundary]]] = []
    for each in sorted(found, key=lambda boundary: boundary.time):
        own = TimeSpan(max(each.time - reach, bounds.start), min(each.time + reach, bounds.end))
        if stretches:
            before, shared = stretches[-1]
            if own.start <= before.end and each.time - shared[0].time <= spread:
                stretches[-1] = (TimeSpan(before.start, own.end), [*shared, each])
                continue
        stretches.append((own, [each]))
    return stretches


def close_steps(info: MediaInfo, window: TimeSpan, fps: Fraction, looks: int) -> list[tuple[Step, ...]]:
    """Up to `looks` grids of neighbouring frames over `window`, a step for every time that can be written."""
    first, last = (bisect_left(info.frame_times, time) for time in (window.start, window.end))
    times = list(info.frame_times[first:last])
    pairs = [(t0, t1 if t1 - t0 <= 1 / fps else t0) for t0, t1 in pairwise(times)]
    alike = [list(group) for _, group in groupby(pairs, lambda pair: prompt_seconds(*pair))]
    found = []
    for look in range(min(looks, max(map(len, alike), default=0))):
        chosen = [group[look * len(group) // looks] for group in alike]
        found.append(tuple(tile(chosen, TimeSpan(chosen[0][0], window.end))))
    return list(dict.fromkeys(found))


def shifted_steps(info: MediaInfo, window: TimeSpan, fps: Fraction, looks: int) -> list[tuple[Step, ...]]:
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


def open_still(votes: Sequence[Fraction | None], looks: int) -> bool:
    """Whether more than half of `looks` looks can still see the boundary, after these votes."""
    return 2 * (looks - sum(each is None for each in votes)) > looks


def agreed(votes: Sequence[Fraction | None], apart: Fraction) -> Fraction | None:
    """The mean of the votes, of many without the first and the last; None where most looks saw nothing, or
    where those that did are more than `apart` seconds apart."""
    cast = sorted(each for each in votes if each is not None)
    if 2 * len(cast) <= len(votes):
        return None
    middle = cast[1:-1] if len(cast) > 3 else cast
    if middle[-1] - middle[0] > apart:
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
