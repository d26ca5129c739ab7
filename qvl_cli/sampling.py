"""Video info + budget -> SamplePlan. Pure: no I/O, no torch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.errors import MediaError, UsageError
from qvl_cli.media.info import MediaInfo
from qvl_cli.media.subtitles.cue import Cue
from qvl_cli.registry import ModelSpec
from qvl_cli.timeline import TimeSpan, format_clock, prompt_seconds

# Upstream's own floor: 12,288 tokens over 768 frames. Below it steps are dropped instead of shrunk further.
MIN_STEP_TOKENS = 32
_LONGEST_ASPECT = 200  # upstream refuses longer pictures


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
    """What the user asks of the sampler. Pixels are per frame; tokens are video tokens of the whole plan."""

    fps: Fraction = Fraction(2)
    max_frames: int | None = None
    max_tokens: int = 12_288
    max_pixels: int | None = None
    start: Fraction | None = None
    end: Fraction | None = None


# `--detail` in one place; single flags override single fields.
#   low      a quarter of the tokens at half the rate: a first look
#   default  upstream's own rate and budget
#   high     four times the tokens, so that minutes keep their full rate and size
#   max      the released checkpoints' official long-video setting: 2,048 frames and 224K tokens
DETAIL: dict[str, SamplingSettings] = {
    "low": SamplingSettings(fps=Fraction(1), max_tokens=3_072),
    "default": SamplingSettings(),
    "high": SamplingSettings(max_tokens=49_152),
    "max": SamplingSettings(max_tokens=229_376, max_frames=2_048),
}


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """Which steps are watched, at which one size, and what that costs.

    width, height: frame size in pixels, multiples of patch_size * merge_size.
    tokens: video tokens of all steps (timestamps and vision brackets not counted).
    considered: steps at the asked rate before coarsening; coarsened: any budget changed rate or size.
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
    text_tokens: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        return self.tokens_per_step * len(self.steps)


