"""The planner: tiling, pairing, budgets, printed times."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_cli.errors import MediaError, UsageError
from qvl_cli.media.info import MediaInfo
from qvl_cli.registry import ModelSpec
from qvl_cli.sampling import DETAIL, SamplePlan, SamplingSettings, frame_size, plan_samples
from qvl_cli.scan import Activity
from qvl_cli.timeline import TimeSpan, prompt_seconds

RELEASED = ModelSpec(
    name="2b",
    folder=Path(),
    model_type="qwen3_vl",
    patch_size=16,
    merge_size=2,
    temporal_patch_size=2,
    hidden_size=2048,
    layers=28,
    heads=16,
    kv_heads=8,
    head_dim=128,
    intermediate_size=6144,
    max_positions=262_144,
    vocab_size=151_936,
    vision_hidden=1024,
    weight_bytes=4_255_000_000,
    parameters=2_127_000_000,
    dtype="bfloat16",
    clip_pixels=(4_096, 25_165_824),
    frame_pixels=None,
    thinking=False,
    has_alignment_head=False,
    has_world_gate=False,
)
FIXED = replace(RELEASED, name="fixed", frame_pixels=(16_384, 24_576))


def video(times: list[Fraction], last: Fraction, width: int = 1920, height: int = 1080) -> MediaInfo:
    """A probe's result for frames at `times`, the last one on screen for `last` seconds."""
    return MediaInfo(
        path=Path("clip.mp4"),
        container="mp4",
        codec="h264",
        pixel_format="yuv420p",
        coded_width=width,
        coded_height=height,
        width=width,
        height=height,
        rotation=0,
        sample_aspect_ratio=Fraction(1),
        start=Fraction(0),
        duration=times[-1] + last,
        average_rate=Fraction(25),
        variable_rate=False,
        frame_times=tuple(times),
        keyframes=(Fraction(0),),
        audio=(),
        subtitles=(),
    )


def steady(seconds: int, rate: Fraction = Fraction(25), width: int = 1920, height: int = 1080) -> MediaInfo:
    return video([n / rate for n in range(int(seconds * rate))], 1 / rate, width, height)


def check_plan(plan: SamplePlan, info: MediaInfo, asked: SamplingSettings, spec: ModelSpec) -> None:
    """Everything a plan promises, whatever was asked."""
    assert plan.steps[0].interval.start == plan.range.start
    assert plan.steps[-1].interval.end == plan.range.end
    for step, after in zip(plan.steps, plan.steps[1:], strict=False):
        assert step.interval.end == after.interval.start
        assert step.t1 < after.t0
    shown = set(info.frame_times)
    for step in plan.steps:
        assert step.t0 in shown and step.t1 in shown
        assert 0 <= step.t1 - step.t0 <= 1 / asked.fps
        assert step.interval.duration > 0
        assert step.t0 <= max(step.interval.start, plan.range.start)
    texts = [prompt_seconds(step.t0, step.t1) for step in plan.steps]
    assert len(set(texts)) == len(texts)
    factor = spec.patch_size * spec.merge_size
    assert plan.width % factor == 0 and plan.height % factor == 0
    assert plan.tokens_per_step == plan.width * plan.height // factor**2
    assert plan.tokens <= asked.max_tokens
    if asked.max_frames is not None:
        assert len({time for step in plan.steps for time in (step.t0, step.t1)}) <= asked.max_frames
    if spec.frame_pixels is not None:
        assert spec.frame_pixels[0] <= plan.width * plan.height <= spec.frame_pixels[1]
    assert len(plan.steps) <= plan.considered
    assert plan.coarsened == bool(plan.notes)
    if len(plan.steps) < plan.considered:
        assert plan.coarsened


GAPS = st.lists(st.fractions(Fraction(1, 1000), 3, max_denominator=1000), min_size=1, max_size=120)
RATES = st.sampled_from([Fraction(1, 3), Fraction(1), Fraction(2), Fraction(30_000, 1001), Fraction(120)])


