"""Figures with what they rest on: value, n, 95 % interval; and their place in the document."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qvl_cli.evals.calibration import area_under_roc, expected_calibration_error
from qvl_cli.evals.interval import Floats, mean_intervals, statistic_interval

DIGITS = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """value: None where nothing was measured. n: how many values it rests on."""

    value: float | None
    n: int
    ci: tuple[float, float] | None = None


Figures = dict[str, Figure]  # `key`, or `key/variant`


def means(columns: Mapping[str, Floats], owners: Sequence[Hashable], prefix: str = "") -> Figures:
    """The mean of each column [rows] over the rows where it is a number; owners: the video of each row."""
    if not columns:
        return {}
    table = np.column_stack(list(columns.values())).reshape(len(owners), len(columns))
    ends = mean_intervals(table, owners)
    counts = (~np.isnan(table)).sum(axis=0)
    return {
        prefix + name: Figure(
            float(np.mean(table[~np.isnan(table[:, at]), at])) if counts[at] else None,
            int(counts[at]),
            _pair(ends[at]),
        )
        for at, name in enumerate(columns)
    }


def median(name: str, values: Floats, owners: Sequence[Hashable]) -> Figures:
    """The median of values [n], with its own interval."""
    if not len(values):
        return {name: Figure(None, 0)}
    ci = statistic_interval(lambda rows: float(np.median(values[rows])), owners)
    return {name: Figure(float(np.median(values)), len(values), ci)}


def calibration(scores: Floats, hits: npt.NDArray[np.bool_], owners: Sequence[Hashable]) -> Figures:
    """`ece` and `score_auroc` of one score [n] a query and whether it was right [n]."""
    if not len(scores):
        return {}
    figures = {}
    for name, statistic in (("ece", expected_calibration_error), ("score_auroc", area_under_roc)):
        value = statistic(scores, hits)
        ci = statistic_interval(lambda rows, s=statistic: s(scores[rows], hits[rows]), owners)  # type: ignore[misc]
        figures[name] = Figure(None if math.isnan(value) else value, len(scores), ci)
    return figures


def document_parts(figures: Figures) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """results, n and ci of the document, `key/variant` as a mapping; numbers rounded to DIGITS."""
    results: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for name, figure in figures.items():
        key, _, variant = name.partition("/")
        value = None if figure.value is None else round(figure.value, DIGITS)
        ci = None if figure.ci is None else [round(end, DIGITS) for end in figure.ci]
        for part, content in ((results, value), (counts, figure.n), (intervals, ci)):
            if variant:
                part.setdefault(key, {})[variant] = content
            elif content is not None or part is results:
                part[key] = content
    return results, counts, intervals


def _pair(ends: Floats) -> tuple[float, float] | None:
    return None if np.isnan(ends).any() else (float(ends[0]), float(ends[1]))
