"""Prompts in, findings out: ask, locate, summarize. The pipeline makes Answers of them."""

from __future__ import annotations

from dataclasses import dataclass

from qvl_cli.align import ScoredSpan
from qvl_cli.answer import Moment, Section


@dataclass(frozen=True, slots=True)
class Findings:
    """What a task found out: the parts of an Answer that are its own. Times in float seconds."""

    text: str
    found: bool = True
    moments: tuple[Moment, ...] = ()
    sections: tuple[Section, ...] = ()
    thinking: str | None = None
    warnings: tuple[str, ...] = ()


def to_moment(scored: ScoredSpan, text: str) -> Moment:
    """Exact times become floats here and nowhere earlier."""
    return Moment(
        float(scored.span.start), float(scored.span.end), round(scored.score, 4), text, scored.refined
    )
