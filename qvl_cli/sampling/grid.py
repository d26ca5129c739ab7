"""The even grid: every picture on screen at the asked rate, in pairs."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

from qvl_cli.media.info import MediaInfo
from qvl_cli.sampling.plan import Step
from qvl_cli.timeline import TimeSpan, prompt_seconds

Pair = tuple[Fraction, Fraction]
T = TypeVar("T")


def on_screen(times: Sequence[Fraction], time: Fraction) -> Fraction:
    """The last of the ascending frame times at or before `time`; the first where there is none."""
    return times[max(bisect_right(times, time) - 1, 0)]


def even_pairs(info: MediaInfo, span: TimeSpan, fps: Fraction) -> Iterator[Pair]:
    """(t0, t1) of every step at the asked rate, ascending; t0 == t1 where a frame stands alone. Pictures and
    pages that are steps of their own have no rate: each is one. None where all of `span` is missing."""
    times, apart = info.frame_times, 1 / fps
    if info.alone:
        first = max(bisect_right(times, span.start) - 1, 0)
        yield from ((time, time) for time in times[first : bisect_left(times, span.end)])
        return

    # What is on screen where a hole begins is not there in its midst.
    latest = on_screen(times, span.start) if hole_at(span.start, info.holes) else Fraction(-1)
    tick = 0
    while (now := span.start + tick * apart) < span.end:
        t0 = on_screen(times, now)
        if t0 <= latest:  # the same picture is still on screen: go on to the grid time that shows another
            following = bisect_right(times, latest)
            if following == len(times):
                return
            tick = max(tick + 1, math.ceil((times[following] - span.start) * fps))
            continue
        following_tick = now + apart
        t1 = t0
        if following_tick < span.end:
            second = on_screen(times, following_tick)
            # A frame may begin a little before its grid time, and the next one then lies just out of reach.
            near = on_screen(times, t0 + apart)
            if near > t0 and (near == second or second - near < apart / 2):
                t1 = near
                latest = second
                tick += 1
        latest = max(latest, t1)
        yield t0, t1
        tick += 1


def distinct(pairs: list[Pair]) -> list[Pair]:
    """Without the steps whose printed time another step already has."""
    kept: list[Pair] = []
    printed = ""
    for t0, t1 in pairs:
        text = prompt_seconds(t0, t1)
        if text != printed:
            kept.append((t0, t1))
            printed = text
    return kept


def thin(steps: Sequence[T], count: int) -> list[T]:
    """`count` of the steps, evenly spread, the first one always among them."""
    return [steps[n * len(steps) // count] for n in range(count)]


def tile(pairs: list[Pair], span: TimeSpan, holes: Sequence[TimeSpan] = ()) -> Iterator[Step]:
    """Each step stands for the time from its first frame to the next step's, or to a hole before that."""
    missing = hole_at(span.start, holes)
    starts = [missing.end if missing else span.start, *(t0 for t0, _ in pairs[1:]), span.end]
    for (t0, t1), start, end in zip(pairs, starts, starts[1:], strict=False):
        yield up_to_a_hole(Step(t0, t1, TimeSpan(start, end)), holes)


def hole_at(time: Fraction, holes: Sequence[TimeSpan]) -> TimeSpan | None:
    return next((hole for hole in holes if hole.start <= time < hole.end), None)


def up_to_a_hole(step: Step, holes: Sequence[TimeSpan]) -> Step:
    """The step with an interval that ends where something behind its frames is missing."""
    ends = [hole.start for hole in holes if step.t1 < hole.start < step.interval.end]
    return replace(step, interval=TimeSpan(step.interval.start, min(ends))) if ends else step


def own_steps(pairs: list[Pair], info: MediaInfo, span: TimeSpan) -> Iterator[Step]:
    """Each step stands for its own picture or page, and for none that is left out behind it."""
    times = info.frame_times
    for t0, t1 in pairs:
        following = bisect_right(times, t0)
        end = times[following] if following < len(times) else span.end
        yield Step(t0, t1, TimeSpan(max(t0, span.start), min(end, span.end)))
