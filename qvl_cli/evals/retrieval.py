"""Queries and predictions -> the figures of a retrieval suite, and what trivial predictions score."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qvl_cli.evals import vue_tr
from qvl_cli.evals.annotations import Query
from qvl_cli.evals.charades import best_ious
from qvl_cli.evals.figures import Figures, calibration, means, median
from qvl_cli.evals.interval import Floats
from qvl_cli.evals.predictions import Prediction
from qvl_cli.evals.qvhighlights import (
    AP_THRESHOLDS,
    LENGTHS,
    RATINGS,
    MomentScores,
    Windows,
    score_highlights,
    score_moments,
)
from qvl_cli.evals.spans import Span, boundary_errors, top_iou

RANDOM_DRAWS = 20

Pair = tuple[Query, Prediction]  # in the order of the predictions


@dataclass(frozen=True, slots=True)
class Columns:
    """Figures as values per row, NaN where the row does not count; owners: the video of each row."""

    owners: list[str]
    values: dict[str, Floats]


def moment_columns(pairs: Sequence[Pair]) -> Columns:
    """QVHighlights: R1, mIoU and mAP, as fractions."""
    scores = _moments(pairs, None)
    videos = {query.qid: query.video for query, _ in pairs}
    values = {f"r1@{limit}": (scores.iou >= limit).astype(float) for limit in (0.3, 0.5, 0.7)}
    values["miou"] = scores.iou
    values |= {f"map@{limit}": scores.ap[:, AP_THRESHOLDS.index(limit)] for limit in (0.5, 0.75)}
    values["map"] = scores.ap.mean(axis=1)
    return Columns([videos[qid] for qid in scores.qids], values)


def recall_columns(pairs: Sequence[Pair]) -> Columns:
    """Charades-STA: R@1 and R@5, mIoU, as fractions."""
    kept = [(query, said) for query, said in pairs if len(query.windows)]
    values: dict[str, Floats] = {}
    for first in (1, 5):
        best = best_ious([said.windows for _, said in kept], [query.windows for query, _ in kept], first)
        values |= {f"r{first}@{limit}": (best >= limit).astype(float) for limit in (0.3, 0.5, 0.7)}
        if first == 1:
            values["miou"] = best
    return Columns([query.video for query, _ in kept], values)


def range_columns(pairs: Sequence[Pair]) -> Columns:
    """VUE-TR: what each query adds to the areas, in percent."""
    scores = _ranges(pairs)
    return Columns(
        [query.video for query, _ in pairs],
        {
            "precision": 100 * vue_tr.own_areas(scores.precision, strictly=False),
            "recall": 100 * vue_tr.own_areas(scores.recall, strictly=False),
            "iou": 100 * vue_tr.own_areas(scores.iou, strictly=True),
        },
    )


def published_moments(pairs: Sequence[Pair]) -> Figures:
    """The scorer's own names, in percent with two digits: MR-full-R1@0.5, HL-min-VeryGood-Hit1, .."""
    videos = {query.qid: query.video for query, _ in pairs}
    figures: Figures = {}
    located = [pair for pair in pairs if pair[1].located]
    for name, length in LENGTHS.items() if located else ():
        scores = _moments(located, length)
        owners = [videos[qid] for qid in scores.qids]
        limits = ((0.3,) if name == "full" else ()) + AP_THRESHOLDS
        hits: dict[str, Floats] = {
            f"MR-{name}-R1@{limit}": 100 * (scores.iou >= limit).astype(float) for limit in limits
        }
        areas = {f"MR-{name}-mAP@{limit}": 100 * scores.ap[:, at] for at, limit in enumerate(AP_THRESHOLDS)}
        areas[f"MR-{name}-mAP"] = 100 * scores.ap.mean(axis=1)
        by_limit = scores.ap.mean(axis=0) if len(scores.ap) else np.full(len(AP_THRESHOLDS), np.nan)
        shares = [float(np.mean(scores.iou >= limit) * 100) if len(owners) else math.nan for limit in limits]
        exact = dict(zip(hits, shares, strict=True))
        exact |= dict(zip(areas, (100 * np.append(by_limit, np.mean(by_limit))).tolist(), strict=True))
        figures |= _as_printed(means({**hits, **areas}, owners), exact, 2)
    return figures | _published_highlights(pairs)