@settings(deadline=None, max_examples=100)
@given(
    gaps=GAPS,
    fps=RATES,
    max_frames=st.none() | st.integers(1, 60),
    max_tokens=st.integers(64, 4_096),
    part=st.tuples(st.integers(0, 9), st.integers(1, 10)),
    size=st.sampled_from([(1920, 1080), (320, 180), (16, 16), (64, 1000), (199, 112)]),
    spec=st.sampled_from([RELEASED, FIXED]),
)
def test_every_plan_keeps_its_promises(
    gaps: list[Fraction],
    fps: Fraction,
    max_frames: int | None,
    max_tokens: int,
    part: tuple[int, int],
    size: tuple[int, int],
    spec: ModelSpec,
) -> None:
    times = [sum(gaps[:n], Fraction(0)) for n in range(len(gaps))]
    info = video(times, gaps[-1], *size)
    start, end = part[0] * info.duration / 10, min(part[0] + part[1], 10) * info.duration / 10
    asked = SamplingSettings(fps, max_frames, max_tokens, None, start, end)
    plan = plan_samples(info, asked, spec)
    assert (plan.range.start, plan.range.end) == (start, end)
    check_plan(plan, info, asked, spec)
    assert plan == plan_samples(info, asked, spec)


@settings(deadline=None, max_examples=30)
@given(gaps=GAPS, fps=RATES)
def test_no_budget_no_loss(gaps: list[Fraction], fps: Fraction) -> None:
    """Unless two would print the same time, every picture on screen at a grid time is in a step, or a frame
    less than half a step from it is."""
    times = [sum(gaps[:n], Fraction(0)) for n in range(len(gaps))]
    info = video(times, gaps[-1], 64, 64)
    plan = plan_samples(info, SamplingSettings(fps, max_tokens=10**9), RELEASED)
    if plan.coarsened:
        return
    chosen = {time for step in plan.steps for time in (step.t0, step.t1)}
    tick = Fraction(0)
    while tick < info.duration:
        on_screen = max(time for time in times if time <= tick)
        assert any(abs(on_screen - time) < 1 / fps / 2 for time in chosen)
        tick += 1 / fps


def test_a_steady_video_pairs_every_two_frames() -> None:
    plan = plan_samples(steady(10), SamplingSettings(), FIXED)
    assert len(plan.steps) == plan.considered == 10
    assert not plan.coarsened
    assert [step.t0 for step in plan.steps] == list(range(10))
    assert {step.t1 - step.t0 for step in plan.steps} == {Fraction(12, 25)}


def test_ntsc_rates_leave_no_frame_alone() -> None:
    plan = plan_samples(steady(60, Fraction(30_000, 1001)), SamplingSettings(), FIXED)
    assert all(step.t1 > step.t0 for step in plan.steps)
    assert len(plan.steps) == 60


def test_a_still_picture_is_one_step_and_a_change_opens_another() -> None:
    slides = video([Fraction(0), Fraction(7), Fraction(71, 10)], Fraction(20))
    plan = plan_samples(slides, SamplingSettings(), FIXED)
    assert [(step.t0, step.t1) for step in plan.steps] == [(0, 0), (Fraction(7), Fraction(71, 10))]
    assert [(step.interval.start, step.interval.end) for step in plan.steps] == [
        (0, 7),
        (7, Fraction(271, 10)),
    ]


def test_one_frame_is_a_video() -> None:
    plan = plan_samples(video([Fraction(0)], Fraction(1, 25)), SamplingSettings(), RELEASED)
    assert [(step.t0, step.t1) for step in plan.steps] == [(0, 0)]
    assert plan.range.end == Fraction(1, 25)


