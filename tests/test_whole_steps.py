"""Spans of pictures and pages: those of whole steps."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from qvl_cli.align import Aligned, ScoredSpan, Sentence
from qvl_cli.align.whole_steps import WholeSteps, to_edges
from qvl_cli.sampling import Step
from qvl_cli.timeline import TimeSpan

PAGES = [Step(Fraction(p), Fraction(p), TimeSpan(Fraction(p), Fraction(p + 1))) for p in (1, 2, 3, 5)]


def span(start: str, end: str) -> TimeSpan:
    return TimeSpan(Fraction(start), Fraction(end))


@pytest.mark.parametrize(
    ("found", "whole"),
    [
        (("1.933", "3.973"), ("2", "4")),
        (("2", "4"), ("2", "4")),
        (("2.3", "2.4"), ("2", "3")),  # less than a page is that page
        (("3.6", "3.7"), ("3", "4")),
        (("1", "6"), ("1", "6")),
        (("0.2", "1.1"), ("1", "2")),
        (("5.5", "5.5"), ("5", "6")),
    ],
)
def test_boundaries_go_to_the_nearest_edges(found: tuple[str, str], whole: tuple[str, str]) -> None:
    assert to_edges(span(*found), PAGES) == span(*whole)


def test_both_questions_are_answered_in_whole_steps() -> None:
    times = (("2.9", "3.1", 0.9), ("3.2", "3.9", 0.8), ("1", "1.9", 0.7))
    aligned = Aligned(tuple(ScoredSpan(span(a, b), score) for a, b, score in times), ("a warning",))

    class Inner:
        name = "head"

        def locate(self, session: Any, event: str) -> Aligned:
            return aligned

        def evidence(self, session: Any, question: str, sentences: Any) -> list[Aligned]:
            return [aligned for _ in sentences]

    session: Any = SimpleNamespace(steps=PAGES)
    whole = Aligned((ScoredSpan(span("3", "4"), 0.9), ScoredSpan(span("1", "2"), 0.7)), ("a warning",))
    aligner = WholeSteps(Inner())
    assert aligner.name == "head" and aligner.locate(session, "x") == whole
    assert aligner.evidence(session, "x?", [Sentence("A.", (0, 1))]) == [whole]
