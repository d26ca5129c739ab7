"""A plan, what was watched of it and what was lost -> which seconds an answer stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvl_cli.answer import Coverage
from qvl_cli.timeline import TimeSpan, merge, subtract

if TYPE_CHECKING:
    from fractions import Fraction

    from qvl_cli.media.info import Source
    from qvl_cli.sampling import SamplePlan
    from qvl_cli.stream import StreamSession


def promised_end(video: Source) -> Fraction:
    """The end of the media as its container has it: later than the last frame where the file was cut off."""
    return max((video.info.duration, *(hole.end for hole in video.info.holes)))


def cover(plan: SamplePlan, session: StreamSession, video: Source, asked_end: Fraction | None) -> Coverage:
    """Seen: the intervals of the watched steps without what was lost in them. Gaps: the rest of what was
    asked for, the cut-off end of a file included."""
    end = promised_end(video) if asked_end is None else min(asked_end, promised_end(video))
    whole = TimeSpan(plan.range.start, max(plan.range.end, end))
    holes = [part for hole in (*video.info.holes, *video.lost) if (part := hole.intersection(whole))]
    watched = merge(step.interval for step in session.steps)
    seen = [part for span in watched for part in subtract(span, holes)]
    cut_off = video.info.cut_off and (asked_end is None or asked_end > video.info.duration)
    if video.info.alone:  # what was left out was not seen, but nothing kept it from being read
        gaps = subtract(whole, (*seen, *plan.skipped))
        return Coverage(_floats(seen), _floats(gaps), _floats(list(plan.skipped)), cut_off)
    # Steps of a hole are not watched, so nothing was skipped for them.
    skipped = merge(part for span in seen for each in plan.skipped if (part := each.intersection(span)))
    return Coverage(_floats(seen), _floats(subtract(whole, seen)), _floats(skipped), cut_off)


def later_warnings(
    video: Source, plan: SamplePlan, session: StreamSession, coverage: Coverage
) -> tuple[str, ...]:
    """What came to light while the video was read: nobody could tell it in advance."""
    holes = hole_warnings(coverage, video.info.unit)
    return (*video.warnings, *holes, *unread_warnings(plan, session), *static_warnings(plan, session))


def hole_warnings(coverage: Coverage, unit: str) -> tuple[str, ...]:
    if coverage.cut_off:
        return (
            "the file is cut off in the middle: what followed its last frame is lost",
            *_gap_warnings(coverage, unit),
        )
    return _gap_warnings(coverage, unit)


def unread_warnings(plan: SamplePlan, session: StreamSession) -> tuple[str, ...]:
    """Subtitles of the plan that no step was left to carry."""
    unread = sum(len(step.cues) for step in plan.steps) - sum(len(step.cues) for step in session.steps)
    return (f"subtitles not read, because no later frame could be: {unread}",) if unread else ()


def dropped_tokens(plan: SamplePlan, session: StreamSession) -> int:
    """Vision tokens of the watched steps that `--drop-static` left out."""
    return plan.tokens_per_step * len(session.steps) - session.vision_tokens


def static_warnings(plan: SamplePlan, session: StreamSession) -> tuple[str, ...]:
    if not (dropped := dropped_tokens(plan, session)):
        return ()
    share = f"{dropped:,} of {dropped + session.vision_tokens:,} video tokens"
    return (f"--drop-static: {share} show what was shown before and were left out",)


def _gap_warnings(coverage: Coverage, unit: str) -> tuple[str, ...]:
    if not coverage.gaps:
        return ()
    shown = ", ".join(f"{start:.1f}-{end:.1f} {unit}" for start, end in coverage.gaps[:5])
    more = f" and {len(coverage.gaps) - 5} more" if len(coverage.gaps) > 5 else ""
    return (f"parts of the video could not be read: {shown}{more}",)


def _floats(spans: list[TimeSpan]) -> tuple[tuple[float, float], ...]:
    return tuple((float(span.start), float(span.end)) for span in spans)
