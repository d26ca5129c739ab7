"""Per-step scores -> time spans. Plain numbers in, exact times out; no model here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from qvl_cli.timeline import TimeSpan, merge

Floats = npt.NDArray[np.float64]
OPEN_COST = 1.0  # nats a new span must earn: keeps a single noisy step from becoming an event
LEAST_OF_STEP = Fraction(1, 2)  # less of one in front of a hole, or behind, is an offset that could not go on
BOUNDARY_WEIGHT = 0.5  # boundary logits place the ends of a run; they must not outvote the inside logits


@dataclass(frozen=True, slots=True)
class StepScores:
    """What the head says of each of n steps for one query.

    inside, first, last: logits that the step lies in a span, holds its start, holds its end [n].
    start_at, end_at: where in the step's interval the boundary falls, 0..1 [n].
    """

    inside: Floats
    first: Floats
    last: Floats
    start_at: Floats
    end_at: Floats

    @staticmethod
    def joined(parts: Sequence[StepScores]) -> StepScores:
        """Of steps that follow one another."""
        return StepScores(
            *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(StepScores))
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Steps [begin, stop) decoded as one span."""

    begin: int
    stop: int


def decode_runs(scores: StepScores) -> list[Run]:
    """The best monotone path of out/in states over the steps, as runs of `in`.

    A run over steps a..b earns its inside logits plus the weighted first[a] and last[b], less OPEN_COST; the
    runs with the greatest sum win. Viterbi, O(n).
    """
    count = len(scores.inside)
    if count == 0:
        return []
    opening, closing = earnings(scores)
    out, inside = 0.0, -np.inf
    opened: list[bool] = []
    closed: list[bool] = []
    for step in range(count):
        fresh = out + opening[step]
        opened.append(bool(fresh > inside))
        entering = max(fresh, inside) + scores.inside[step]
        leaving = entering + closing[step]
        closed.append(bool(leaving > out))
        out, inside = max(out, leaving), entering
    runs: list[Run] = []
    step = count - 1
    while step >= 0:
        if not closed[step]:
            step -= 1
            continue
        stop = step + 1
        while not opened[step]:
            step -= 1
        runs.append(Run(step, stop))
        step -= 1
    return runs[::-1]


def earnings(scores: StepScores) -> tuple[Floats, Floats]:
    """What a run earns by beginning at each step, and by ending there, in nats [n]."""
    return BOUNDARY_WEIGHT * scores.first - OPEN_COST, BOUNDARY_WEIGHT * scores.last


def run_span(run: Run, scores: StepScores, intervals: Sequence[TimeSpan]) -> TimeSpan:
    """The run's exact span: its first interval entered at start_at, its last one left at end_at."""
    first, last = intervals[run.begin], intervals[run.stop - 1]
    start = first.start + first.duration * _share(scores.start_at[run.begin])
    end = last.start + last.duration * _share(scores.end_at[run.stop - 1])
    return TimeSpan(start, end) if start < end else TimeSpan(first.start, last.end)


def seen_spans(run: Run, scores: StepScores, intervals: Sequence[TimeSpan]) -> list[TimeSpan]:
    """The run's exact span without what lies between steps whose intervals do not touch: nothing was seen
    there. Nor is there a piece that is only the lesser part of a step, beside a hole."""
    own = intervals[run.begin : run.stop]
    whole = run_span(run, scores, intervals)
    pieces = [piece for each in merge(own) if (piece := each.intersection(whole))]
    kept = [piece for piece in pieces if not any(_lesser_part(piece, step) for step in (own[0], own[-1]))]
    return kept if len(pieces) > 1 and kept else pieces


def _lesser_part(piece: TimeSpan, step: TimeSpan) -> bool:
    inside = step.start <= piece.start and piece.end <= step.end
    return inside and piece.duration < step.duration * LEAST_OF_STEP


def _share(value: float) -> Fraction:
    return Fraction(round(float(np.clip(value, 0, 1)) * 1000), 1000)


def run_evidence(run: Run, scores: StepScores) -> Floats:
    """What tells whether the run shows what was asked for, float64 [4]: mean and least inside logit, log of
    its length in steps, the strongest inside logit anywhere else."""
    within = scores.inside[run.begin : run.stop]
    elsewhere = np.concatenate([scores.inside[: run.begin], scores.inside[run.stop :]])
    return np.array(
        [
            within.mean(),
            within.min(),
            np.log(run.stop - run.begin),
            elsewhere.max() if len(elsewhere) else -10.0,
        ]
    ).clip(-10, 10)