def plan_samples(info: MediaInfo, settings: SamplingSettings, spec: ModelSpec) -> SamplePlan:
    """Choose steps and one frame size for `info` within the budget of `settings`.

    The range is walked at `settings.fps`; every time of that grid becomes the frame on screen then; two
    frames no further apart than 1/fps make a step, a lone one is doubled. Over budget, frames shrink first
    (never below MIN_STEP_TOKENS a step, nor out of `spec.frame_pixels`), then steps become sparser, evenly;
    the two frames of a step stay as close as before. Everything given up is said in `notes`, and so is a
    limit that cannot be kept.

    Raises UsageError where the settings make no sense for this video.
    """
    _check(settings, spec)
    span = _range(info, settings)
    if settings.max_tokens < (least := _least_tokens(info, settings, spec)):
        raise UsageError(
            f"--max-tokens {settings.max_tokens} is less than a single step of this video takes",
            f"give at least {least}",
        )
    pairs = list(_pairs(info, span, settings.fps))
    considered = len(pairs)
    notes: list[str] = []

    pairs = _distinct(pairs)
    if len(pairs) < considered:
        notes.append(f"{considered} steps -> {len(pairs)} steps: times are written to 0.1 s")
    limit = max(settings.max_frames // 2, 1) if settings.max_frames else len(pairs)
    if settings.max_frames == 1 and (len(pairs) > 1 or pairs[0][0] < pairs[0][1]):
        notes.append(f"{_steps(len(pairs))} -> 1 step of a single frame to fit 1 frame")
        pairs = [(pairs[0][0], pairs[0][0])]
    elif limit < len(pairs):
        notes.append(f"{len(pairs)} steps -> {_steps(limit)} to fit {settings.max_frames} frames")
        pairs = _thin(pairs, limit)

    full = _size(info, settings, spec, steps=len(pairs), max_tokens=None)
    size = full
    if (affordable := _affordable_steps(info, settings, spec, len(pairs))) < len(pairs):
        notes.append(f"{len(pairs)} steps -> {_steps(affordable)} to fit {settings.max_tokens} tokens")
        pairs = _thin(pairs, affordable)
    size = _size(info, settings, spec, steps=len(pairs), max_tokens=settings.max_tokens)
    if size != full:
        notes.append(
            f"frames of {full[1]}x{full[0]} -> {size[1]}x{size[0]} pixels to fit {settings.max_tokens} tokens"
        )
    height, width = size
    coarsened = bool(notes)
    if settings.max_pixels is not None and height * width > settings.max_pixels:
        notes.append(
            f"--max-pixels {settings.max_pixels} cannot be kept: "
            f"{spec.name} takes this video at no less than {width}x{height} pixels"
        )
    return SamplePlan(
        steps=tuple(_tile(pairs, span)),
        range=span,
        width=width,
        height=height,
        tokens_per_step=_tokens(size, spec),
        fps=settings.fps,
        considered=considered,
        coarsened=coarsened,
        notes=tuple(notes),
    )


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


def _check(settings: SamplingSettings, spec: ModelSpec) -> None:
    factor = spec.patch_size * spec.merge_size
    if settings.fps <= 0:
        raise UsageError(f"--fps {settings.fps} is not above 0", "try --fps 2")
    if settings.max_frames is not None and settings.max_frames < 1:
        raise UsageError(f"--max-frames {settings.max_frames} is below 1", "try --max-frames 768")
    if settings.max_tokens < 1:
        raise UsageError(f"--max-tokens {settings.max_tokens} is below 1", "try --max-tokens 12288")
    if settings.max_pixels is not None and settings.max_pixels < factor * factor:
        raise UsageError(
            f"--max-pixels {settings.max_pixels} is less than one {factor}x{factor} token",
            f"give at least {factor * factor}",
        )


def _range(info: MediaInfo, settings: SamplingSettings) -> TimeSpan:
    start = settings.start if settings.start is not None else Fraction(0)
    end = min(settings.end, info.duration) if settings.end is not None else info.duration
    lasts = f"the video lasts {format_clock(info.duration)}"
    if start < 0 or end < 0:
        raise UsageError("--from and --to count from the start of the video", "give times of 0 or later")
    if start >= info.duration:
        raise UsageError(f"--from {format_clock(start)} is past the end: {lasts}", "start earlier")
    if end <= start:
        raise UsageError(f"--to {format_clock(end)} is not after --from {format_clock(start)}", lasts)
    return TimeSpan(start, end)


def _pairs(info: MediaInfo, span: TimeSpan, fps: Fraction) -> Iterator[tuple[Fraction, Fraction]]:
    """(t0, t1) of every step at the asked rate, ascending; t0 == t1 where a frame stands alone."""
    times, apart = info.frame_times, 1 / fps

    def on_screen(time: Fraction) -> Fraction:
        return times[max(bisect_right(times, time) - 1, 0)]

    latest = Fraction(-1)
    tick = 0
    while (now := span.start + tick * apart) < span.end:
        t0 = on_screen(now)
        if t0 <= latest:  # the same picture is still on screen: go on to the grid time that shows another
            following = bisect_right(times, latest)
            if following == len(times):
                return
            tick = max(tick + 1, math.ceil((times[following] - span.start) * fps))
            continue
        following_tick = now + apart
        t1 = t0
        if following_tick < span.end:
            second = on_screen(following_tick)
            # A frame may begin a little before its grid time, and the next one then lies just out of reach.
            near = on_screen(t0 + apart)
            if near > t0 and (near == second or second - near < apart / 2):
                t1 = near
                latest = second
                tick += 1
        latest = max(latest, t1)
        yield t0, t1
        tick += 1


def _distinct(pairs: list[tuple[Fraction, Fraction]]) -> list[tuple[Fraction, Fraction]]:
    """Without the steps whose printed time another step already has."""
    kept: list[tuple[Fraction, Fraction]] = []
    printed = ""
    for t0, t1 in pairs:
        text = prompt_seconds(t0, t1)
        if text != printed:
            kept.append((t0, t1))
            printed = text
    return kept


def _thin(pairs: list[tuple[Fraction, Fraction]], count: int) -> list[tuple[Fraction, Fraction]]:
    """`count` of the steps, evenly spread, the first one always among them."""
    return [pairs[n * len(pairs) // count] for n in range(count)]


def _tile(pairs: list[tuple[Fraction, Fraction]], span: TimeSpan) -> Iterator[Step]:
    """Each step stands for the time from its first frame to the next step's."""
    starts = [span.start, *(t0 for t0, _ in pairs[1:]), span.end]
    for (t0, t1), start, end in zip(pairs, starts, starts[1:], strict=False):
        yield Step(t0, t1, TimeSpan(start, end))


def _tokens(size: tuple[int, int], spec: ModelSpec) -> int:
    return size[0] * size[1] // (spec.patch_size * spec.merge_size) ** 2


def _size(
    info: MediaInfo, settings: SamplingSettings, spec: ModelSpec, steps: int, max_tokens: int | None
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


def _bounded(info: MediaInfo, factor: int, least: int, most: int) -> tuple[int, int]:
    """(height, width) inside narrow bounds that rounding missed: the nearest aspect, then the largest."""
    aspect, cells = info.height / info.width, most // factor**2
    grids = [(h, w) for h in range(1, cells + 1) for w in range(1, cells // h + 1)]
    inside = [(h, w) for h, w in grids if h * w * factor**2 >= least] or grids
    best = min(inside, key=lambda grid: (abs(math.log(grid[0] / grid[1] / aspect)), -grid[0] * grid[1]))
    return best[0] * factor, best[1] * factor


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


def _least_tokens(info: MediaInfo, settings: SamplingSettings, spec: ModelSpec) -> int:
    """The fewest tokens that one step of this video can be given."""

    def taken(tokens: int | None) -> int:
        return _tokens(_size(info, settings, spec, 1, tokens), spec)

    least = min(MIN_STEP_TOKENS, taken(None)) if spec.frame_pixels is None else 1
    while (tokens := taken(least)) > least:  # a long picture takes more than it was offered
        least = tokens
    return least


def _affordable_steps(info: MediaInfo, settings: SamplingSettings, spec: ModelSpec, steps: int) -> int:
    """How many of `steps` fit the tokens once frames are as small as they may get; at least one."""
    count = steps
    if spec.frame_pixels is None:
        count = min(count, max(settings.max_tokens // MIN_STEP_TOKENS, 1))
    while count > 1:
        tokens = _tokens(_size(info, settings, spec, count, settings.max_tokens), spec)
        if tokens * count <= settings.max_tokens:
            break
        count = min(settings.max_tokens // tokens, count - 1) if tokens <= settings.max_tokens else 1
    return max(count, 1)