def _published_highlights(pairs: Sequence[Pair]) -> Figures:
    rated = {query.qid: query.rated for query, _ in pairs if query.rated is not None}
    said = {said.qid: said.saliency for _, said in pairs if said.saliency is not None}
    videos = {query.qid: query.video for query, _ in pairs}
    figures: Figures = {}
    for name, least in RATINGS.items() if said and rated else ():
        scores = score_highlights(said, rated, least)
        areas, hits = f"HL-min-{name}-mAP", f"HL-min-{name}-Hit1"
        found = means(
            {areas: 100 * scores.ap.mean(axis=1), hits: 100 * scores.hit}, [videos[q] for q in scores.qids]
        )
        exact = {areas: float(100 * np.mean(scores.ap)), hits: float(100 * np.mean(scores.hit))}
        figures |= _as_printed(found, exact, 2)
    return figures


def published_ranges(pairs: Sequence[Pair]) -> Figures:
    """The table of VUE-TR: `precision/overall`, `iou/ultra-long`, .., in percent with one digit."""
    scores, columns = _ranges(pairs), range_columns(pairs)
    rows = {"overall": np.ones(len(pairs), bool)}
    for attribute, kinds in vue_tr.ATTRIBUTES.items():
        for kind in kinds:
            rows[kind] = np.array([dict(query.attributes).get(attribute) == kind for query, _ in pairs])
    figures: Figures = {}
    for kind, some in rows.items():
        if not some.any():
            continue
        found = means(
            {f"{name}/{kind}": column[some] for name, column in columns.values.items()},
            [owner for owner, kept in zip(columns.owners, some, strict=True) if kept],
        )
        areas = {
            f"precision/{kind}": vue_tr.area_at_least(scores.precision[some]),
            f"recall/{kind}": vue_tr.area_at_least(scores.recall[some]),
            f"iou/{kind}": vue_tr.area_above(scores.iou[some]),
        }
        exact = {name: area * 100 for name, area in areas.items() if area is not None}
        figures |= _as_printed(found, exact, 1)
    return figures


def _as_printed(found: Figures, exact: Mapping[str, float], digits: int) -> Figures:
    """Values by the published order of operations and in its rounding; n and interval stay."""
    return {
        name: replace(
            figure, value=float(f"{exact[name]:.{digits}f}") if name in exact and figure.n else None
        )
        for name, figure in found.items()
    }


def _moments(pairs: Sequence[Pair], length: tuple[float, float] | None) -> MomentScores:
    truth = {query.qid: query.windows for query, _ in pairs}
    return score_moments(
        [Windows(said.qid, said.windows) for _, said in pairs],
        [Windows(qid, windows) for qid, windows in truth.items()],
        length,
    )


