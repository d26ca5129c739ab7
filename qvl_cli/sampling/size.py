"""Frame sizes and what they cost in tokens, as Qwen3-VL counts."""

from __future__ import annotations

import math
from typing import Protocol

from qvl_cli.errors import MediaError
from qvl_cli.registry import ModelSpec
from qvl_cli.sampling.plan import SamplingSettings

# Upstream's own floor: 12,288 tokens over 768 frames. Below it steps are dropped instead of shrunk further.
MIN_STEP_TOKENS = 32
_LONGEST_ASPECT = 200  # upstream refuses longer pictures


class Shown(Protocol):
    """A video as it is displayed, in pixels."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


def frame_size(
    height: int,
    width: int,
    frames: int,
    *,
    factor: int = 32,
    min_pixels: int = 4_096,
    max_pixels: int = 25_165_824,
    frame_cap: int | None = None,
) -> tuple[int, int]:
    """(height, width) near the input's aspect, multiples of `factor`, with frames * height * width in bounds.

    min_pixels, max_pixels: of the whole clip of `frames` frames. frame_cap: most pixels of a single frame, as
    qwen-vl-utils caps it. Same results as `smart_resize` of transformers'
    models/qwen3_vl/video_processing_qwen3_vl.py, uncapped and with `cap_pixels_per_frame`. Raises MediaError
    above 200:1.
    """
    if frame_cap is not None:
        max_pixels = max(min(frame_cap, max_pixels // frames), int(min_pixels * 1.05)) * frames
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) > _LONGEST_ASPECT * min(height, width):
        raise MediaError(f"the picture is {width}x{height}, longer than 200:1", "crop it")
    # Python rounds halves to even, as upstream does.
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    paired = round(frames / 2) * 2
    if paired * high * wide > max_pixels:
        beta = math.sqrt(frames * height * width / max_pixels)
        high = max(factor, math.floor(height / beta / factor) * factor)
        wide = max(factor, math.floor(width / beta / factor) * factor)
    elif paired * high * wide < min_pixels:
        beta = math.sqrt(min_pixels / (frames * height * width))
        high = math.ceil(height * beta / factor) * factor
        wide = math.ceil(width * beta / factor) * factor
    return high, wide


def token_budget(settings: SamplingSettings, spec: ModelSpec) -> int:
    """The most video tokens of a whole plan."""
    if settings.max_tokens is not None:
        return settings.max_tokens
    return max(int(settings.share * spec.clip_tokens), 1)


def step_tokens(size: tuple[int, int], spec: ModelSpec) -> int:
    return size[0] * size[1] // (spec.patch_size * spec.merge_size) ** 2


def fitted_size(
    info: Shown, settings: SamplingSettings, spec: ModelSpec, steps: int, max_tokens: int | None
) -> tuple[int, int]:
    """(height, width) of every frame of `steps` steps; max_tokens None: as if tokens cost nothing."""
    factor = spec.patch_size * spec.merge_size
    frames = 2 * steps
    if spec.frame_pixels is not None:
        least, most = spec.frame_pixels
        if settings.max_pixels is not None:
            most = max(min(most, settings.max_pixels), least)
        size = frame_size(
            info.height, info.width, 2, factor=factor, min_pixels=2 * least, max_pixels=2 * most
        )
        return size if least <= size[0] * size[1] <= most else _bounded(info, factor, least, most)
    clip = frames * (settings.max_pixels or info.height * info.width * 4 + factor * factor * 4)
    if max_tokens is not None:
        clip = min(clip, max_tokens * 2 * factor * factor)
    return frame_size(
        info.height,
        info.width,
        frames,
        factor=factor,
        min_pixels=min(spec.clip_pixels[0], clip),
        max_pixels=clip,
    )


def _bounded(info: Shown, factor: int, least: int, most: int) -> tuple[int, int]:
    """(height, width) inside narrow bounds that rounding missed: the nearest aspect, then the largest."""
    aspect, cells = info.height / info.width, most // factor**2
    grids = [(h, w) for h in range(1, cells + 1) for w in range(1, cells // h + 1)]
    inside = [(h, w) for h, w in grids if h * w * factor**2 >= least] or grids
    best = min(inside, key=lambda grid: (abs(math.log(grid[0] / grid[1] / aspect)), -grid[0] * grid[1]))
    return best[0] * factor, best[1] * factor


def least_tokens(info: Shown, settings: SamplingSettings, spec: ModelSpec) -> int:
    """The fewest tokens that one step of this video can be given."""

    def taken(tokens: int | None) -> int:
        return step_tokens(fitted_size(info, settings, spec, 1, tokens), spec)

    least = min(MIN_STEP_TOKENS, taken(None)) if spec.frame_pixels is None else 1
    while (tokens := taken(least)) > least:  # a long picture takes more than it was offered
        least = tokens
    return least


def affordable_steps(info: Shown, settings: SamplingSettings, spec: ModelSpec, steps: int) -> int:
    """How many of `steps` fit the tokens once frames are as small as they may get; at least one."""
    count, budget = steps, token_budget(settings, spec)
    if spec.frame_pixels is None:
        count = min(count, max(budget // MIN_STEP_TOKENS, 1))
    while count > 1:
        tokens = step_tokens(fitted_size(info, settings, spec, count, budget), spec)
        if tokens * count <= budget:
            break
        count = min(budget // tokens, count - 1) if tokens <= budget else 1
    return max(count, 1)
