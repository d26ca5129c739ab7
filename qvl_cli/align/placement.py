"""How sure the place of a span is, among all ways to cut the steps into spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qvl_cli.align.spans import Floats, Run, StepScores, earnings, run_span
from qvl_cli.timeline import TimeSpan

MOST = 16.0  # of log odds, either way
_AT_ONCE = 1 << 18  # pairs of a first and a last step: long spans take no more memory than short ones


def placement_odds(runs: Sequence[Run], scores: StepScores, intervals: Sequence[TimeSpan]) -> Floats:
    """The log odds of each run that a span is there whose IoU with it is at least 0.5, float64 [runs].

    A way to cut the steps into spans is as likely as e to the power of what it earns in `decode_runs`, as in
    a linear-chain CRF. Summed over all of them by the forward-backward recursion, O(steps).
    """
    if not runs:
        return np.zeros(0)
    opening, closing = earnings(scores)
    before, after = _forward(scores.inside, opening, closing), _backward(scores.inside, opening, closing)
    inside = np.concatenate([[0.0], np.cumsum(scores.inside)])
    from_here = before[:-1] + opening - inside[:-1]
    to_here = inside[1:] + closing + after[1:] - before[-1]
    edges = np.array([[float(each.start), float(each.end)] for each in intervals])
    lengths = np.ptp(edges, axis=1)
    starts = edges[:, 0] + lengths * scores.start_at.clip(0, 1)
    ends = edges[:, 0] + lengths * scores.end_at.clip(0, 1)

    def odds(run: Run) -> float:
        span = run_span(run, scores, intervals)
        start, end = float(span.start), float(span.end)
        long, log_share = end - start, -np.inf
        # Whatever has an IoU of 0.5 begins and ends no farther away.
        firsts = np.flatnonzero((starts >= start - long) & (edges[:, 0] <= start + long))
        lasts = np.flatnonzero((edges[:, 1] >= end - long) & (ends <= end + long))
        rows = max(_AT_ONCE // max(len(lasts), 1), 1)
        for at in range(0, len(firsts), rows):
            first, last = firsts[at : at + rows, None], lasts[None]
            turned = (first == last) & (starts[first] >= ends[last])  # as in `run_span`
            begins = np.where(turned, edges[first, 0], starts[first])
            stops = np.where(turned, edges[last, 1], ends[last])
            both = np.minimum(stops, end) - np.maximum(begins, start)
            either = np.maximum(stops, end) - np.minimum(begins, start)
            alike = (first <= last) & (both >= 0.5 * either)
            mass = (from_here[first] + to_here[last])[alike]
            log_share = np.logaddexp(log_share, np.logaddexp.reduce(mass, initial=-np.inf))
        share = min(float(np.exp(log_share)), 1.0)
        return float(np.clip(np.log(max(share, 1e-9)) - np.log(max(1 - share, 1e-9)), -MOST, MOST))

    return np.array([odds(run) for run in runs])


def _forward(inside: Floats, opening: Floats, closing: Floats) -> Floats:
    """[n + 1]: log sum over the ways to cut the steps before each, and before the end."""
    found, within = [0.0], -np.inf
    for step in range(len(inside)):
        within = np.logaddexp(found[-1] + opening[step], within) + inside[step]
        found.append(np.logaddexp(found[-1], within + closing[step]))
    return np.array(found)


def _backward(inside: Floats, opening: Floats, closing: Floats) -> Floats:
    """[n + 1]: the same from each step on."""
    return _forward(inside[::-1], closing[::-1], opening[::-1])[::-1]
