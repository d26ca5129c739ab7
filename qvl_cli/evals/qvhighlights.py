"""The figures of QVHighlights: moment retrieval by length of the true windows, and highlights.

They follow moment_detr's `standalone_eval` to the last digit, its ways with ties and odd input included
(Lei et al., arXiv 2107.09609). Times are float seconds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qvl_cli.evals.interval import Floats
from qvl_cli.evals.spans import cross_iou, paired_iou

Bools = npt.NDArray[np.bool_]

LENGTHS: dict[str, tuple[float, float] | None] = {
    "full": None,
    "long": (30, 150),
    "middle": (10, 30),
    "short": (0, 10),
}  # seconds of the true windows: above the first, up to the second
AP_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
MOST_WINDOWS = 10  # of one prediction, as listed, before they are ordered by score
RATINGS = {"Fair": 2, "Good": 3, "VeryGood": 4}  # the least score of a positive clip
CLIP_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Windows:
    """One line of a file: windows [n, 2] with start and end, or [n, 3] with a score."""

    qid: Hashable
    windows: Floats


@dataclass(frozen=True, slots=True)
class MomentScores:
    """Per query, in the order the queries come in the predictions.

    ap: [queries, 10] at AP_THRESHOLDS. iou: [queries], of the first window with the true one it fits best.
    """

    qids: tuple[Hashable, ...]
    ap: Floats
    iou: Floats


def score_moments(
    predicted: Sequence[Windows], truth: Sequence[Windows], length: tuple[float, float] | None = None
) -> MomentScores:
    """Queries of both sides with at least one true window of that length; the others do not count.

    A prediction without windows scores 0 (the public scorer stops at one). Of several lines with one qid the
    windows add up in AP, and the last one's first window counts in IoU.
    """
    true_all: dict[Hashable, list[Floats]] = {}
    true_last: dict[Hashable, Floats] = {}
    for line in truth:
        sizes = line.windows[:, 1] - line.windows[:, 0]
        kept = line.windows if length is None else line.windows[(length[0] < sizes) & (sizes <= length[1])]
        if len(kept):
            true_all.setdefault(line.qid, []).append(kept)
            true_last[line.qid] = kept
    ranked: dict[Hashable, list[Floats]] = {}
    first: dict[Hashable, Floats] = {}
    for line in predicted:
        if line.qid in true_all:
            ranked.setdefault(line.qid, []).append(line.windows[:MOST_WINDOWS])
            first[line.qid] = line.windows[:1, :2]
    qids = tuple(ranked)
    ap = average_precision(
        [np.concatenate(ranked[qid]) for qid in qids], [np.concatenate(true_all[qid]) for qid in qids]
    )
    return MomentScores(qids, ap, top_ious([first[q] for q in qids], [true_last[q] for q in qids]))


def average_precision(predicted: Sequence[Floats], truth: Sequence[Floats]) -> Floats:
    """Interpolated AP of scored windows [p, 3] against true ones [t, 2], t > 0, per query: [queries, 10]."""
    values = np.zeros((len(truth), len(AP_THRESHOLDS)))
    for rows, windows, there, true in _by_truth_count(
        [each[np.argsort(-each[:, 2], kind="stable"), :2] for each in predicted], truth
    ):
        values[rows] = _interpolated(_match(windows, there, true), there, true.shape[1])
    return values


def top_ious(first: Sequence[Floats], truth: Sequence[Floats]) -> Floats:
    """IoU of one window [1, 2] (or none, [0, 2]: 0) with the true window it fits best, per query."""
    values = np.zeros(len(truth))
    for rows, windows, there, true in _by_truth_count(first, truth):
        if windows.shape[1]:
            best = cross_iou(windows, true)[:, 0].argmax(axis=1)
            values[rows] = np.where(
                there[:, 0], paired_iou(windows[:, 0], true[np.arange(len(rows)), best]), 0.0
            )
    return values


def _by_truth_count(
    predicted: Sequence[Floats], truth: Sequence[Floats]
) -> Iterable[tuple[list[int], Floats, Bools, Floats]]:
    """Queries with equally many true windows as arrays: their rows, windows [q, p, 2] (padded), which of
    them are there [q, p], true windows [q, t, 2]."""
    groups: dict[int, list[int]] = {}
    for row, true in enumerate(truth):
        groups.setdefault(len(true), []).append(row)
    for rows in groups.values():
        most = max(len(predicted[row]) for row in rows)
        windows, there = np.zeros((len(rows), most, 2)), np.zeros((len(rows), most), bool)
        for at, row in enumerate(rows):
            count = len(predicted[row])
            windows[at, :count], there[at, :count] = predicted[row], True
        yield rows, windows, there, np.stack([truth[row] for row in rows])


def _match(windows: Floats, there: Bools, true: Floats) -> Bools:
    """Greedy matching in the order of windows: hits [queries, thresholds, p]. Each takes the true window it
    fits best among those that are free and fit well enough."""
    overlap = cross_iou(windows, true)
    overlap[~there] = -1.0
    # The public scorer's own sort, so that equal overlaps fall as they do there.
    order = overlap.argsort(axis=-1)[..., ::-1]
    limits = np.array(AP_THRESHOLDS)[None, :, None]
    count, most, choices = overlap.shape
    free = np.ones((count, len(AP_THRESHOLDS), choices), bool)
    hits = np.zeros((count, len(AP_THRESHOLDS), most), bool)
    for at in range(most):
        place = order[:, at]
        ranked = np.take_along_axis(overlap[:, at], place, axis=1)
        # `not below`: an overlap that is no number (two empty windows) matches, as it does there.
        fits = ~(ranked[:, None] < limits) & np.take_along_axis(free, place[:, None], axis=2)
        hits[:, :, at] = fits.any(axis=2)
        chosen = np.take_along_axis(
            np.broadcast_to(place[:, None], fits.shape), fits.argmax(axis=2)[..., None], axis=2
        )
        now = np.take_along_axis(free, chosen, axis=2)
        np.put_along_axis(free, chosen, now & ~hits[:, :, at, None], axis=2)
    return hits


def _interpolated(hits: Bools, there: Bools, positives: int) -> Floats:
    """Area under the interpolated precision-recall curve (VOC 2011): [queries, thresholds]."""
    right = hits.cumsum(axis=2).astype(float)
    wrong = (there[:, None] & ~hits).cumsum(axis=2).astype(float)
    recall = right / float(positives)
    precision = np.divide(right, right + wrong, out=np.zeros_like(right), where=right + wrong > 0)
    ends = np.zeros((*hits.shape[:2], 1))
    recall = np.concatenate([ends, recall, ends + 1], axis=2)
    precision = np.concatenate([precision, ends], axis=2)
    precision = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    gained = np.diff(recall, axis=2)
    area = np.zeros(hits.shape[:2])
    for at in range(gained.shape[2]):  # one after another, the order in which a short sum adds
        area += gained[..., at] * precision[..., at]
    for query, limit in np.argwhere((gained != 0).sum(axis=2) >= 8):  # longer sums add in another order
        some = gained[query, limit] != 0
        area[query, limit] = np.sum(gained[query, limit][some] * precision[query, limit][some])
    return area


@dataclass(frozen=True, slots=True)
class HighlightScores:
    """Per query: ap [queries, annotators], hit [queries]."""

    qids: tuple[Hashable, ...]
    ap: Floats
    hit: Floats


def annotated_clips(duration: float, clips: Sequence[int], scores: Sequence[Sequence[float]]) -> Floats:
    """[all clips, 3]: the ratings of the relevant clips, 0 elsewhere. Raises IndexError for a clip beyond."""
    rated = np.zeros((int(duration / CLIP_SECONDS), 3))
    if len(clips):
        rated[np.array(clips)] = np.array(scores)
    return rated


def score_highlights(
    predicted: Mapping[Hashable, Floats], rated: Mapping[Hashable, Floats], least: int
) -> HighlightScores:
    """Queries of both sides; a clip is positive for an annotator who rated it `least` or more.

    Scores past the last clip are cut off, missing ones count as 0.
    """
    qids = tuple(qid for qid in predicted if qid in rated)
    ap, hit = np.zeros((len(qids), 3)), np.zeros(len(qids))
    for row, qid in enumerate(qids):
        scores, positive = predicted[qid], rated[qid] >= least
        top = int(scores.argmax()) if len(scores) else len(positive)
        hit[row] = positive[top].max() if top < len(positive) else 0.0
        whole = np.zeros(len(positive))
        whole[: len(scores)] = scores[: len(positive)]
        ap[row] = [clip_average_precision(positive[:, annotator], whole) for annotator in range(3)]
    return HighlightScores(qids, ap, hit)


def clip_average_precision(positive: Bools, scores: Floats) -> float:
    """Mean interpolated precision over the score thresholds that add a positive clip.

    Clips of equal score come in together. 0 where no clip is positive, 1 where all are.
    """
    if not positive.any() or positive.all():
        return float(positive.any())
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each run of equal scores
    right = positive[order].cumsum()[last].astype(float)
    precision = np.maximum.accumulate((right / (last + 1.0))[::-1])  # from the lowest threshold on
    adds = np.diff(right, prepend=0.0)[::-1] > 0
    return float(np.mean(precision[adds]))


def clip_saliency(windows: Floats, duration: float) -> Floats:
    """Located windows [n, 3] as one score a clip, as a model without saliency would have it: the best score
    among the windows that cover the clip, times how much of it they cover."""
    edges = np.arange(int(duration / CLIP_SECONDS) + 1) * float(CLIP_SECONDS)
    overlap = np.minimum(windows[:, None, 1], edges[1:]) - np.maximum(windows[:, None, 0], edges[:-1])
    covered = np.clip(overlap, 0, None) / CLIP_SECONDS
    best: Floats = (covered * windows[:, None, 2]).max(axis=0, initial=0.0)
    return best
