"""Sampling by activity: what every plan promises, planted changes, tight budgets, real clips."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_cli.bench.sampling import REAL
from qvl_cli.errors import UsageError
from qvl_cli.media import open_video
from qvl_cli.media.info import MediaInfo
from qvl_cli.registry import ModelSpec
from qvl_cli.sampling import SamplePlan, SamplingSettings, plan_samples
from qvl_cli.scan import Activity, Change, scan
from qvl_cli.timeline import TimeSpan, prompt_seconds
from tests.test_sampling import FIXED, GAPS, RATES, RELEASED, steady, video

ADAPTIVE = SamplingSettings(mode="adaptive", max_tokens=10**6)


def activity(info: MediaInfo, changes: dict[Fraction, float]) -> Activity:
    planted = tuple(Change(time, changes[time]) for time in sorted(changes))
    return Activity(TimeSpan(Fraction(0), info.duration), planted, len(info.frame_times))


def check(plan: SamplePlan, even: SamplePlan, info: MediaInfo, fps: Fraction) -> None:
    """What every plan keeps to, whatever the mode, beside the even plan of the same settings."""
    assert (plan.width, plan.height, plan.considered) == (even.width, even.height, even.considered)
    assert plan.tokens <= even.tokens
    assert (plan.steps[0].interval.start, plan.steps[-1].interval.end) == (plan.range.start, plan.range.end)
    for step, after in pairwise(plan.steps):
        assert step.interval.end == after.interval.start == after.t0
        assert step.t1 < after.t0
    shown = set(info.frame_times)
    for step in plan.steps:
        assert {step.t0, step.t1} <= shown
        assert 0 <= step.t1 - step.t0 <= 1 / fps
        assert step.interval.duration > 0
    assert len({prompt_seconds(step.t0, step.t1) for step in plan.steps}) == len(plan.steps)
    assert sum(count for _, count in plan.kept) == len(plan.steps)
    for span in plan.skipped:  # no step lies in it, and the even plan has one there
        assert not [step for step in plan.steps if step.t0 in span or step.t1 in span]


@settings(deadline=None, max_examples=80)
@given(
    data=st.data(),
    gaps=GAPS,
    fps=RATES,
    mode=st.sampled_from(["adaptive", "scene", "keyframe"]),
    max_tokens=st.integers(64, 4_096),
    max_gap=st.none() | st.fractions(Fraction(1, 10), 40, max_denominator=10),
    spec=st.sampled_from([RELEASED, FIXED]),
)
def test_every_plan_keeps_its_promises(
    data: st.DataObject,
    gaps: list[Fraction],
    fps: Fraction,
    mode: str,
    max_tokens: int,
    max_gap: Fraction | None,
    spec: ModelSpec,
) -> None:
    times = [sum(gaps[:n], Fraction(0)) for n in range(len(gaps))]
    info = video(times, gaps[-1], 320, 180)
    info = replace(
        info, keyframes=tuple(data.draw(st.lists(st.sampled_from(times), unique=True).map(sorted)))
    )
    areas = st.floats(0.0001, 1.0)
    changes = data.draw(st.dictionaries(st.sampled_from(times[1:]), areas)) if times[1:] else {}
    asked = SamplingSettings(fps, None, max_tokens, mode=mode, max_gap=max_gap)
    plan = plan_samples(info, asked, spec, activity(info, changes))
    check(plan, plan_samples(info, replace(asked, mode="uniform"), spec), info, fps)
    assert plan == plan_samples(info, asked, spec, activity(info, changes))


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    max_gap=st.fractions(2, 30, max_denominator=10),
    room=st.integers(1, 60),
)
def test_no_gap_is_longer_than_said(data: st.DataObject, max_gap: Fraction, room: int) -> None:
    info = steady(60)
    inner = st.sampled_from(info.frame_times[1:])
    changes = data.draw(st.dictionaries(inner, st.sampled_from([0.001, 0.01, 0.3]), max_size=40))
    asked = replace(ADAPTIVE, max_gap=max_gap, max_frames=2 * room)
    plan = plan_samples(info, asked, FIXED, activity(info, changes))
    if not any("cannot be kept" in note for note in plan.notes):
        assert max(step.interval.duration for step in plan.steps) <= max_gap


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_all_that_even_sampling_shows_is_shown(data: st.DataObject) -> None:
    """At each step of the even plan the picture is that of a kept step, but for half a percent of it; or will
    be within 0.2 s, where two steps so close would print the same time."""
    info = steady(40)
    inner = st.sampled_from(info.frame_times[1:])
    changes = data.draw(st.dictionaries(inner, st.sampled_from([0.0002, 0.002, 0.02, 0.5]), max_size=200))
    plan = plan_samples(info, ADAPTIVE, FIXED, activity(info, changes))
    kept = [step.t0 for step in plan.steps]
    for step in plan_samples(info, SamplingSettings(max_tokens=10**6), FIXED).steps:
        last = max(time for time in kept if time <= step.t0 + Fraction(1, 5))
        missed = [area for time, area in changes.items() if last < time <= step.t0]
        assert sum(missed) < 0.005, (step.t0, last)


@settings(deadline=None, max_examples=40)
@given(
    gaps=st.lists(st.fractions(Fraction(21, 10), 9, max_denominator=25), min_size=1, max_size=12),
    area=st.sampled_from([0.0001, 0.01, 1.0]),
)
def test_a_change_out_of_rest_opens_a_step_at_its_own_frame(gaps: list[Fraction], area: float) -> None:
    info = steady(120)
    planted = [sum(gaps[: n + 1], Fraction(0)) for n in range(len(gaps))]
    planted = [Fraction(round(time * 25), 25) for time in planted]
    plan = plan_samples(info, ADAPTIVE, FIXED, activity(info, dict.fromkeys(planted, area)))
    assert set(planted) <= {step.t0 for step in plan.steps}
    for step in plan.steps:  # and no step shows both sides of it
        assert not [time for time in planted if step.t0 < time <= step.t1]
    assert dict(plan.kept)["change"] == len(planted)
    assert len(plan.steps) <= 1 + 2 * len(planted) + 12


def test_a_still_video_is_looked_at_every_max_gap_and_no_more_often() -> None:
    info = steady(100)
    counts = []
    for gap in (2, 5, 10, 30, 200):
        plan = plan_samples(info, replace(ADAPTIVE, max_gap=Fraction(gap)), FIXED, activity(info, {}))
        assert len(plan.steps) == -(-100 // gap)
        assert len(plan.skipped) == len(plan.steps)
        counts.append(len(plan.steps))
    assert counts == sorted(counts, reverse=True)


def test_a_gap_as_short_as_the_grid_is_even_sampling() -> None:
    info = steady(30)
    plan = plan_samples(info, replace(ADAPTIVE, max_gap=Fraction(1)), FIXED, activity(info, {}))
    assert len(plan.steps) == 30 and plan.skipped == ()
    assert not [note for note in plan.notes if "cannot be kept" in note]


def test_constant_motion_is_even_sampling() -> None:
    info = steady(30)
    even = plan_samples(info, SamplingSettings(max_tokens=10**6), FIXED)
    busy = plan_samples(info, ADAPTIVE, FIXED, activity(info, dict.fromkeys(info.frame_times[1:], 0.1)))
    assert [(step.t0, step.t1) for step in busy.steps] == [(step.t0, step.t1) for step in even.steps]
    assert dict(busy.kept)["motion"] >= 28 and busy.skipped == ()


def test_large_motion_inside_small_motion_opens_a_step() -> None:
    info = steady(60)
    changes = dict.fromkeys(info.frame_times[1:], 0.0001)
    cut = info.frame_times[765]  # 0.6 s into an interval of the grid
    plan = plan_samples(info, ADAPTIVE, FIXED, activity(info, changes | {cut: 0.6}))
    assert cut in {step.t0 for step in plan.steps}


def test_a_tight_budget_goes_to_the_largest_changes() -> None:
    info = steady(200)
    changes = {Fraction(3 * n): 0.002 for n in range(1, 65)}
    large = [Fraction(40), Fraction(100), Fraction(160)]
    changes |= dict.fromkeys(large, 0.4)
    asked = replace(ADAPTIVE, max_frames=24)
    plan = plan_samples(info, asked, FIXED, activity(info, changes))
    assert set(large) <= {step.t0 for step in plan.steps}
    assert len(plan.steps) == 12 and plan.coarsened
    assert any("wanted -> 12 steps" in note for note in plan.notes)
    assert any("--max-gap 10 cannot be kept" in note for note in plan.notes)
    assert max(step.interval.duration for step in plan.steps) <= 200 / 4


def test_scenes_and_keyframes() -> None:
    info = replace(steady(30), keyframes=tuple(Fraction(n) for n in (0, 4, 8, 20)))
    changes = {Fraction(11): 0.7, Fraction(12): 0.01, Fraction(20): 0.45}
    scene = plan_samples(info, replace(ADAPTIVE, mode="scene"), FIXED, activity(info, changes))
    assert dict(scene.kept) == {"start": 1, "before": 2, "cut": 2, "gap": 1}
    assert [float(step.t0) for step in scene.steps] == [0, 10, 10.48, 11, 19.48, 20]
    key = plan_samples(info, replace(ADAPTIVE, mode="keyframe"), FIXED)
    assert [(step.t0, step.t1) for step in key.steps] == [(n, n) for n in (0, 4, 8, 20)]
    few = plan_samples(info, replace(ADAPTIVE, mode="keyframe", max_frames=4), FIXED)
    assert len(few.steps) == 2 and few.coarsened


def test_what_was_kept_is_said() -> None:
    info = steady(30)
    plan = plan_samples(info, ADAPTIVE, FIXED, activity(info, {Fraction(5): 0.1}))
    assert plan.notes == (
        "adaptive sampling keeps 5 steps (1 start, 1 change, 1 before, 2 gap); uniform has 30",
    )
    assert not plan.coarsened
    idle = plan_samples(info, SamplingSettings(max_gap=Fraction(3)), FIXED)
    assert "--max-gap has no effect on uniform sampling" in idle.notes and not idle.coarsened


def test_senseless_gaps_and_a_missing_scan_are_refused() -> None:
    with pytest.raises(UsageError, match="--max-gap 0"):
        plan_samples(steady(10), replace(ADAPTIVE, max_gap=Fraction(0)), FIXED, activity(steady(10), {}))
    with pytest.raises(ValueError, match="needs a scan"):
        plan_samples(steady(10), ADAPTIVE, FIXED)


def test_people_who_come_and_go_are_kept_at_a_quarter_of_the_tokens(shared: Path) -> None:
    name = "one-by-one-person-detection.mp4"
    with open_video(shared / "media/content" / name) as clip:
        seen = scan(clip)
        even = plan_samples(clip.info, SamplingSettings(), FIXED)
        asked = replace(ADAPTIVE, max_frames=2 * (len(even.steps) // 4))
        plan = plan_samples(clip.info, asked, FIXED, seen)
    assert len(plan.steps) <= len(even.steps) / 4
    for time in REAL[name]:
        assert any(abs(step.t0 - time) <= Fraction(1, 2) for step in plan.steps), float(time)
    check(plan, plan_samples(clip.info, replace(asked, mode="uniform"), FIXED), clip.info, Fraction(2))