def _ranges(pairs: Sequence[Pair]) -> vue_tr.RangeScores:
    """Its scorer takes ranges for ones in the order of time, and those of files as they stand; ranked ones
    are put in order."""
    ordered = [
        said.windows[np.argsort(said.windows[:, 0], kind="stable")] if said.scored else said.windows
        for _, said in pairs
    ]
    return vue_tr.score_ranges([windows[:, :2] for windows in ordered], [query.windows for query, _ in pairs])


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One public suite: its figures as values per query, its published table, and how many windows a random
    prediction has (where they are ranked, as many as count)."""

    columns: Callable[[Sequence[Pair]], Columns]
    published: Callable[[Sequence[Pair]], Figures]
    random_windows: int


SUITES = {
    "qvhighlights": Retrieval(moment_columns, published_moments, 10),
    "charades": Retrieval(recall_columns, lambda pairs: {}, 5),
    "vue-tr": Retrieval(range_columns, published_ranges, 1),
}


def score(suite: Retrieval, pairs: Sequence[Pair], blind: Sequence[Pair] = ()) -> Figures:
    """All figures of a suite; blind: the same queries as asked of another video."""
    published = suite.published(pairs)
    pairs = [pair for pair in pairs if pair[1].located]
    if not pairs:
        return published
    own = suite.columns(pairs)
    figures = means(
        {name: c for name, c in own.values.items() if f"{name}/overall" not in published}, own.owners
    )
    figures |= published | denial_figures(pairs) | boundary_figures(pairs) | score_figures(pairs)
    figures |= trivial_figures(suite, [query for query, _ in pairs])
    if blind:
        other = suite.columns(blind)
        figures |= means(other.values, other.owners, "blind_")
    return figures


def denial_figures(pairs: Sequence[Pair]) -> Figures:
    """How `not found` (no window) meets what never happens, and what does."""
    denied = np.array([not len(said.windows) for _, said in pairs])
    absent = np.array([not len(query.windows) for query, _ in pairs])
    if not denied.any() and not absent.any():
        return {}
    columns = {
        "absent_recall": np.where(absent, denied, np.nan),
        "absent_precision": np.where(denied, absent, np.nan),
        "false_denial": np.where(absent, np.nan, denied),
    }
    return means(columns, [query.video for query, _ in pairs])


def boundary_figures(pairs: Sequence[Pair], name: str = "boundary_error_s") -> Figures:
    found = [
        (error, query.video)
        for query, said in pairs
        for error in boundary_errors(_tuples(said.windows[:1]), _tuples(query.windows))
    ]
    return median(name, np.array([error for error, _ in found]), [video for _, video in found])


def score_figures(pairs: Sequence[Pair]) -> Figures:
    """Calibration of the first window's score; only of scores that are probabilities."""
    scored = [(query, said) for query, said in pairs if said.scored and len(said.windows)]
    scores = np.array([said.windows[0, 2] for _, said in scored])
    if not len(scores) or scores.min() < 0 or scores.max() > 1:
        return {}
    hits = np.array(
        [top_iou(_tuples(said.windows[:1]), _tuples(query.windows)) >= 0.5 for query, said in scored]
    )
    return calibration(scores, hits, [query.video for query, _ in scored])


def trivial_figures(suite: Retrieval, queries: Iterable[Query]) -> Figures:
    """What the whole video as the one window scores, and windows with two uniform ends (mean of 20 draws),
    over the queries whose video's duration is known."""
    known = {query.qid: query for query in queries if query.duration and len(query.windows)}
    if not known:
        return {}
    whole = suite.columns(
        [(q, Prediction(q.qid, np.array([[0.0, q.duration, 1.0]]))) for q in known.values()]
    )
    drawn = [
        suite.columns(_random_pairs(list(known.values()), suite.random_windows, draw))
        for draw in range(RANDOM_DRAWS)
    ]
    random = {name: np.mean([each.values[name] for each in drawn], axis=0) for name in drawn[0].values}
    return means(random, drawn[0].owners, "random_") | means(whole.values, whole.owners, "whole_")


def _random_pairs(queries: Sequence[Query], windows: int, draw: int) -> list[Pair]:
    rng = np.random.default_rng([draw, len(queries)])
    durations = np.array([query.duration for query in queries], float)
    ends = np.sort(rng.uniform(0, 1, (len(queries), windows, 2)), axis=2) * durations[:, None, None]
    scores = np.broadcast_to(np.linspace(1, 0, windows)[:, None], (len(queries), windows, 1))
    drawn = np.concatenate([ends, scores], axis=2)
    return [(query, Prediction(query.qid, each)) for query, each in zip(queries, drawn, strict=True)]


def _tuples(windows: Floats) -> list[Span]:
    return [(float(start), float(end)) for start, end in windows[:, :2]]


def pair_up(
    queries: Sequence[Query], lines: Sequence[Prediction]
) -> tuple[list[Pair], list[Hashable], list[Hashable]]:
    """Pairs in the order of the lines, the qids that no query has, and the qids that no line has."""
    by_qid = {query.qid: query for query in queries}
    pairs = [(by_qid[line.qid], line) for line in lines if line.qid in by_qid]
    answered = {line.qid for line in lines}
    return (
        pairs,
        [x.qid for x in lines if x.qid not in by_qid],
        [qid for qid in by_qid if qid not in answered],
    )


def with_durations(queries: Sequence[Query], durations: Mapping[str, float]) -> list[Query]:
    """Queries that do not know how long their video is learn it from what was opened."""
    return [
        query if query.duration else replace(query, duration=durations.get(query.video)) for query in queries
    ]
