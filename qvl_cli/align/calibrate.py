"""What a trained head's spans are worth: learned on queries it was not fitted to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from qvl_cli.align.network import HeadNetwork
from qvl_cli.align.score import fit_chance, log_chance, runs_with_evidence
from qvl_cli.align.spans import Floats, StepScores, run_span
from qvl_cli.timeline import TimeSpan


@dataclass(frozen=True, slots=True)
class Judged:
    """One query: the steps' intervals, what the head said of them, and the true spans on the same clock."""

    intervals: Sequence[TimeSpan]
    scores: StepScores
    truth: Sequence[TimeSpan]


@torch.no_grad()
def fit_score(head: HeadNetwork, queries: Iterable[Judged]) -> tuple[float, dict[str, float]]:
    """Fit the score (in place, on `head`) and choose the not-found threshold; returns it with figures.

    Raises ValueError where no query has a single span to learn from.
    """
    evidence: list[Floats] = []
    hits: list[bool] = []
    per_query: list[tuple[list[int], bool]] = []
    for query in queries:
        mine = []
        for run, figures in runs_with_evidence(query.scores, query.intervals):
            span = run_span(run, query.scores, query.intervals)
            mine.append(len(evidence))
            evidence.append(figures)
            hits.append(any(span.iou(true) >= 0.5 for true in query.truth))
        per_query.append((mine, bool(query.truth)))
    if not evidence:
        raise ValueError("the head finds no span in any of the queries")
    stacked = np.stack(evidence)
    weight, bias = fit_chance(stacked, np.array(hits, float))
    head.score_weight.copy_(weight)
    head.score_bias.copy_(bias)
    scored = log_chance(torch.from_numpy(stacked), weight, bias).exp().numpy()
    best = np.array([max((scored[i] for i in mine), default=0.0) for mine, _ in per_query])
    present = np.array([shown for _, shown in per_query])
    threshold = best_threshold(best, present)
    first = [(int(max(mine, key=lambda i: scored[i])) if mine else -1) for mine, _ in per_query]
    right = [i >= 0 and hits[i] for i, shown in zip(first, present, strict=True) if shown]
    return threshold, {
        "queries": float(len(per_query)),
        "r1@0.5": _share(np.array(right)),
        "absent_recall": _share(best[~present] < threshold),
        "false_denial": _share(best[present] < threshold),
    }


def _share(values: npt.NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def best_threshold(best: Floats, present: npt.NDArray[np.bool_]) -> float:
    """The score below which `not found` is right most often, present and absent counting the same; 0 where
    only one of them is there to learn from."""
    if present.all() or not present.any():
        return 0.0
    candidates = np.unique(np.concatenate([[0.0], best]))
    gains = [(best[~present] < c).mean() + (best[present] >= c).mean() for c in candidates]
    top = int(np.argmax(gains))
    upper = candidates[top]
    lower = candidates[top - 1] if top else 0.0
    return float((upper + lower) / 2)
