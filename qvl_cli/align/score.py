"""P(IoU >= 0.5) of a decoded span: the chance that it shows what was asked for, times that of its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from qvl_cli.align.placement import placement_odds
from qvl_cli.align.spans import Floats, Run, StepScores, decode_runs, run_evidence
from qvl_cli.timeline import TimeSpan

FIGURES = 5  # of a run: those of `run_evidence`, and the log odds of its place
_RIDGE = 0.1  # of the weights: with 1, what few spans show counted for half
_RIDGE_OF_BIAS = 1e-3  # where all spans are right, nothing else keeps it finite
_ROUNDS = 500  # of L-BFGS, many more than it needs


def runs_with_evidence(scores: StepScores, intervals: Sequence[TimeSpan]) -> list[tuple[Run, Floats]]:
    """The decoded runs, in order of time, each with what its score is estimated from, float64 [FIGURES]."""
    runs = decode_runs(scores)
    odds = placement_odds(runs, scores, intervals)
    return [(run, np.append(run_evidence(run, scores), each)) for run, each in zip(runs, odds, strict=True)]


def log_chance(figures: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """figures [n, FIGURES], weight [FIGURES], bias [2] of what and of where -> log of the score [n]."""
    shows = figures[:, :-1] @ weight[:-1] + bias[0]
    return logsigmoid(shows) + logsigmoid(figures[:, -1] * weight[-1] + bias[1])


def fit_chance(figures: Floats, hits: Floats) -> tuple[Tensor, Tensor]:
    """The weight and bias, float64, that make the hits [n] (1 right, 0 wrong) likeliest, with a ridge."""
    given, right = torch.from_numpy(figures), torch.from_numpy(hits)
    weight = torch.zeros(FIGURES, dtype=torch.float64)
    weight[-1] = 1.0
    bias = torch.ones(2, dtype=torch.float64)
    for each in (weight, bias):
        each.requires_grad_()
    search = torch.optim.LBFGS([weight, bias], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> float:
        search.zero_grad()
        likely = log_chance(given, weight, bias).clamp(max=-1e-9)
        missed = -(right * likely + (1 - right) * torch.log1p(-likely.exp())).sum()
        whole = missed + (_RIDGE * weight.square().sum() + _RIDGE_OF_BIAS * bias.square().sum()) / 2
        whole.backward()  # type: ignore[no-untyped-call]
        return whole.item()

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
