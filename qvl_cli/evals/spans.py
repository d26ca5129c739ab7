"""Figures of ranked spans against the truth, in float seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qvl_cli.evals.interval import Floats

Span = tuple[float, float]


def iou(a: Span, b: Span) -> float:
    """Intersection over union of two ranges; 0 where both are empty."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union > 0 else 0.0


def cross_iou(a: Floats, b: Floats) -> Floats:
    """a [..., n, 2], b [..., m, 2] -> [..., n, m]; NaN where both windows are empty."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    shared = np.clip(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0, None)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = shared / union
    return found


def paired_iou(a: Floats, b: Floats) -> Floats:
    """a [n, 2], b [n, 2] -> [n]: what both cover over what they span together; 0 where both are empty."""
    shared = np.maximum(0, np.minimum(a[:, 1], b[:, 1]) - np.maximum(a[:, 0], b[:, 0]))
    span = np.maximum(a[:, 1], b[:, 1]) - np.minimum(a[:, 0], b[:, 0])
    found: Floats = np.divide(shared, span, out=np.zeros_like(shared), where=span != 0)
    return found


def top_iou(ranked: Sequence[Span], truth: Sequence[Span]) -> float:
    """IoU of the best-ranked span with the true span it fits best; 0.0 where nothing was found.

    With several true spans this is R1 as QVHighlights counts it (moment_detr, standalone_eval).
    """
    return max((iou(ranked[0], span) for span in truth), default=0.0) if ranked else 0.0


def boundary_errors(ranked: Sequence[Span], truth: Sequence[Span]) -> list[float]:
    """|start - start| and |end - end| of the best-ranked span and the true span it fits best, in seconds;
    nothing where they share no half (IoU below 0.5): there is no telling which boundaries belong together."""
    if not ranked or not truth:
        return []
    best = max(truth, key=lambda span: iou(ranked[0], span))
    if iou(ranked[0], best) < 0.5:
        return []
    return [abs(ranked[0][0] - best[0]), abs(ranked[0][1] - best[1])]
