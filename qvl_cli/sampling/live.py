"""The even grid over a stream: the steps that `plan_samples` would choose, as soon as they are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

from qvl_cli.registry import ModelSpec
from qvl_cli.sampling.plan import SamplePlan, SamplingSettings, Step
from qvl_cli.sampling.planner import check_least
from qvl_cli.sampling.size import Shown, affordable_steps, fitted_size, step_tokens, token_budget
from qvl_cli.timeline import TimeSpan, prompt_seconds


class Timed(Protocol):
    @property
    def time(self) -> Fraction: ...


P = TypeVar("P", bound=Timed)


@dataclass(frozen=True, slots=True)
class LiveStep(Generic[P]):
    """A step and its two pictures, the same one twice where it stands alone."""

    step: Step
    pictures: tuple[P, P]


def plan_view(
    info: Shown, settings: SamplingSettings, spec: ModelSpec, window: Fraction, sinks: int
) -> tuple[SamplePlan, Fraction]:
    """What a stream costs: a plan of as many steps as ever lie in the window and beside it, with the budgets
    of `settings` spent on what is in view at once; and the share of the even steps that is watched.

    As for files, frames shrink first, then steps become sparser. Raises UsageError for budgets that are less
    than a step takes.
    """
    check_least(info, settings, spec)
    budget = token_budget(settings, spec)
    wanted = math.ceil(window * settings.fps / 2) + sinks
    count = min(wanted, max(settings.max_frames // 2, 1)) if settings.max_frames else wanted
    full = fitted_size(info, settings, spec, steps=count, max_tokens=None)
    count = affordable_steps(info, settings, spec, count)
    height, width = size = fitted_size(info, settings, spec, steps=count, max_tokens=budget)
    notes = []
    if count < wanted:
        notes.append(f"{count} of {wanted} steps are in view at once, to fit the budget")
    if size != full:
        notes.append(
            f"frames of {full[1]}x{full[0]} -> {width}x{height} pixels: {budget} tokens are "
            f"for what is in view at once"
        )
    share = Fraction(count, wanted)
    apart = 2 / settings.fps / share
    # More than the shortest window holds in whole blocks: a stream always goes on beyond it.
    spans = [TimeSpan(at * apart, (at + 1) * apart) for at in range(2 * (count + spec.block_steps))]
    plan = SamplePlan(
        steps=tuple(Step(span.start, span.start + 1 / settings.fps, span) for span in spans),
        range=TimeSpan(Fraction(0), spans[-1].end),
        width=width,
        height=height,
        tokens_per_step=step_tokens(size, spec),
        fps=settings.fps,
        considered=2 * wanted,
        coarsened=bool(notes),
        notes=tuple(notes),
    )
    return plan, share


def live_steps(
    stream: Iterator[P],
    fps: Fraction,
    finish: Callable[[], Fraction],
    end: Fraction | None = None,
    share: Fraction = Fraction(1),
) -> Iterator[LiveStep[P]]:
    """Steps of a stream of pictures whose times ascend from 0, by the rules of `grid.even_pairs`.

    A step is known once the next one has begun. A handful of pictures is held, whatever the stream's own
    rate. finish: called once the stream is over: when its last picture leaves the screen. end: as if the
    stream were over there. share: of the steps, evenly spread, that is given.
    """

    def ends() -> Fraction:
        return finish() if end is None else min(end, finish())

    pending: tuple[P, P] | None = None
    begin, printed, number = Fraction(0), "", -1
    for pair in _pairs(_Lookahead(stream, end), fps, ends):
        if (text := prompt_seconds(pair[0].time, pair[1].time)) == printed:
            continue  # no two steps print the same time
        printed, number = text, number + 1
        if math.ceil(number * share) == math.ceil((number + 1) * share):
            continue
        if pending is not None:
            yield _step(pending, begin, pair[0].time)
            begin = pair[0].time
        pending = pair
    if pending is not None:
        yield _step(pending, begin, max(ends(), pending[1].time))


def _step(pair: tuple[P, P], begin: Fraction, end: Fraction) -> LiveStep[P]:
    return LiveStep(Step(pair[0].time, pair[1].time, TimeSpan(begin, end)), pair)


class _Lookahead(Generic[P]):
    """The pictures that may still be chosen: the last one at or before each bound asked for, and the first
    one after the last bound."""

    def __init__(self, stream: Iterator[P], end: Fraction | None) -> None:
        self._stream, self._end = stream, end
        self._held: list[P] = []
        self.over = False

    def read_past(self, *bounds: Fraction) -> None:
        """Read until a picture after the last of the ascending `bounds` is held, or the stream is over."""
        while not self.over and (not self._held or self._held[-1].time <= bounds[-1]):
            picture = next(self._stream, None)
            if picture is None or (self._end is not None and picture.time >= self._end):
                self.over = True
                return
            if len(self._held) > 1 and not any(
                self._held[-1].time <= bound < picture.time for bound in bounds
            ):
                self._held.pop()
            self._held.append(picture)

    def on_screen(self, time: Fraction) -> P:
        """The last picture at or before `time`; the first where there is none."""
        return next((each for each in reversed(self._held) if each.time <= time), self._held[0])

    def after(self, time: Fraction) -> P | None:
        return next((each for each in self._held if each.time > time), None)

    def drop_before(self, picture: P) -> None:
        """Nothing earlier will be asked for."""
        self._held = [each for each in self._held if each.time >= picture.time]

    def __bool__(self) -> bool:
        return bool(self._held)


def _pairs(ahead: _Lookahead[P], fps: Fraction, ends: Callable[[], Fraction]) -> Iterator[tuple[P, P]]:
    apart, latest, tick = 1 / fps, Fraction(-1), 0
    while True:
        now = tick * apart
        ahead.read_past(now)
        if not ahead or (ahead.over and now >= ends()):
            return
        first = ahead.on_screen(now)
        if first.time <= latest:  # the same picture is still on screen
            following = ahead.after(latest)
            if following is None:
                return
            tick = max(tick + 1, math.ceil(following.time * fps))
            continue
        ahead.drop_before(first)
        ahead.read_past(first.time + apart, now + apart)
        pair, latest = (first, first), first.time
        if not ahead.over or now + apart < ends():
            second, near = ahead.on_screen(now + apart), ahead.on_screen(first.time + apart)
            if near.time > first.time and (near is second or second.time - near.time < apart / 2):
                pair, latest = (first, near), second.time
                tick += 1
        yield pair
        tick += 1
