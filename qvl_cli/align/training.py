"""What an alignment head should say of each step, and how far off it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F


def step_targets(
    spans: Sequence[tuple[float, float]], starts: npt.NDArray[np.float64], ends: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """True spans against the steps' intervals [starts, ends), all in seconds -> float32 [steps, 5]: share of
    the interval inside, 1 where a span starts, 1 where one ends, and where in the interval it does."""
    long = ends - starts
    inside, first, last, start_at, end_at = np.zeros((5, len(starts)), np.float32)
    for begin, end in spans:
        inside += np.clip((np.minimum(ends, end) - np.maximum(starts, begin)) / long, 0, 1)
        a = int(np.clip(np.searchsorted(ends, begin, side="right"), 0, len(starts) - 1))
        b = int(np.clip(np.searchsorted(starts, end, side="left") - 1, 0, len(starts) - 1))
        first[a], start_at[a] = 1, np.clip((begin - starts[a]) / long[a], 0, 1)
        last[b], end_at[b] = 1, np.clip((end - starts[b]) / long[b], 0, 1)
    return np.stack([np.clip(inside, 0, 1), first, last, start_at, end_at], axis=1)


def head_loss(scores: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
    """scores as `HeadNetwork` gives them, truth as `step_targets`, both [queries, steps, 5] -> the loss, and
    how the queries fare: iou of the steps, absent ones left empty, error of the offsets (NaN for none)."""
    inside, first, last = truth[..., 0], truth[..., 1], truth[..., 2]
    loss = F.binary_cross_entropy_with_logits(scores[..., 0], inside, weight=1 + 2 * inside)
    weights = 1 + 6 * truth[..., 1:3]
    loss = loss + 2 * F.binary_cross_entropy_with_logits(scores[..., 1:3], truth[..., 1:3], weight=weights)
    offsets = torch.cat(
        (
            (scores[..., 3] - truth[..., 3]).abs()[first > 0],
            (scores[..., 4] - truth[..., 4]).abs()[last > 0],
        )
    )
    if len(offsets):
        loss = loss + 0.5 * offsets.mean()
    chosen, wanted = scores[..., 0] > 0, inside > 0.5
    some = wanted.any(-1)
    overlap = (chosen & wanted).sum(-1) / (chosen | wanted).sum(-1).clamp_min(1)
    return loss, {
        "iou": overlap[some].mean().item(),
        "absent": (~chosen.any(-1))[~some].float().mean().item(),
        "offset": offsets.mean().item(),
    }
