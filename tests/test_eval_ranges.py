"""The figures of VUE-TR: by hand, against seconds counted one by one, against the published table."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from qvl_cli.evals.vue_tr import ATTRIBUTES, area_above, area_at_least, own_areas, score_ranges


def ranges(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, float).reshape(-1, 2)


def one(said: list[list[float]], true: list[list[float]]) -> tuple[float, float, float]:
    scores = score_ranges([ranges(said)], [ranges(true)])
    return float(scores.precision[0]), float(scores.recall[0]), float(scores.iou[0])


def test_predictions_are_widened_to_whole_seconds() -> None:
    assert one([[2.9, 5.1]], [[2, 10]]) == (1.0, 0.5, 0.5)
    assert one([[0, 4]], [[2, 4]]) == (0.5, 1.0, 0.5)


def test_nothing_predicted_has_no_precision_and_nothing_true_no_recall() -> None:
    precision, recall, iou = one([], [[0, 4]])
    assert math.isnan(precision) and (recall, iou) == (0.0, 0.0)
    precision, recall, iou = one([[1, 1]], [[0, 4]])  # no time at all
    assert math.isnan(precision) and (recall, iou) == (0.0, 0.0)
    precision, recall, iou = one([[1, 2]], [])
    assert (precision, iou) == (0.0, 0.0) and math.isnan(recall)
    assert one([], [])[2] == 1.0


def test_overlaps_and_order_as_the_public_scorer_takes_them() -> None:
    # IoU merges what was predicted; precision counts it as often as it is said.
    assert one([[0, 4], [2, 6]], [[0, 6]]) == (1.0, 8 / 6, 1.0)
    # Two pointers over lists out of order: the second range is never reached.
    precision, recall, iou = one([[10, 12], [0, 2]], [[0, 2], [10, 12]])
    assert (precision, recall, iou) == (0.5, 0.5, 1.0)
    # A range the wrong way round is turned for precision and recall, and dropped for IoU.
    assert one([[6, 2]], [[2, 6]]) == (1.0, 1.0, 0.0)


def test_ranges_in_order_equal_counted_seconds() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        said, true = (
            np.sort(rng.choice(60, 2 * int(rng.integers(1, 5)), False)).reshape(-1, 2) for _ in "ab"
        )
        a, b = ({second for x, y in rows for second in range(x, y)} for rows in (said, true))
        expected = (len(a & b) / len(a), len(a & b) / len(b), len(a & b) / len(a | b))
        assert one(said.tolist(), true.tolist()) == pytest.approx(expected, abs=1e-12)


def test_areas_under_the_curves() -> None:
    assert area_at_least(np.array([1.0, 1.0])) == pytest.approx(1.0)
    assert area_at_least(np.array([0.0])) == pytest.approx(0.005)  # half the first step: 0 >= 0
    assert area_above(np.array([1.0])) == pytest.approx(0.995)  # 1 > 1 is not
    assert area_above(np.array([0.0])) == 0.0
    assert area_at_least(np.array([math.nan])) is None and area_above(np.zeros(0)) is None
    values = np.random.default_rng(0).uniform(size=50)
    assert np.mean(own_areas(values, strictly=True)) == pytest.approx(area_above(values))
    assert np.mean(own_areas(values, strictly=False)) == pytest.approx(area_at_least(values))


@pytest.mark.parametrize("method", ["GPT-4o", "Vidi"])
def test_the_published_table_of_vue_tr(method: str, shared: Path) -> None:
    folder = shared / "eval" / "vue_tr"
    if not folder.is_dir():
        pytest.skip("no reference predictions")
    truth = {each["query_id"]: each for each in json.loads((folder / "VUE-TR_ground_truth.json").read_text())}
    said = json.loads((folder / f"results_{method}.json").read_text())
    scores = score_ranges(
        [ranges(each["answer"]) for each in said], [ranges(truth[each["query_id"]]["gt"]) for each in said]
    )
    with (folder / "results_table.csv").open() as file:
        table = [row for row in csv.DictReader(file) if row["method"] == method]
    assert len(table) == 1 + sum(map(len, ATTRIBUTES.values()))
    for row in table:
        kinds = [{truth[each["query_id"]][name] for name in ATTRIBUTES} | {"overall"} for each in said]
        some = np.array([row["attribute"] in mine for mine in kinds])
        areas = (
            area_at_least(scores.precision[some]),
            area_at_least(scores.recall[some]),
            area_above(scores.iou[some]),
        )
        assert [f"{area * 100:.1f}%" for area in areas if area is not None] == [
            row["precision"], row["recall"], row["iou"],
        ]  # fmt: skip
