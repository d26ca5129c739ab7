"""Is a score worth what it says? Calibration error, and how well it tells right from wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qvl_cli.evals.interval import Floats

BINS = 10


def expected_calibration_error(scores: Floats, hits: npt.NDArray[np.bool_]) -> float:
    """Mean distance of score and hit rate over ten equal bins of [0, 1], weighted by how many fall in
    (Guo et al., arXiv 1706.04599); a bin takes its lower edge in, the last one also 1. NaN for no score."""
    if not len(scores):
        return float("nan")
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, scores - hits, BINS)  # per bin: its size times (mean score - hit rate)
    return float(np.abs(gaps).sum() / len(scores))


def area_under_roc(scores: Floats, hits: npt.NDArray[np.bool_]) -> float:
    """The chance that a hit outscores a miss, ties counting half (Mann-Whitney). NaN without both kinds."""
    right, wrong = int(hits.sum()), int((~hits).sum())
    if not right or not wrong:
        return float("nan")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = counts.cumsum() - (counts - 1) / 2  # mean rank of equal scores
    return float((ranks[places][hits].sum() - right * (right + 1) / 2) / (right * wrong))
