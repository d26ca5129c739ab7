"""After training: what the head's spans are worth, learned on training scripts it has not been fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qvl_cli.align.head import step_scores
from qvl_cli.align.spans import Floats, StepScores, decode_runs, run_evidence, run_span
from qvl_cli.timeline import TimeSpan
from qvl_cli.tiny.clips import Clip, HeadTarget, make_clip
from qvl_cli.tiny.timing import TimeStage, run_language

FIRST_SEED, CLIPS = 800_000, 160
LENGTHS = (32, 48, 72, 110)
_ROUNDS = 200  # Newton steps of the logistic fit, many more than it needs


def calibrate(network: Any, stage: TimeStage) -> tuple[float, dict[str, float]]:
    """Fit the score (in place, on stage.head) and choose the not-found threshold; returns it with figures."""
    head = stage.head.eval()
    evidence: list[Floats] = []
    hits: list[bool] = []
    per_query: list[tuple[list[int], bool]] = []
    for clip, target, scores in _judged(network, stage):
        intervals, truth = clip_intervals(clip), true_spans(target)
        mine = []
        for run in decode_runs(scores):
            span = run_span(run, scores, intervals)
            mine.append(len(evidence))
            evidence.append(run_evidence(run, scores))
            hits.append(any(span.iou(true) >= 0.5 for true in truth))
        per_query.append((mine, bool(truth)))
    figures = np.stack(evidence)
    weight, bias = _fit_logistic(figures, np.array(hits, float))
    head.score_weight.copy_(torch.from_numpy(weight))
    head.score_bias.copy_(torch.tensor(bias))
    scored = 1 / (1 + np.exp(-(figures @ weight + bias)))
    best = np.array([max((scored[i] for i in mine), default=0.0) for mine, _ in per_query])
    present = np.array([shown for _, shown in per_query])
    threshold = _best_threshold(best, present)
    first = [(int(max(mine, key=lambda i: scored[i])) if mine else -1) for mine, _ in per_query]
    right = [i >= 0 and hits[i] for i, shown in zip(first, present, strict=True) if shown]
    return threshold, {
        "queries": float(len(per_query)),
        "r1@0.5": float(np.mean(right)),
        "absent_recall": float((best[~present] < threshold).mean()),
        "false_denial": float((best[present] < threshold).mean()),
    }


def clip_intervals(clip: Clip) -> list[TimeSpan]:
    """The clip's steps from time zero on, end to end."""
    edges = [Fraction(0)]
    for long in clip.durations:
        edges.append(edges[-1] + Fraction(round(float(long) * 1000), 1000))
    return [TimeSpan(a, b) for a, b in pairwise(edges)]


def true_spans(target: HeadTarget) -> list[TimeSpan]:
    """The spans that prove it, on the same clock, to the millisecond."""
    return [
        TimeSpan(Fraction(round(start * 1000), 1000), Fraction(round(end * 1000), 1000))
        for start, end in target.spans
    ]


@torch.no_grad()
def _judged(network: Any, stage: TimeStage) -> Iterator[tuple[Clip, HeadTarget, StepScores]]:
    for i in range(CLIPS):
        clip = make_clip(FIRST_SEED + i, LENGTHS[i % len(LENGTHS)])
        hidden = run_language(network, stage, [clip])[0]
        steps = hidden[list(clip.ends)]
        for target in clip.targets:
            query = hidden[list(target.tokens)]
            yield clip, target, step_scores(stage.head, steps, query, clip_intervals(clip))


def _fit_logistic(figures: Floats, hits: Floats) -> tuple[npt.NDArray[np.float32], float]:
    """Ridge logistic regression by Newton's method."""
    design = np.column_stack([figures, np.ones(len(figures))])
    ridge = np.diag([1.0] * figures.shape[1] + [1e-6])
    weight = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-design @ weight))
        gradient = design.T @ (chance - hits) + ridge @ weight
        curvature = (design.T * (chance * (1 - chance))) @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        weight -= step
        if np.abs(step).max() < 1e-9:
            break
    return weight[:-1].astype(np.float32), float(weight[-1])


def _best_threshold(best: Floats, present: npt.NDArray[np.bool_]) -> float:
    """The score below which `not found` is right most often, present and absent counting the same."""
    candidates = np.unique(np.concatenate([[0.0], best]))
    gains = [(best[~present] < c).mean() + (best[present] >= c).mean() for c in candidates]
    top = int(np.argmax(gains))
    upper = candidates[top]
    lower = candidates[top - 1] if top else 0.0
    return float((upper + lower) / 2)
