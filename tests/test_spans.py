"""Span decoding against brute force, and planted spans recovered."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from qvl_cli.align.spans import (
    BOUNDARY_WEIGHT,
    OPEN_COST,
    Run,
    StepScores,
    decode_runs,
    run_span,
    seen_spans,
)
from qvl_cli.timeline import TimeSpan


def worth(scores: StepScores, runs: list[Run]) -> float:
    return sum(
        float(scores.inside[r.begin : r.stop].sum())
        + BOUNDARY_WEIGHT * float(scores.first[r.begin] + scores.last[r.stop - 1])
        - OPEN_COST
        for r in runs
    )


def best_by_search(scores: StepScores, begin: int = 0) -> float:
    count = len(scores.inside)
    best = 0.0
    for a in range(begin, count):
        for b in range(a + 1, count + 1):
            best = max(best, worth(scores, [Run(a, b)]) + best_by_search(scores, b))
    return best


@pytest.mark.parametrize("seed", range(40))
def test_decoded_runs_are_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 8))
    scores = StepScores(*rng.normal(0, 3, (3, count)), *rng.random((2, count)))
    runs = decode_runs(scores)
    assert worth(scores, runs) == pytest.approx(best_by_search(scores))
    assert all(a.stop <= b.begin for a, b in pairwise(runs))


def planted(count: int, runs: list[Run], rng: np.random.Generator) -> StepScores:
    inside, first, last = -4 + rng.normal(0, 1, (3, count))
    for run in runs:
        inside[run.begin : run.stop] += 8
        first[run.begin] += 8
        last[run.stop - 1] += 8
    return StepScores(inside, first, last, np.full(count, 0.25), np.full(count, 0.5))


def test_planted_runs_are_recovered_with_exact_times() -> None:
    rng = np.random.default_rng(0)
    runs = [Run(2, 5), Run(9, 10), Run(20, 31)]
    scores = planted(40, runs, rng)
    assert decode_runs(scores) == runs
    intervals = [TimeSpan(Fraction(i, 2), Fraction(i + 1, 2)) for i in range(40)]
    assert run_span(runs[0], scores, intervals) == TimeSpan(Fraction(9, 8), Fraction(9, 4))


def test_nothing_found_where_nothing_is() -> None:
    quiet = np.full(30, -4.0)
    assert decode_runs(StepScores(quiet, quiet, quiet, quiet, quiet)) == []
    nothing = np.empty(0)
    assert decode_runs(StepScores(nothing, nothing, nothing, nothing, nothing)) == []


def test_no_span_reaches_over_a_hole() -> None:
    intervals = [TimeSpan(Fraction(a), Fraction(a + 1)) for a in (0, 1, 8, 9, 12)]
    half = np.full(5, 0.5)
    scores = StepScores(half, half, half, half, half)

    def seen(run: Run) -> list[tuple[float, float]]:
        return [(float(span.start), float(span.end)) for span in seen_spans(run, scores, intervals)]

    # Offsets move the ends of the whole, and no end that a hole makes.
    assert seen(Run(0, 5)) == [(0.5, 2), (8, 10), (12, 12.5)]
    assert seen(Run(0, 2)) == [(0.5, 1.5)] and seen(Run(2, 3)) == [(8, 9)]
    late = replace(scores, start_at=np.full(5, 0.999), end_at=np.full(5, 0.001))
    assert [(float(a.start), float(a.end)) for a in seen_spans(Run(1, 5), late, intervals)] == [(8, 10)]
    assert len(seen_spans(Run(1, 2), late, intervals)) == 1  # where there is nothing else it stays
    # The lesser part of a step beside a hole says that the span began behind it, or ended before.
    lesser = replace(scores, start_at=np.full(5, 0.7), end_at=np.full(5, 0.4))
    assert [(float(a.start), float(a.end)) for a in seen_spans(Run(1, 5), lesser, intervals)] == [(8, 10)]
    assert [(float(a.start), float(a.end)) for a in seen_spans(Run(0, 2), lesser, intervals)] == [(0.7, 1.4)]
    uneven = [TimeSpan(Fraction(a), Fraction(b)) for a, b in ((0, 10), (20, 21), (21, 22))]
    (found,) = seen_spans(Run(0, 3), lesser, uneven)
    assert (float(found.start), float(found.end)) == (20, 21.4)


def test_crossed_offsets_never_turn_a_span_around() -> None:
    one = np.array([3.0])
    scores = StepScores(one, one, one, np.array([0.9]), np.array([0.1]))
    whole = TimeSpan(Fraction(4), Fraction(5))
    assert run_span(Run(0, 1), scores, [whole]) == whole
