"""Pictures and pages are there for all of their time: spans at step resolution and no finer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qvl_cli.align import Aligned, Aligner, ScoredSpan, Sentence
from qvl_cli.sampling import Step
from qvl_cli.stream import StreamSession
from qvl_cli.timeline import TimeSpan


class WholeSteps:
    """An aligner whose spans begin and end where steps do."""

    def __init__(self, aligner: Aligner) -> None:
        self.name = aligner.name
        self._aligner = aligner

    def locate(self, session: StreamSession, event: str) -> Aligned:
        return _whole(self._aligner.locate(session, event), session.steps)

    def evidence(self, session: StreamSession, question: str, sentences: Sequence[Sentence]) -> list[Aligned]:
        found = self._aligner.evidence(session, question, sentences)
        return [_whole(each, session.steps) for each in found]


def _whole(aligned: Aligned, steps: Sequence[Step]) -> Aligned:
    spans = tuple(replace(each, span=to_edges(each.span, steps)) for each in aligned.spans)
    return replace(aligned, spans=tuple(_without_repeats(spans)))


def to_edges(span: TimeSpan, steps: Sequence[Step]) -> TimeSpan:
    """From the nearest start of a step to the nearest end of one; at least the step it covers most of."""
    start = min((step.interval.start for step in steps), key=lambda edge: abs(edge - span.start))
    end = min((step.interval.end for step in steps), key=lambda edge: abs(edge - span.end))
    if start < end:
        return TimeSpan(start, end)
    return max((step.interval for step in steps), key=lambda interval: _shared(interval, span))


def _shared(interval: TimeSpan, span: TimeSpan) -> tuple[object, object]:
    part = interval.intersection(span)
    return (part.duration if part else 0, -abs(interval.start - span.start))


def _without_repeats(spans: Sequence[ScoredSpan]) -> list[ScoredSpan]:
    """The better of two that have become one."""
    kept: list[ScoredSpan] = []
    for each in spans:  # best first
        if all(each.span.intersection(other.span) is None for other in kept):
            kept.append(each)
    return kept
