"""Video info + budget -> SamplePlan. Pure: no I/O, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.timeline import TimeSpan


@dataclass(frozen=True, slots=True)
class Step:
    """One temporal step of Qwen3-VL: two frames merged by the patch embedding.

    t0, t1: exact presentation times of the two frames (equal where a lone frame is doubled).
    interval: the part of the video the step stands for; the intervals of a plan tile its range.
    """

    t0: Fraction
    t1: Fraction
    interval: TimeSpan


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """What the user asks of the sampler. Pixels are per frame; tokens are video tokens of the whole plan."""

    fps: Fraction = Fraction(2)
    max_frames: int | None = None
    max_tokens: int = 12_288
    max_pixels: int | None = None
    start: Fraction | None = None
    end: Fraction | None = None


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """Which steps are watched, at which one size, and what that costs.

    width, height: frame size in pixels, multiples of patch_size * merge_size.
    tokens: video tokens of all steps (timestamps and vision brackets not counted).
    considered: steps at the asked rate before coarsening; coarsened: any budget changed rate or size.
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

    @property
    def tokens(self) -> int:
        return self.tokens_per_step * len(self.steps)
