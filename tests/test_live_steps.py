"""Steps over a stream equal those of the plan that knows the whole video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_cli.media import MediaInfo
from qvl_cli.media.live import LiveInfo
from qvl_cli.memory import MemorySettings, what_is_lost
from qvl_cli.registry import read_spec, resolve
from qvl_cli.sampling import SamplingSettings
from qvl_cli.sampling.grid import distinct, even_pairs, tile
from qvl_cli.sampling.live import _Lookahead, live_steps, plan_view
from qvl_cli.timeline import TimeSpan

TINY = read_spec(resolve("tiny"), "tiny")


@dataclass(frozen=True)
class Shot:
    time: Fraction


def _info(times: list[Fraction], duration: Fraction) -> MediaInfo:
    one = Fraction(1)
    return MediaInfo(
        Path("x"), "nut", "h264", "yuv420p", 64, 64, 64, 64, 0, one, Fraction(0), duration, one, True, times,
        (), (), (),
    )  # fmt: skip


ticks = st.lists(st.integers(1, 3000), min_size=0, max_size=60)
rates = st.sampled_from([Fraction(2), Fraction(1), Fraction(1, 2), Fraction(30000, 1001), Fraction(3)])


@settings(max_examples=400, deadline=None)
@given(ticks, st.integers(1, 2000), rates, st.none() | st.integers(1, 20_000))
def test_the_steps_are_those_of_the_plan(gaps: list[int], last: int, fps: Fraction, upto: int | None) -> None:
    times = [Fraction(0)]
    for gap in gaps:
        times.append(times[-1] + Fraction(gap, 1000))
    duration = times[-1] + Fraction(last, 1000)
    end = None if upto is None else Fraction(upto, 1000)
    span = TimeSpan(Fraction(0), duration if end is None else min(end, duration))
    wanted = list(tile(distinct(list(even_pairs(_info(times, duration), span, fps))), span))
    found = list(live_steps(map(Shot, times), fps, lambda: duration, end))
    assert [each.step for each in found] == wanted
    assert [tuple(shot.time for shot in each.pictures) for each in found] == [(s.t0, s.t1) for s in wanted]


def test_a_step_ends_where_a_hole_begins_behind_its_frames() -> None:
    times = [(Fraction(n), Fraction(n) + Fraction(1, 2)) for n in (0, 1, 5, 6)]
    holes = (TimeSpan(Fraction(2), Fraction(5)), TimeSpan(Fraction(7), Fraction(8)))
    steps = tile(times, TimeSpan(Fraction(0), Fraction(7)), holes)
    edges = [(step.interval.start, step.interval.end) for step in steps]
    assert edges == [(0, 1), (1, 2), (5, 6), (6, 7)]


def test_a_step_comes_as_soon_as_the_next_has_begun_and_few_pictures_are_held() -> None:
    given, held = 0, 0

    def stream() -> Iterator[Shot]:
        nonlocal given
        for number in range(60 * 30):
            given = number
            yield Shot(Fraction(number, 60))

    for each in live_steps(stream(), Fraction(2), lambda: Fraction(30)):
        # Up to the picture after the second frame of the next step.
        assert given / 60 - float(each.step.t0) <= 2.1
    ahead = _Lookahead((Shot(Fraction(number, 60)) for number in range(600)), None)
    for second in range(8):
        ahead.read_past(Fraction(second), second + Fraction(1, 2))
        held = max(held, len(ahead._held))
        ahead.drop_before(ahead.on_screen(Fraction(second)))
    assert held <= 5


def test_nothing_comes_of_an_empty_stream() -> None:
    assert list(live_steps(iter(()), Fraction(2), lambda: Fraction(0))) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), rates, st.integers(1, 40))
def test_a_stream_always_outgrows_its_window_and_that_is_said(window: int, fps: Fraction, sinks: int) -> None:
    memory = MemorySettings("window", sinks, Fraction(window, 2))
    sampling = SamplingSettings(fps=fps)
    plan, _ = plan_view(LiveInfo("h264", 320, 192), sampling, TINY, memory.window, sinks)
    assert "memory window" in what_is_lost(plan.steps, memory, TINY.block_steps, head=True)[0]
