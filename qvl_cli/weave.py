"""Plan + cues -> a plan whose steps carry the subtitles that are read in front of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from qvl_cli.media.subtitles.cue import Cue
from qvl_cli.prompts import subtitle_line
from qvl_cli.sampling import SamplePlan
from qvl_cli.timeline import TimeSpan, prompt_seconds

_LARGE = 4  # subtitles beyond a quarter of the video tokens are told


def weave(plan: SamplePlan, cues: Sequence[Cue], count: Callable[[str], int]) -> SamplePlan:
    """`plan` with each cue that is shown within its range in front of one step, and what that costs.

    A cue belongs to the first step whose printed time is not before the cue's start; one that starts after
    all of them belongs to the last step, and its own times say so; one already shown at the first frame is
    shown from 0 on. cues: in the order of their starts.
    count: tokens of a text.
    """
    waiting = [_presented(cue) for cue in cues if _shown(cue.span, plan.range)]
    steps, tokens, upto = [], [], 0
    for step in plan.steps:
        last = step is plan.steps[-1]
        printed = Fraction(prompt_seconds(step.t0, step.t1))
        first = upto
        while upto < len(waiting) and (last or waiting[upto].span.start <= printed):
            upto += 1
        mine = waiting[first:upto]
        steps.append(replace(step, cues=tuple(mine)))
        tokens.append(count(cue_text(mine)) if mine else 0)
    return replace(plan, steps=tuple(steps), text_tokens=tuple(tokens))


def cue_text(cues: Iterable[Cue]) -> str:
    """What is read in front of a step: a line for each of its cues."""
    return "".join(subtitle_line(float(cue.span.start), float(cue.span.end), cue.text) for cue in cues)


def size_notes(plan: SamplePlan) -> tuple[str, ...]:
    """Said where the subtitles are a large part of what the model reads; none is left out for that."""
    text = sum(plan.text_tokens)
    if text * _LARGE <= plan.tokens:
        return ()
    return (
        f"the subtitles take {text:,} tokens beside {plan.tokens:,} video tokens, all of them are read: "
        "--subs none or a shorter --from and --to saves them",
    )


def _shown(span: TimeSpan, within: TimeSpan) -> bool:
    """Whether a cue is on screen at some time of the range; an instant counts."""
    return span.start < within.end and (span.end > within.start or span.start >= within.start)


def _presented(cue: Cue) -> Cue:
    """A stream's first cue may start before its first frame; no prompt has a time below 0."""
    if cue.span.start >= 0:
        return cue
    return replace(cue, span=TimeSpan(Fraction(0), max(cue.span.end, Fraction(0))))
