"""What a plan is made of: steps, settings, presets. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.media.subtitles.cue import Cue
from qvl_cli.timeline import TimeSpan


@dataclass(frozen=True, slots=True)
class Step:
    """One temporal step of Qwen3-VL: two frames merged by the patch embedding.

    t0, t1: exact presentation times of the two frames (equal where a lone frame is doubled).
    interval: the part of the video the step stands for; the intervals of a plan tile its range.
    cues: the subtitles that are read in front of it.
    """

    t0: Fraction
    t1: Fraction
    interval: TimeSpan
    cues: tuple[Cue, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """What the user asks of the sampler. Pixels are per frame; tokens are video tokens of the whole plan.

    max_tokens: None is `share` of what the checkpoint's own video processor takes at most.
    mode: one of MODES. max_gap: seconds between two steps of the modes that look where something happens;
    None is DEFAULT_MAX_GAP. drop_static: patches that do not change leave before the language model.
    """

    fps: Fraction = Fraction(2)
    max_frames: int | None = None
    max_tokens: int | None = None
    max_pixels: int | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    mode: str = "uniform"
    max_gap: Fraction | None = None
    drop_static: bool = False
    share: Fraction = Fraction(1)


# `--sampling`
#   uniform   steps at an even rate
#   adaptive  a step where the picture changes, in motion at the even rate, else every max_gap
#   scene     the last frames of a scene and the first of the next, else every max_gap
#   keyframe  single frames that decode alone: a first look at hours
MODES = ("uniform", "adaptive", "scene", "keyframe")
SCANNED = ("adaptive", "scene")  # need an Activity
DEFAULT_MAX_GAP = Fraction(10)


# `--detail` in one place; single flags override single fields.
#   low      a quarter of the tokens at half the rate: a first look
#   default  upstream's own rate, and the budget of the checkpoint: 12,288 tokens for released ones
#   high     four times the tokens, so that minutes keep their full rate and size
#   max      the released checkpoints' official long-video setting: 2,048 frames and 224K tokens
DETAIL: dict[str, SamplingSettings] = {
    "low": SamplingSettings(fps=Fraction(1), share=Fraction(1, 4)),
    "default": SamplingSettings(),
    "high": SamplingSettings(share=Fraction(4)),
    "max": SamplingSettings(max_tokens=229_376, max_frames=2_048),
}


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """Which steps are watched, at which one size, and what that costs.

    width, height: frame size in pixels, multiples of patch_size * merge_size.
    tokens: video tokens of all steps (timestamps and vision brackets not counted).
    considered: steps at the asked rate before coarsening; coarsened: any budget changed rate or size.
    kept: how many steps were kept for which reason; skipped: where the even rate would have looked and this
    plan does not. Both empty where the sampling is even.
    text_tokens: of the subtitles in front of each step; empty where there are none.
    """

    steps: tuple[Step, ...]
    range: TimeSpan
    width: int
    height: int
    tokens_per_step: int
    fps: Fraction
    considered: int
    coarsened: bool
    notes: tuple[str, ...] = ()
    mode: str = "uniform"
    kept: tuple[tuple[str, int], ...] = ()
    skipped: tuple[TimeSpan, ...] = ()
    text_tokens: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        return self.tokens_per_step * len(self.steps)
