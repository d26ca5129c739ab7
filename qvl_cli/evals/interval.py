"""95 % intervals by resampling whole videos: questions on one video are not independent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS = 2000
STATISTIC_DRAWS = 300  # for what is no mean, and so is computed anew for every draw


def mean_intervals(values: Floats, owners: Sequence[Hashable], seed: int = 0) -> Floats:
    """values [queries, figures], NaN where a query does not count; owners: the video of each query.

    Returns [figures, 2], NaN where fewer than two videos count.
    """
    group = _group_numbers(owners)
    shape = (int(group.max(initial=-1)) + 1, values.shape[1])
    sums, counts = np.zeros(shape), np.zeros(shape)
    there = ~np.isnan(values)
    np.add.at(sums, group, np.where(there, values, 0.0))
    np.add.at(counts, group, there)
    return _mean_percentiles(sums, counts, seed)


def statistic_interval(
    statistic: Callable[[npt.NDArray[np.int64]], float], owners: Sequence[Hashable], seed: int = 0
) -> tuple[float, float] | None:
    """The same for any statistic of the rows it is given (indices, with repeats); None for fewer than two
    videos. NaN draws do not count."""
    group = _group_numbers(owners)
    count = int(group.max(initial=-1)) + 1
    if count < 2:
        return None
    members = [np.flatnonzero(group == each) for each in range(count)]
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([members[each] for each in rng.integers(0, count, count)]))
        for _ in range(STATISTIC_DRAWS)
    ]
    found = [value for value in drawn if not np.isnan(value)]
    if not found:
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _group_numbers(owners: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """Owners as 0, 1, .. in the order they first come."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(owner, len(numbers)) for owner in owners], np.int64)


def _mean_percentiles(sums: Floats, counts: Floats, seed: int) -> Floats:
    """Sums and counts [videos, figures] -> [figures, 2]. A figure is resampled over the videos it has."""
    ends = np.full((sums.shape[1], 2), np.nan)
    patterns: dict[bytes, list[int]] = {}
    for column in range(sums.shape[1]):
        patterns.setdefault((counts[:, column] > 0).tobytes(), []).append(column)
    for columns in patterns.values():
        rows = np.flatnonzero(counts[:, columns[0]] > 0)
        if len(rows) < 2:  # one video says nothing of others
            continue
        # How often each video is drawn: the same as drawing that many with replacement.
        times = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), DRAWS)
        picked = np.ix_(rows, np.array(columns))
        means = (times @ sums[picked]) / (times @ counts[picked])
        ends[columns] = np.percentile(means, [2.5, 97.5], axis=0).T
    return ends
