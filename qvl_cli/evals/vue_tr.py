"""The figures of VUE-TR: how much of the predicted and of the true time is right, as areas under curves.

They follow the scorer of ByteDance's Vidi to the last digit (arXiv 2504.15681): predictions are widened to
whole seconds, precision and recall walk through both lists as given, IoU merges the predicted ranges first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from qvl_cli.evals.interval import Floats

THRESHOLDS = np.linspace(0, 1, 101)
ATTRIBUTES = {
    "duration_category": ("ultra-short", "short", "medium", "long", "ultra-long"),
    "query_format": ("keyword", "phrase", "sentence"),
    "query_modality": ("audio", "vision", "vision+audio"),
}


@dataclass(frozen=True, slots=True)
class RangeScores:
    """Per query: precision (NaN where nothing, or no time, was predicted), recall (NaN where no time is
    true), iou."""

    precision: Floats
    recall: Floats
    iou: Floats


def score_ranges(predicted: Sequence[Floats], truth: Sequence[Floats]) -> RangeScores:
    """Ranges [n, 2] of each query, in seconds."""
    rows = np.full((len(truth), 3), np.nan)
    for row, (said, true) in enumerate(zip(predicted, truth, strict=True)):
        widened = np.column_stack([np.floor(said[:, 0]), np.ceil(said[:, 1])])
        a, b = np.sort(true, axis=1), np.sort(widened, axis=1)
        shared, true_time, said_time = _shared_time(a, b), _total(a), _total(b)
        if said_time != 0:
            rows[row, 0] = shared / said_time
        if true_time != 0:
            rows[row, 1] = shared / true_time
        rows[row, 2] = _iou(widened, true)
    return RangeScores(*rows.T)


def area_at_least(values: Floats) -> float | None:
    """Area under the curve `share of values >= t`, t = 0, 0.01, .. 1; NaN values do not count."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    return float(np.trapezoid([np.mean(known >= t) for t in THRESHOLDS], THRESHOLDS))


def area_above(values: Floats) -> float | None:
    """The same of `share of values > t`."""
    if not len(values):
        return None
    return float(np.trapezoid([np.sum(values > t) / float(len(values)) for t in THRESHOLDS], THRESHOLDS))


def own_areas(values: Floats, strictly: bool) -> Floats:
    """What each value adds to such an area: their mean is the area. NaN stays NaN."""
    curve = values[:, None] > THRESHOLDS if strictly else values[:, None] >= THRESHOLDS
    areas: Floats = np.trapezoid(curve.astype(float), THRESHOLDS, axis=1)
    return np.where(np.isnan(values), np.nan, areas)


def _total(ranges: Floats) -> float:
    """Seconds, added one after another; what overlaps counts as often as it is listed."""
    return float(sum((ranges[:, 1] - ranges[:, 0]).tolist()))


def _shared_time(a: Floats, b: Floats) -> float:
    """Two pointers over the lists as they are given: exact where both are in order and apart, and what the
    published figures rest on where they are not."""
    i = j = 0
    total = 0.0
    rows_a, rows_b = a.tolist(), b.tolist()
    while i < len(rows_a) and j < len(rows_b):
        (a_start, a_end), (b_start, b_end) = rows_a[i], rows_b[j]
        if a_start <= b_end and b_start <= a_end:
            total += min(a_end, b_end) - max(a_start, b_start)
        if a_end < b_end:
            i += 1
        else:
            j += 1
    return total


def _iou(said: Floats, true: Floats) -> float:
    """Merged predicted ranges against the true ones as listed; 1 where both sides are empty."""
    if not len(true) or not len(said):
        return float(len(true) == len(said))
    merged: list[list[float]] = []
    for start, end in said[np.argsort(said[:, 0])].tolist():
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    kept = np.array([span for span in merged if span[0] <= span[1]]).reshape(-1, 2)
    overlap = np.minimum(kept[:, None, 1], true[None, :, 1]) - np.maximum(kept[:, None, 0], true[None, :, 0])
    shared = list(accumulate(np.maximum(0.0, overlap).ravel().tolist(), initial=0.0))[-1]
    union = np.sum(kept[:, 1] - kept[:, 0]) + np.sum(true[:, 1] - true[:, 0]) - shared
    return float(np.clip(shared / (union + 1e-16), 0.0, 1.0))
