"""After training: what the head's spans are worth, learned on training scripts it has not been fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch

from qvl_cli.align.calibrate import Judged, fit_score
from qvl_cli.align.head import step_scores
from qvl_cli.align.network import HeadNetwork
from qvl_cli.timeline import TimeSpan
from qvl_cli.tiny.clips import Clip, HeadTarget, make_clip
from qvl_cli.tiny.timing import run_language

FIRST_SEED, CLIPS = 800_000, 160
LENGTHS = (32, 48, 72, 110)


def calibrate(network: Any, head: HeadNetwork) -> tuple[float, dict[str, float]]:
    """Fit the score (in place, on head) and choose the not-found threshold; returns it with figures."""
    return fit_score(head.eval(), _judged(network, head))


def clip_intervals(clip: Clip) -> list[TimeSpan]:
    """The clip's steps from time zero on, end to end."""
    edges = [Fraction(0)]
    for long in clip.durations:
        edges.append(edges[-1] + Fraction(round(float(long) * 1000), 1000))
    return [TimeSpan(a, b) for a, b in pairwise(edges)]


def true_spans(target: HeadTarget) -> list[TimeSpan]:
    """The spans that prove it, on the same clock, to the millisecond."""
    return [
        TimeSpan(Fraction(round(start * 1000), 1000), Fraction(round(end * 1000), 1000))
        for start, end in target.spans
    ]


@torch.no_grad()
def _judged(network: Any, head: HeadNetwork) -> Iterator[Judged]:
    for i in range(CLIPS):
        clip = make_clip(FIRST_SEED + i, LENGTHS[i % len(LENGTHS)])
        hidden = run_language(network, [clip])[0]
        steps = hidden[torch.tensor(clip.features)]
        intervals, durations = clip_intervals(clip), torch.from_numpy(clip.durations)
        for target in clip.targets:
            scores = step_scores(head, steps, hidden[list(target.tokens)], durations)
            yield Judged(intervals, scores, true_spans(target))
