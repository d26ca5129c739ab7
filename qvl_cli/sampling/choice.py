"""Which steps are kept where sampling is not even: never more than the even plan has."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.sampling.edges import cuts, edges
from qvl_cli.sampling.grid import Pair, on_screen, thin
from qvl_cli.scan import Change

# Two steps this far apart never print the same time: the second frame of the first lies before the second.
_APART = Fraction(1, 5)
_MOTION = 0.005  # of the picture: less than this goes on unseen until it ends
_LARGE = 0.016  # of the picture


@dataclass(frozen=True, slots=True)
class Choice:
    """pairs: of the kept steps, ascending; kept: (reason, how many); wanted: how many there was reason for;
    gap: the longest the planner let pass without looking."""

    pairs: list[Pair]
    kept: tuple[tuple[str, int], ...]
    wanted: int
    gap: Fraction


@dataclass(frozen=True, slots=True)
class Grid:
    """The even plan at the asked rate, the video's frames, and the bounds of a choice.

    room: most steps; times: of all frames; end: of the range; gap: longest time without a look, and `looks`
    the most steps it may take: where that is too few, gaps grow until half the room is left for changes.
    """

    pairs: Sequence[Pair]
    times: Sequence[Fraction]
    end: Fraction
    fps: Fraction
    room: int
    gap: Fraction
    looks: int


def choose_active(grid: Grid, changes: Sequence[Change]) -> Choice:
    """Steps at changes: all of them where they fit, else the edges of the largest motion first."""
    quiet = 2 / grid.fps
    needed = _needed(grid, changes)
    found = edges(changes, quiet)
    choice = _Selection(grid)
    if len(needed) + choice.fills_of([time for time, _ in needed]) <= grid.room:
        choice.add(needed)
        # A step that ends with the old picture: without it the change might lie anywhere in a long interval.
        choice.add((time, "before") for time in _before(grid, needed, changes))
        # What was saved pays for large motion that begins between two steps of a smaller one.
        choice.add((edge.time, "change") for edge in found if edge.begins and edge.strength >= _LARGE)
        return choice.result(len(needed))
    choice.add((edge.time, "change") for edge in found)
    left = grid.room - choice.count
    choice.add(thin(needed, left) if 0 < left < len(needed) else needed)
    return choice.result(len(needed))


def choose_scenes(grid: Grid, changes: Sequence[Change]) -> Choice:
    """The first frames of each scene and the last ones before it."""
    found = [(time, "cut") for time in cuts(changes, 2 / grid.fps)]
    before = [
        (time, "before")
        for cut, _ in found
        if (time := on_screen(grid.times, cut - 1 / grid.fps)) <= cut - _APART
    ]
    choice = _Selection(grid)
    choice.add(found)
    choice.add(before)
    return choice.result(choice.count + choice.refused)


def choose_keyframes(grid: Grid, keyframes: Iterable[Fraction]) -> Choice:
    """Single frames: decoding nothing else is what makes this a fast look."""
    found = [grid.pairs[0][0]]
    for time in keyframes:
        if found[-1] + _APART <= time < grid.end:
            found.append(time)
    pairs = [(time, time) for time in thin(found, min(grid.room, len(found)))]
    return Choice(pairs, (("keyframe", len(pairs)),), len(found), grid.gap)


def _needed(grid: Grid, changes: Sequence[Change]) -> list[tuple[Fraction, str]]:
    """At most one step for each one of the grid, so that all that the grid would show is shown: the frame of
    a change out of rest, and while motion goes on the last changed frame at every time of the grid."""
    times = [change.time for change in changes]
    areas = [0.0]
    for change in changes:
        areas.append(areas[-1] + change.area)
    starts = [t0 for t0, _ in grid.pairs]
    found = [(starts[0], "start")]
    for at, now in enumerate(starts[1:], start=1):
        following = starts[at + 1] if at + 1 < len(starts) else grid.end
        last = found[-1][0]
        since, upto = bisect_right(times, last), bisect_right(times, now)
        if since < upto:
            alone, at_rest = upto == since + 1, times[upto - 1] <= starts[at - 1]
            time = max(times[upto - 1], _frame_from(grid, last + _APART))
            if time <= now and (alone or at_rest or areas[upto] - areas[since] >= _MOTION):
                found.append((time, "change" if alone or at_rest else "motion"))
        elif upto < len(times) and last + _APART <= times[upto] < following:
            found.append((times[upto], "change"))
    return found


def _before(grid: Grid, needed: Sequence[tuple[Fraction, str]], changes: Sequence[Change]) -> list[Fraction]:
    """For each change out of rest, the frame on screen 1/fps before it."""
    times = [change.time for change in changes]
    found = []
    for time, reason in needed:
        at = bisect_left(times, time)
        if reason == "change" and (at == 0 or times[at - 1] <= time - 2 / grid.fps):
            found.append(on_screen(grid.times, time - 1 / grid.fps))
    return found


def _frame_from(grid: Grid, time: Fraction) -> Fraction:
    """The first frame at or after `time`; the last of the video where there is none."""
    return grid.times[min(bisect_left(grid.times, time), len(grid.times) - 1)]


class _Selection:
    """A growing set of steps, and the even steps that fill its gaps; together never more than the room."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._starts = [t0 for t0, _ in grid.pairs]
        self._reasons = {self._starts[0]: "start"}
        self._times = [self._starts[0]]
        self.gap = grid.gap
        self.refused = 0
        self.count = 1 + len(self._fills(self._starts[0], grid.end))
        if self.count > grid.looks:
            while self.count > max((grid.room + 1) // 2, 1):
                self.gap = self.gap * 5 / 4
                self.count = 1 + len(self._fills(self._starts[0], grid.end))

    def add(self, wanted: Iterable[tuple[Fraction, str]]) -> None:
        """Take each (time, reason) that still fits, in their order."""
        for time, reason in wanted:
            at = bisect_left(self._times, time)
            before = self._times[at - 1] if at else None
            after = self._times[at] if at < len(self._times) else None
            if (
                before is None
                or time - before < _APART
                or time >= self._grid.end
                or (after is not None and after - time < _APART)
            ):
                continue
            end = after or self._grid.end
            more = (
                1
                + len(self._fills(before, time))
                + len(self._fills(time, end))
                - len(self._fills(before, end))
            )
            if self.count + more <= self._grid.room:
                self.count += more
                insort(self._times, time)
                self._reasons[time] = reason
            else:
                self.refused += 1

    def fills_of(self, times: Sequence[Fraction]) -> int:
        """How many even steps the gaps of `times`, which ascend, would take."""
        ends = [*times[1:], self._grid.end]
        return sum(len(self._fills(a, b)) for a, b in zip(times, ends, strict=True))

    def result(self, wanted: int) -> Choice:
        grid, reasons = self._grid, dict(self._reasons)
        for start, end in zip(self._times, [*self._times[1:], grid.end], strict=True):
            reasons |= dict.fromkeys(self._fills(start, end), "gap")
        even = dict(grid.pairs)
        pairs: list[Pair] = []
        latest = grid.end  # the frames of a step lie before the next step
        for t0 in sorted(reasons, reverse=True):
            reach = on_screen(grid.times, t0 + 1 / grid.fps) if t0 not in even else even[t0]
            if reach >= latest:
                reach = grid.times[bisect_left(grid.times, latest) - 1]
            pairs.append((t0, max(reach, t0)))
            latest = t0
        return Choice(pairs[::-1], tuple(Counter(reasons.values()).items()), wanted, self.gap)

    def _fills(self, start: Fraction, end: Fraction) -> list[Fraction]:
        """Times of the grid between two steps so that no gap is longer than `gap`, where frames allow it."""
        found: list[Fraction] = []
        while end - start > self.gap:
            upto = end if end == self._grid.end else end - _APART
            after = bisect_left(self._starts, start + _APART)
            at = max(bisect_right(self._starts, min(start + self.gap, upto)) - 1, after)
            if at >= len(self._starts) or self._starts[at] > upto or self._starts[at] >= end:
                break
            start = self._starts[at]
            found.append(start)
        return found
