"""The figures of Charades-STA: is the true range among the first n predicted ones (R@n at an IoU)?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qvl_cli.evals.interval import Floats
from qvl_cli.evals.spans import cross_iou


def best_ious(predicted: Sequence[Floats], truth: Sequence[Floats], first: int) -> Floats:
    """Best IoU of the first `first` windows of each query, as listed, with any true one; 0 for no window.

    R@n at m is the share of queries with at least m (Gao et al., arXiv 1705.02101).
    """
    found = np.zeros(len(truth))
    for row, (said, true) in enumerate(zip(predicted, truth, strict=True)):
        if len(said) and len(true):
            found[row] = np.nan_to_num(cross_iou(said[:first, :2], true)).max()
    return found
