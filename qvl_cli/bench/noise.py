"""Clips of noise: what a step costs does not depend on what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np

from qvl_cli.chunks import FrameChunk
from qvl_cli.sampling import Step
from qvl_cli.timeline import TimeSpan


def noise_clip(steps: int, width: int, height: int, seed: int = 0) -> FrameChunk:
    """Random pixels at uneven times."""
    frames = np.random.default_rng(seed).integers(0, 256, (steps, 2, height, width, 3), dtype=np.uint8)
    times = [Fraction(7 * i, 4) + Fraction(i % 3, 10) for i in range(steps + 1)]
    plan = tuple(Step(start, start + Fraction(1, 3), TimeSpan(start, end)) for start, end in pairwise(times))
    return FrameChunk(plan, frames)


def cut(clip: FrameChunk, size: int) -> Iterator[FrameChunk]:
    """The clip in chunks of `size` steps."""
    for start in range(0, len(clip.steps), size):
        yield clip.part(start, start + size)
