"""Video info + activity + budget -> SamplePlan."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction

from qvl_cli.errors import MediaError, UsageError
from qvl_cli.media.info import MediaInfo
from qvl_cli.registry import ModelSpec
from qvl_cli.sampling.choice import Choice, Grid, choose_active, choose_keyframes, choose_scenes
from qvl_cli.sampling.grid import Pair, distinct, even_pairs, own_steps, thin, tile
from qvl_cli.sampling.plan import (
    DEFAULT_MAX_GAP,
    SCANNED,
    SamplePlan,
    SamplingSettings,
    Step,
)
from qvl_cli.sampling.size import (
    Shown,
    affordable_steps,
    fitted_size,
    least_tokens,
    step_tokens,
    token_budget,
)
from qvl_cli.scan import Activity
from qvl_cli.timeline import TimeSpan, format_clock, merge, subtract


def plan_samples(
    info: MediaInfo, settings: SamplingSettings, spec: ModelSpec, activity: Activity | None = None
) -> SamplePlan:
    """Choose steps and one frame size for `info` within the budget of `settings`.

    The range is walked at `settings.fps`; every time of that grid becomes the frame on screen then; two
    frames no further apart than 1/fps make a step, a lone one is doubled. Over budget, frames shrink first
    (never below MIN_STEP_TOKENS a step, nor out of `spec.frame_pixels`), then steps become sparser, evenly;
    the two frames of a step stay as close as before. Everything given up is said in `notes`, and so is a
    limit that cannot be kept.

    The other modes keep the frame size of that even plan and at most as many steps, where `activity` (of
    `scan`; adaptive and scene need it) or the keyframes say.

    Raises UsageError where the settings make no sense for this video, MediaError where nothing of the range
    is there.
    """
    span, budget = check_sampling(info, settings, spec), token_budget(settings, spec)
    pairs = list(even_pairs(info, span, settings.fps))
    if not pairs:
        raise MediaError(
            f"from {format_clock(span.start)} to {format_clock(span.end)} nothing can be seen: it is missing",
            "ask about another part",
        )
    considered = len(pairs)
    notes: list[str] = []

    pairs = distinct(pairs)
    if len(pairs) < considered:
        notes.append(f"{considered} steps -> {len(pairs)} steps: times are written to 0.1 s")
    grid = pairs
    thinned: list[str] = []
    of_step = 1 if info.alone else 2  # frames
    limit = max(settings.max_frames // of_step, 1) if settings.max_frames else len(pairs)
    if settings.max_frames == 1 and (len(pairs) > 1 or pairs[0][0] < pairs[0][1]):
        thinned.append(f"{_steps(len(pairs))} -> 1 step of a single frame to fit 1 frame")
        pairs = [(pairs[0][0], pairs[0][0])]
    elif limit < len(pairs):
        thinned.append(f"{len(pairs)} steps -> {_steps(limit)} to fit {settings.max_frames} frames")
        pairs = thin(pairs, limit)

    full = fitted_size(info, settings, spec, steps=len(pairs), max_tokens=None)
    size = full
    if (affordable := affordable_steps(info, settings, spec, len(pairs))) < len(pairs):
        thinned.append(f"{len(pairs)} steps -> {_steps(affordable)} to fit {budget} tokens")
        pairs = thin(pairs, affordable)
    size = fitted_size(info, settings, spec, steps=len(pairs), max_tokens=budget)

    choice = None
    if settings.mode != "uniform" and settings.max_frames == 1:
        reason = "start" if settings.mode in SCANNED else "keyframe"
        choice = Choice(pairs, ((reason, 1),), 1, span.duration)
    elif settings.mode != "uniform":
        choice = _choose(info, settings, activity, grid, span, len(pairs))
        pairs, thinned = choice.pairs, []
        if len(pairs) < choice.wanted:
            thinned.append(f"{choice.wanted} steps wanted -> {_steps(len(pairs))} to fit the budget")
    notes += thinned
    if size != full:
        notes.append(f"frames of {full[1]}x{full[0]} -> {size[1]}x{size[0]} pixels to fit {budget} tokens")
    height, width = size
    coarsened = bool(notes)
    if settings.max_pixels is not None and height * width > settings.max_pixels:
        notes.append(
            f"--max-pixels {settings.max_pixels} cannot be kept: "
            f"{spec.name} takes this video at no less than {width}x{height} pixels"
        )
    steps = tuple(own_steps(pairs, info, span) if info.alone else tile(pairs, span, info.holes))
    if choice is not None:
        notes += _chosen(settings, choice, len(grid))
    elif settings.max_gap is not None:
        notes.append(f"--max-gap has no effect on {settings.mode} sampling")
    return SamplePlan(
        steps=steps,
        range=span,
        width=width,
        height=height,
        tokens_per_step=step_tokens(size, spec),
        fps=settings.fps,
        considered=considered,
        coarsened=coarsened,
        notes=tuple(notes),
        mode=settings.mode,
        kept=choice.kept if choice is not None else (),
        skipped=_skipped(steps, grid) if choice is not None else _left_out(steps, span) if info.alone else (),
    )


def _choose(
    info: MediaInfo,
    settings: SamplingSettings,
    activity: Activity | None,
    pairs: list[Pair],
    span: TimeSpan,
    room: int,
) -> Choice:
    gap = settings.max_gap or DEFAULT_MAX_GAP
    # A gap the user asks for comes first; the default leaves half the budget to changes.
    looks = (room + 1) // 2 if settings.max_gap is None else room
    grid = Grid(pairs, info.frame_times, span.end, settings.fps, room, gap, looks)
    if settings.mode == "keyframe":
        return choose_keyframes(grid, info.keyframes)
    if settings.mode not in SCANNED:
        raise ValueError(f"no sampling is called {settings.mode!r}")
    if activity is None or not (activity.span.start <= span.start and span.end <= activity.span.end):
        raise ValueError(f"{settings.mode} sampling needs a scan of {span}")
    changes = [change for change in activity.changes if pairs[0][0] < change.time < span.end]
    choose = choose_active if settings.mode == "adaptive" else choose_scenes
    return choose(grid, changes)


def _chosen(settings: SamplingSettings, choice: Choice, even: int) -> list[str]:
    """What was kept and why, and a gap that could not be kept."""
    why = ", ".join(f"{count} {reason}" for reason, count in choice.kept)
    notes = [f"{settings.mode} sampling keeps {_steps(len(choice.pairs))} ({why}); uniform has {even}"]
    if settings.mode in SCANNED and choice.gap > (asked := settings.max_gap or DEFAULT_MAX_GAP):
        notes.append(
            f"--max-gap {float(asked):g} cannot be kept within the budget: up to {float(choice.gap):.1f} s"
        )
    if settings.mode not in SCANNED and settings.max_gap is not None:
        notes.append(f"--max-gap has no effect on {settings.mode} sampling")
    return notes


def _skipped(steps: tuple[Step, ...], grid: list[Pair]) -> tuple[TimeSpan, ...]:
    """Per step, from the first time of the grid behind its frames to the next step."""
    starts = [t0 for t0, _ in grid]
    found = []
    for step in steps:
        at = bisect_right(starts, step.t1)
        if at < len(starts) and starts[at] < step.interval.end:
            found.append(TimeSpan(starts[at], step.interval.end))
    return tuple(found)


def _left_out(steps: tuple[Step, ...], span: TimeSpan) -> tuple[TimeSpan, ...]:
    """Pictures and pages that no step shows."""
    return tuple(subtract(span, merge(step.interval for step in steps)))


def check_sampling(info: MediaInfo, settings: SamplingSettings, spec: ModelSpec) -> TimeSpan:
    """The range that is sampled. Raises UsageError where the settings make no sense for this video or
    checkpoint."""
    span = sampled_range(info, settings)
    check_least(info, settings, spec)
    return span


def check_least(info: Shown, settings: SamplingSettings, spec: ModelSpec) -> None:
    """Raises UsageError where the budgets are less than one step takes."""
    factor = spec.patch_size * spec.merge_size
    if settings.max_pixels is not None and settings.max_pixels < factor * factor:
        raise UsageError(
            f"--max-pixels {settings.max_pixels} is less than one {factor}x{factor} token",
            f"give at least {factor * factor}",
        )
    budget = token_budget(settings, spec)
    if budget < (least := least_tokens(info, settings, spec)):
        raise UsageError(
            f"--max-tokens {budget} is less than a single step of this video takes",
            f"give at least {least}",
        )


def sampled_range(info: MediaInfo, settings: SamplingSettings) -> TimeSpan:
    """The range that is sampled, whatever the checkpoint. Raises UsageError where it or the rates make no
    sense."""
    if info.alone and settings.mode != "uniform":
        raise UsageError(
            f"--sampling {settings.mode} looks for changes: pictures and pages are steps of their own",
            "leave the flag out",
        )
    if info.alone and settings.drop_static:
        raise UsageError(
            "--drop-static compares the frames of one video: pictures and pages are steps of their own",
            "leave the flag out",
        )
    if settings.max_gap is not None and settings.max_gap <= 0:
        raise UsageError(f"--max-gap {settings.max_gap} is not above 0", "try --max-gap 10")
    if settings.fps <= 0:
        raise UsageError(f"--fps {settings.fps} is not above 0", "try --fps 2")
    if settings.max_frames is not None and settings.max_frames < 1:
        raise UsageError(f"--max-frames {settings.max_frames} is below 1", "try --max-frames 768")
    if settings.max_tokens is not None and settings.max_tokens < 1:
        raise UsageError(f"--max-tokens {settings.max_tokens} is below 1", "try --max-tokens 12288")
    start = max(settings.start or Fraction(0), info.begins)
    end = min(settings.end, info.duration) if settings.end is not None else info.duration
    paged = info.unit == "page"
    whole = f"the video lasts {format_clock(info.duration)}"
    if paged:
        whole = f"the last page is {len(info.frame_times)}"
    if (settings.start or 0) < 0 or end < 0:
        if paged:
            raise UsageError("--from and --to are page numbers", "give numbers of 1 or more")
        raise UsageError("--from and --to count from the start of the video", "give times of 0 or later")
    if start >= info.duration:
        raise UsageError(f"--from {_at(start, info)} is past the end: {whole}", "start earlier")
    if end <= start:
        remedy = "--to N ends in front of page N" if paged else whole
        # What was typed, where the range was moved to the first page.
        begin = settings.start if paged and settings.start is not None else start
        raise UsageError(f"--to {_at(end, info)} is not after --from {_at(begin, info)}", remedy)
    return TimeSpan(start, end)


def _at(time: Fraction, info: MediaInfo) -> str:
    """A time as a user types it: pages are numbers."""
    return f"{float(time):g}" if info.unit == "page" else format_clock(time)


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
