"""The figures of QVHighlights and Charades-STA: by hand, by plain code, against published numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qvl_cli.evals.charades import best_ious
from qvl_cli.evals.qvhighlights import (
    AP_THRESHOLDS,
    LENGTHS,
    Windows,
    annotated_clips,
    average_precision,
    clip_average_precision,
    clip_saliency,
    score_highlights,
    score_moments,
    top_ious,
)
from qvl_cli.evals.spans import boundary_errors, iou

Rows = list[list[float]]


def windows(rows: Rows, width: int = 3) -> np.ndarray:
    return np.array(rows, float).reshape(-1, width)


def slow_ap(predicted: Rows, truth: Rows, limit: float) -> float:
    """One query, one threshold, in plain words."""
    ranked = sorted(predicted, key=lambda row: -row[2])
    free = list(range(len(truth)))
    precision, recall, right = [], [], 0
    for number, (start, end, _) in enumerate(ranked, start=1):
        fits = [(iou((start, end), (truth[at][0], truth[at][1])), at) for at in free]
        fits = [fit for fit in fits if fit[0] >= limit]
        if fits:
            free.remove(max(fits)[1])
            right += 1
        precision.append(right / number)
        recall.append(right / len(truth))
    area, before = 0.0, 0.0
    for at, reached in enumerate(recall):
        area += (reached - before) * max(precision[at:])
        before = reached
    return area


def test_average_precision_by_hand() -> None:
    truth = [windows([[0, 10], [20, 30]], 2)]
    # Best score first: a miss, then both hits: precision 1/2 and 2/3, interpolated 2/3 and 2/3.
    said = [windows([[0, 10, 0.5], [50, 60, 0.9], [20, 30, 0.1]])]
    assert average_precision(said, truth)[0] == pytest.approx(np.full(10, 2 / 3))
    # A second window on a true one that is taken is a miss, and comes after the hit.
    twice = [windows([[0, 10, 0.9], [0, 10, 0.8]])]
    assert average_precision(twice, truth)[0] == pytest.approx(np.full(10, 1 / 2))
    # 8 of 10 seconds: right up to 0.8 and wrong from 0.85 on.
    short = average_precision([windows([[0, 8, 1.0]])], [windows([[0, 10]], 2)])[0]
    assert short.tolist() == [1.0] * 7 + [0.0] * 3
    assert average_precision([windows([])], truth)[0].tolist() == [0.0] * 10


def test_average_precision_equals_plain_loops() -> None:
    rng = np.random.default_rng(5)
    predicted, truth = [], []
    for _ in range(120):
        starts = rng.uniform(0, 20, 3).cumsum() * 2
        truth.append([[s, s + rng.uniform(1, 15)] for s in starts[: int(rng.integers(1, 4))]])
        near = [row for row in truth[-1] for _ in range(3)]
        predicted.append(
            [
                [a + rng.normal(0, 1.5), b + rng.normal(0, 1.5), float(rng.integers(0, 6))]
                for a, b in near[: int(rng.integers(0, 10))]
            ]
        )
    fast = average_precision([windows(p) for p in predicted], [windows(t, 2) for t in truth])
    slow = [[slow_ap(p, t, limit) for limit in AP_THRESHOLDS] for p, t in zip(predicted, truth, strict=True)]
    assert np.abs(fast - slow).max() < 1e-12
    assert 0.1 < fast.mean() < 0.9


def test_only_true_windows_of_a_length_count() -> None:
    truth = [Windows(1, windows([[0, 10], [20, 45]], 2)), Windows(2, windows([[0, 100]], 2))]
    said = [Windows(2, windows([[0, 100, 1]])), Windows(1, windows([[0, 10, 1]])), Windows(7, windows([]))]
    by_length = {name: score_moments(said, truth, length) for name, length in LENGTHS.items()}
    assert by_length["full"].qids == (2, 1)  # the order of the predictions
    assert by_length["short"].qids == (1,) and by_length["short"].iou.tolist() == [1.0]
    assert by_length["middle"].iou.tolist() == [0.0]  # 10 s is short, not middle
    assert by_length["long"].qids == (2,)


def test_a_prediction_is_cut_before_it_is_sorted_and_the_first_window_listed_counts_for_r1() -> None:
    best = [100.0, 110.0, 5.0]
    wrong = [[0.0, 1.0, 0.1]] * 10
    truth = [Windows("a", windows([[100, 110]], 2))]
    assert score_moments([Windows("a", windows([*wrong, best]))], truth).ap.max() == 0
    scores = score_moments([Windows("a", windows([*wrong[:9], best]))], truth)
    assert scores.ap.min() == 1 and scores.iou.tolist() == [0.0]


def test_lines_with_one_qid_add_up_and_the_last_one_leads() -> None:
    truth = [Windows("a", windows([[0, 10], [20, 30]], 2))]
    lines = [Windows("a", windows([[0, 10, 0.9]])), Windows("a", windows([[20, 29, 0.8]]))]
    scores = score_moments(lines, truth)
    assert scores.ap[0, 0] == 1.0 and scores.iou.tolist() == [0.9]


def test_no_window_and_empty_windows() -> None:
    assert top_ious([windows([], 2)], [windows([[0, 1]], 2)]).tolist() == [0.0]
    assert top_ious([windows([[5, 5]], 2)], [windows([[0, 10]], 2)]).tolist() == [0.0]
    # As the public scorer has it: two empty windows overlap by no number, which is not below any limit.
    assert top_ious([windows([[5, 5]], 2)], [windows([[5, 5]], 2)]).tolist() == [0.0]
    assert average_precision([windows([[5, 5, 1]])], [windows([[5, 5]], 2)])[0].min() == 1.0


def test_recall_among_the_first_windows() -> None:
    said = [windows([[0, 1, 1], [50, 60, 0.9], [10, 20, 0.8]])]
    truth = [windows([[10, 18]], 2)]
    assert best_ious(said, truth, 1).tolist() == [0.0]
    assert best_ious(said, truth, 5).tolist() == [0.8]
    assert best_ious([windows([])], truth, 5).tolist() == [0.0]


def test_boundary_errors_are_those_of_hits() -> None:
    assert boundary_errors([(1.0, 9.5)], [(0.0, 10.0), (30.0, 40.0)]) == [1.0, 0.5]
    assert boundary_errors([(8.0, 20.0)], [(0.0, 10.0)]) == [] == boundary_errors([], [(0.0, 10.0)])


def test_clip_precision_by_hand() -> None:
    positive = np.array([True, False, True, False])
    # Equal scores come in together: one threshold, 2 of 3 right; nothing is gained after.
    assert clip_average_precision(positive, np.array([0.5, 0.5, 0.5, 0.1])) == pytest.approx(2 / 3)
    # 1/1, then 2/4 at the end.
    assert clip_average_precision(positive, np.array([0.9, 0.8, 0.1, 0.5])) == pytest.approx((1 + 0.5) / 2)
    # Interpolation: 1/2 becomes the better 2/3 reached later.
    assert clip_average_precision(positive, np.array([0.8, 0.9, 0.7, 0.1])) == pytest.approx(2 / 3)
    assert clip_average_precision(np.zeros(3, bool), np.ones(3)) == 0
    assert clip_average_precision(np.ones(3, bool), np.ones(3)) == 1


def test_highlights_cut_and_fill_scores_of_another_length() -> None:
    rated = {"a": annotated_clips(7.9, [1], [[4, 0, 2]])}
    assert rated["a"].shape == (3, 3)
    short = score_highlights({"a": np.array([-1.0, 3.0])}, rated, 2)
    assert short.hit.tolist() == [1.0] and short.ap.tolist() == [[1.0, 0.0, 1.0]]
    # The highest score stands past the last clip: no hit; the rest is judged without it.
    long = score_highlights({"a": np.array([0.0, 3.0, 1.0, 9.0])}, rated, 4)
    assert long.hit.tolist() == [0.0] and long.ap.tolist() == [[1.0, 0.0, 0.0]]
    with pytest.raises(IndexError):
        annotated_clips(4, [2], [[1, 1, 1]])


def test_windows_as_clip_scores() -> None:
    scores = clip_saliency(windows([[1, 4, 0.8], [3, 6, 0.5]]), 8.5)
    assert scores.tolist() == [0.4, 0.8, 0.5, 0.0]
    assert clip_saliency(windows([]), 4).tolist() == [0.0, 0.0]


def test_published_numbers_of_qvhighlights(shared: Path) -> None:
    folder = shared / "eval" / "qvhighlights"
    if not folder.is_dir():
        pytest.skip("no reference predictions")
    truth = [json.loads(line) for line in (folder / "highlight_val_release.jsonl").read_text().splitlines()]
    said = [json.loads(line) for line in (folder / "sample_val_preds.jsonl").read_text().splitlines()]
    expected = json.loads((folder / "expected_metrics.json").read_text())
    lines = [Windows(each["qid"], windows(each["pred_relevant_windows"])) for each in said]
    true = [Windows(each["qid"], windows(each["relevant_windows"], 2)) for each in truth]
    for name, length in LENGTHS.items():
        scores = score_moments(lines, true, length)
        ap = scores.ap.mean(0)
        shown = {str(at): float(f"{100 * value:.2f}") for at, value in zip(AP_THRESHOLDS, ap, strict=True)}
        assert {**shown, "average": float(f"{100 * np.mean(ap):.2f}")} == expected[name]["MR-mAP"]
        r1 = {str(at): float(f"{np.mean(scores.iou >= at) * 100:.2f}") for at in AP_THRESHOLDS}
        assert r1 == expected[name]["MR-R1"]
    rated = {
        e["qid"]: annotated_clips(e["duration"], e["relevant_clip_ids"], e["saliency_scores"]) for e in truth
    }
    saliency = {each["qid"]: np.array(each["pred_saliency_scores"]) for each in said}
    for name, least in (("Fair", 2), ("Good", 3), ("VeryGood", 4)):
        found = score_highlights(saliency, rated, least)
        shown = {"HL-mAP": f"{100 * np.mean(found.ap):.2f}", "HL-Hit1": f"{100 * np.mean(found.hit):.2f}"}
        assert {key: float(value) for key, value in shown.items()} == expected[f"HL-min-{name}"]
