"""95 % intervals of a mean by resampling whole videos: questions on one video are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 2000


def mean(groups: Sequence[Sequence[float]]) -> float | None:
    """Mean over all values of all groups; None where there is none."""
    values = [value for group in groups for value in group]
    return float(np.mean(values)) if values else None


def bootstrap(groups: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float] | None:
    """2.5 and 97.5 percentiles of `mean` over groups drawn with replacement (Efron's percentile interval)."""
    kept = [group for group in groups if len(group)]
    if not kept:
        return None
    sums, counts = np.array([sum(g) for g in kept]), np.array([len(g) for g in kept])
    picks = np.random.default_rng(seed).integers(0, len(kept), (DRAWS, len(kept)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
