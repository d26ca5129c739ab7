"""The score of a span: its place against all segmentations counted one by one, and the fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from qvl_cli.align.placement import MOST, placement_odds
from qvl_cli.align.score import FIGURES, fit_chance, log_chance, runs_with_evidence
from qvl_cli.align.spans import Run, StepScores, decode_runs, run_span
from qvl_cli.timeline import TimeSpan
from tests.test_spans import worth

SECONDS = [TimeSpan(Fraction(i), Fraction(i + 1)) for i in range(30)]


def segmentations(count: int, step: int = 0) -> Iterator[list[Run]]:
    """Every way to cut the steps from `step` on into runs and what lies between them."""
    if step == count:
        yield []
        return
    yield from segmentations(count, step + 1)
    for stop in range(step + 1, count + 1):
        for others in segmentations(count, stop):
            yield [Run(step, stop), *others]


@pytest.mark.parametrize("seed", range(6))
def test_placement_odds_are_those_of_all_segmentations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = StepScores(*rng.normal(0, 2, (3, 7)), *rng.uniform(-0.1, 1.1, (2, 7)))
    edges = [Fraction(int(each), 4) for each in np.cumsum(rng.integers(1, 9, 8))]
    intervals = [TimeSpan(start, end) for start, end in pairwise(edges)]
    ways = list(segmentations(7))
    likely = np.exp([worth(scores, runs) for runs in ways])
    asked = [Run(0, 2), Run(1, 6), Run(3, 4), Run(0, 7)]
    for run, odds in zip(asked, placement_odds(asked, scores, intervals), strict=True):
        span = run_span(run, scores, intervals)
        there = [any(run_span(each, scores, intervals).iou(span) >= 0.5 for each in runs) for runs in ways]
        share = likely @ np.array(there) / likely.sum()
        assert odds == pytest.approx(np.log(share / (1 - share)), abs=0.02)


def test_a_place_is_less_sure_where_a_span_might_be_two_or_begin_elsewhere() -> None:
    at = np.arange(30)
    edge = np.where(at == 14, 6.0, -6.0), np.where(at == 23, 6.0, -6.0)
    within = np.where((at >= 14) & (at < 24), 6.0, -6.0)
    sure = StepScores(within, *edge, np.zeros(30), np.ones(30))
    two = StepScores(
        np.where((at == 18) | (at == 19), 0.2, within),
        np.where(at == 20, 0.8, edge[0]),
        np.where(at == 17, 0.8, edge[1]),
        np.zeros(30),
        np.ones(30),
    )
    earlier = replace(
        sure, inside=np.where((at >= 1) & (at < 14), -0.1, within), first=np.where(at == 1, 4.0, edge[0])
    )
    odds = [placement_odds(decode_runs(each), each, SECONDS) for each in (sure, two, earlier)]
    assert [len(each) for each in odds] == [1, 1, 1]
    assert odds[0][0] > 8 and max(odds[1][0], odds[2][0]) < 4


def test_evidence_is_finite_for_a_run_over_everything() -> None:
    wild = np.array([1e9, 2e9])
    scores = StepScores(wild, -wild, -wild, wild, wild)
    ((run, figures),) = runs_with_evidence(scores, SECONDS[:2])
    assert run == Run(0, 2) and len(figures) == FIGURES and figures[-1] == MOST
    assert np.isfinite(figures).all() and np.abs(figures[:-1]).max() <= 10


def test_hours_are_judged_without_a_table_of_all_steps() -> None:
    count = 20_000
    intervals = [TimeSpan(Fraction(i), Fraction(i + 1)) for i in range(count)]
    within = np.where((np.arange(count) > 5_000) & (np.arange(count) < 5_020), 4.0, -6.0)
    scores = StepScores(within, np.full(count, -6.0), np.full(count, -6.0), np.zeros(count), np.ones(count))
    ((run, figures),) = runs_with_evidence(scores, intervals)
    assert run == Run(5_001, 5_020) and figures[-1] > 3


def test_a_score_is_the_chance_of_both_and_its_fit_finds_it() -> None:
    rng = np.random.default_rng(5)
    figures = rng.normal(0, 2, (20_000, FIGURES))
    weight, bias = np.array([1.2, 0.0, -0.4, 0.0, 0.9]), np.array([1.0, 2.0])
    chance = np.exp(log_chance(*map(torch.from_numpy, (figures, weight, bias))).numpy())
    odds = figures @ [1.2, 0, -0.4, 0, 0] + 1, figures[:, 4] * 0.9 + 2
    shows, placed = (1 / (1 + np.exp(-each)) for each in odds)
    assert np.allclose(chance, shows * placed)
    found, offset = fit_chance(figures, (rng.random(len(chance)) < chance).astype(float))
    assert np.allclose(found.numpy(), weight, atol=0.15) and np.allclose(offset.numpy(), bias, atol=0.3)
    assert all(torch.isfinite(each).all() for each in fit_chance(figures[:40], np.ones(40)))
