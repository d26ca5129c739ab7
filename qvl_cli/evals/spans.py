"""Figures of ranked spans against the truth, in float seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Span = tuple[float, float]


def iou(a: Span, b: Span) -> float:
    """Intersection over union of two ranges; 0 where both are empty."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union > 0 else 0.0


def top_iou(ranked: Sequence[Span], truth: Sequence[Span]) -> float:
    """IoU of the best-ranked span with the true span it fits best; 0.0 where nothing was found.

    With several true spans this is R1 as QVHighlights counts it (moment_detr, standalone_eval).
    """
    return max((iou(ranked[0], span) for span in truth), default=0.0) if ranked else 0.0


def whole_iou(duration: float, truth: Sequence[Span]) -> float:
    """What the whole video as the one span scores."""
    return top_iou([(0.0, duration)], truth)


def random_ious(duration: float, truth: Sequence[Span], draws: int, seed: int) -> list[float]:
    """What spans with two uniform ends score."""
    ends = np.sort(np.random.default_rng(seed).uniform(0, duration, (draws, 2)), axis=1)
    return [top_iou([(float(a), float(b))], truth) for a, b in ends]