def test_a_fixed_frame_size_makes_steps_sparser_and_says_so() -> None:
    info = steady(1200, width=192, height=128)
    plan = plan_samples(info, SamplingSettings(), replace(FIXED, frame_pixels=(24_576, 24_576)))
    assert (plan.width, plan.height, len(plan.steps)) == (192, 128, 512)
    assert plan.notes == ("1200 steps -> 512 steps to fit 12288 tokens",)
    assert max(step.t1 - step.t0 for step in plan.steps) <= Fraction(1, 2)


def test_an_hour_is_spent_as_upstream_spends_it() -> None:
    plan = plan_samples(steady(3600, Fraction(5)), SamplingSettings(), RELEASED)
    assert len(plan.steps) == 384  # 768 frames
    assert (plan.height, plan.width) == (128, 224)
    assert len(plan.notes) == 2


@pytest.mark.parametrize("mode", ["uniform", "adaptive", "scene", "keyframe"])
def test_a_range_that_begins_in_a_hole_begins_behind_it(mode: str) -> None:
    there = [Fraction(n, 25) for n in range(1000) if not 200 <= n < 300]
    hole = TimeSpan(Fraction(8), Fraction(12))
    info = replace(video(there, Fraction(1, 25)), holes=(hole,))
    activity = Activity(TimeSpan(Fraction(0), info.duration), (), len(there))
    for start in (hole.start, Fraction(9), Fraction(1199, 100)):
        asked = SamplingSettings(start=start, end=Fraction(20), mode=mode)
        plan = plan_samples(info, asked, RELEASED, activity)
        first = plan.steps[0]
        assert first.interval.start == hole.end <= first.t0 < hole.end + 1 / asked.fps
        assert plan.range.start == start
        assert plan.steps[-1].interval.end == 20
        with pytest.raises(MediaError, match="nothing can be seen: it is missing"):
            plan_samples(info, replace(asked, end=start + Fraction(1, 1000)), RELEASED, activity)
    before = plan_samples(info, SamplingSettings(start=Fraction(799, 100), mode=mode), RELEASED, activity)
    assert before.steps[0].interval == TimeSpan(Fraction(799, 100), hole.start)


def test_a_single_frame_says_what_it_passes_over_in_every_mode() -> None:
    info, asked = steady(45), SamplingSettings(max_frames=1)
    for mode, reason in (("adaptive", "start"), ("scene", "start"), ("keyframe", "keyframe")):
        plan = plan_samples(info, replace(asked, mode=mode), RELEASED)  # nothing needs a scan
        assert [(step.t0, step.t1) for step in plan.steps] == [(0, 0)]
        assert plan.kept == ((reason, 1),) and plan.considered == 45
        assert plan.skipped == (TimeSpan(Fraction(1), info.duration),)
        assert "to fit 1 frame" in " ".join(plan.notes)


def test_frames_shrink_before_steps_are_dropped() -> None:
    plan = plan_samples(steady(60), SamplingSettings(), RELEASED)
    assert len(plan.steps) == plan.considered == 60
    assert plan.tokens <= 12_288
    assert plan.notes == ("frames of 1920x1088 -> 608x320 pixels to fit 12288 tokens",)


def test_a_rate_above_what_can_be_printed_is_coarsened() -> None:
    plan = plan_samples(steady(2, Fraction(60)), SamplingSettings(Fraction(60), max_tokens=10**6), FIXED)
    assert plan.considered == 60
    assert len(plan.steps) <= 21  # 0.0 to 2.0
    assert "0.1 s" in plan.notes[0]


def test_max_pixels_caps_each_frame() -> None:
    plan = plan_samples(steady(4), SamplingSettings(max_pixels=100_000), RELEASED)
    assert plan.width * plan.height <= 100_000
    assert not plan.coarsened


def test_a_pixel_limit_that_cannot_be_kept_is_said() -> None:
    asked = SamplingSettings(max_pixels=2_048)
    plan = plan_samples(steady(4), asked, FIXED)
    size = plan.width * plan.height
    assert FIXED.frame_pixels is not None and FIXED.frame_pixels[0] <= size
    assert plan.notes == (
        "--max-pixels 2048 cannot be kept: "
        f"fixed takes this video at no less than {plan.width}x{plan.height} pixels",
    )
    assert not plan.coarsened
    strip = plan_samples(steady(4, width=3200, height=32), replace(asked, max_pixels=1_024), RELEASED)
    assert strip.width * strip.height > 1_024 and "cannot be kept" in strip.notes[-1]


def test_one_frame_is_one_frame_doubled_and_the_note_says_so() -> None:
    asked = SamplingSettings(max_frames=1)
    plan = plan_samples(steady(10), asked, FIXED)
    assert [(step.t0, step.t1) for step in plan.steps] == [(0, 0)]
    assert plan.steps[0].interval == plan.range
    assert plan.notes == ("10 steps -> 1 step of a single frame to fit 1 frame",) and plan.coarsened
    short = plan_samples(steady(1), asked, FIXED)
    assert [(step.t0, step.t1) for step in short.steps] == [(0, 0)]
    assert short.notes == ("1 step -> 1 step of a single frame to fit 1 frame",)
    assert plan_samples(video([Fraction(0)], Fraction(1)), asked, FIXED).notes == ()
    two = plan_samples(steady(10), SamplingSettings(max_frames=2), FIXED)
    assert two.notes == ("10 steps -> 1 step to fit 2 frames",)
    assert two.steps[0].t0 < two.steps[0].t1


@pytest.mark.parametrize("spec", [RELEASED, FIXED])
@pytest.mark.parametrize("size", [(1920, 1080), (6400, 32), (16, 16), (64, 1000), (192, 128)])
def test_too_few_tokens_for_one_step_name_the_least_that_work(spec: ModelSpec, size: tuple[int, int]) -> None:
    info = steady(10, width=size[0], height=size[1])
    with pytest.raises(UsageError, match="less than a single step") as raised:
        plan_samples(info, SamplingSettings(max_tokens=1), spec)
    least = int(str(raised.value.remedy).split("at least ")[1])
    plan = plan_samples(info, SamplingSettings(max_tokens=least), spec)
    assert len(plan.steps) == 1 and plan.tokens <= least
    with pytest.raises(UsageError, match=f"--max-tokens {least - 1} is less"):
        plan_samples(info, SamplingSettings(max_tokens=least - 1), spec)


def test_detail_rises() -> None:
    info = steady(120)
    tokens = [plan_samples(info, DETAIL[name], RELEASED).tokens for name in ("low", "default", "high", "max")]
    assert tokens == sorted(set(tokens))
    assert DETAIL["default"] == SamplingSettings()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (SamplingSettings(start=Fraction(10)), "past the end"),
        (SamplingSettings(start=Fraction(11)), "past the end"),
        (SamplingSettings(start=Fraction(5), end=Fraction(5)), "not after"),
        (SamplingSettings(start=Fraction(-1)), "--from"),
        (SamplingSettings(fps=Fraction(0)), "--fps"),
        (SamplingSettings(max_frames=0), "--max-frames"),
        (SamplingSettings(max_tokens=0), "--max-tokens"),
        (SamplingSettings(max_pixels=1023), "--max-pixels"),
    ],
)
def test_senseless_requests_are_refused(asked: SamplingSettings, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        plan_samples(steady(10), asked, RELEASED)
    assert raised.value.exit_code == 2 and raised.value.remedy


def test_sizes_equal_upstreams(shared: Path) -> None:
    goldens = json.loads((shared / "qwen3vl/goldens.json").read_text())["smart_resize"]
    assert len(goldens) == 49
    for case in goldens:
        size = case["height"], case["width"], case["frames"]
        assert list(frame_size(*size)) == case["uncapped"], case
        assert list(frame_size(*size, frame_cap=768 * 32 * 32)) == case["capped"], case
    with pytest.raises(MediaError, match="200:1"):
        frame_size(40, 10_000, 2)
