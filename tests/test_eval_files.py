"""`qvl eval SUITE --annotations --predictions`: files as people have them, good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qvl_cli.cli.app import main
from qvl_cli.errors import UsageError
from qvl_cli.evals.annotations import read_annotations
from qvl_cli.evals.predictions import read_predictions

QV = [
    {"qid": 1, "query": "a van stops", "vid": "v1", "duration": 100, "relevant_windows": [[0, 20], [40, 60]]},
    {"qid": 2, "query": "a dog", "vid": "v2", "duration": 50, "relevant_windows": [[10, 40]]},
    {"qid": 3, "query": "a cat", "vid": "v2", "duration": 50, "relevant_windows": []},
]
QV_SAID = [
    {"qid": 2, "pred_relevant_windows": [[10, 34, 0.9]]},
    {"qid": 1, "pred_relevant_windows": [[40, 60, 0.8], [0, 9, 0.7]]},
    {"qid": 3, "pred_relevant_windows": []},
]
VUE = [
    {
        "query_id": 7, "video_id": "v", "duration": 40.0, "query": "x", "gt": [[10, 20]],
        "duration_category": "short", "query_format": "phrase", "query_modality": "audio",
    },
    {"query_id": 8, "video_id": "w", "duration": 80.0, "query": "y", "gt": [[0, 8]]},
]  # fmt: skip
CHARADES = "AAA 1.0 5.0##person opens a door.\nBBB 0.0 10.0##person sits\n"
MME = [
    {
        "video_id": "001", "duration": "short", "domain": "Knowledge",
        "questions": [
            {"question_id": "001-1", "task_type": "Counting", "question": "How many?",
             "options": ["A. 1", "B. 2", "C. 3", "D. 4"], "answer": "C"},
            {"question_id": "001-2", "task_type": "OCR", "question": "Which word?",
             "options": ["A. go", "B. stop", "C. left", "D. right"], "answer": "B"},
        ],
    }
]  # fmt: skip


def lines(path: Path, entries: list[Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    code = main(["eval", *map(str, arguments), "-f", "json"])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if out else {}, err


def test_qvhighlights_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, said = lines(tmp_path / "a.jsonl", QV), lines(tmp_path / "p.jsonl", QV_SAID)
    code, document, err = evaluate(capsys, "qvhighlights", "--annotations", truth, "--predictions", said)
    assert (code, err) == (0, "")
    assert document["bench"] == "qvhighlights" and document["left_out"] == {}
    results, counts = document["results"], document["n"]
    assert results["r1@0.7"] == 1.0 and results["miou"] == 0.9 and counts["r1@0.7"] == 2
    # Query 1: one of two windows is found; the second prediction fits none.
    assert results["map@0.5"] == 0.75 and results["MR-full-mAP@0.5"] == 75.0
    assert results["MR-full-mAP@0.95"] == 25.0 and results["MR-long-R1@0.7"] is None
    assert results["absent_recall"] == results["absent_precision"] == 1.0 and results["false_denial"] == 0.0
    assert results["boundary_error_s"] == 0.0 and counts["boundary_error_s"] == 4
    assert results["ece"] == pytest.approx(0.15) and results["score_auroc"] is None
    assert results["whole_r1@0.5"] == 0.5 and 0 < results["random_miou"] < 0.5
    assert counts["videos"] == 2 and counts["queries"] == 3
    assert all(low <= results[key] <= high for key, (low, high) in document["ci"].items())


def test_what_does_not_fit_is_said_counted_and_makes_it_partial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, said = lines(tmp_path / "a.jsonl", QV), lines(tmp_path / "p.jsonl", QV_SAID[:1])
    with truth.open("a") as file:
        file.write('{"qid": 4, "vid": "v9"\n')
        file.write('{"qid": 5, "query": "q", "vid": "v", "relevant_windows": [[1, NaN]]}\n')
        file.write(json.dumps(QV[0]) + "\n")
    with said.open("a") as file:
        file.write('{"qid": 99, "pred_relevant_windows": []}\n{"qid": 1}\n')
    code, document, err = evaluate(capsys, "qvhighlights", "--annotations", truth, "--predictions", said)
    assert code == 6
    left = {kind: (found["n"], found["first"]) for kind, found in document["left_out"].items()}
    assert left["prediction of no annotated query"] == (1, ["99"])
    assert left["query without a prediction"] == (2, ["1", "3"])
    assert left["unreadable prediction"] == (1, ["line 3: no 'pred_relevant_windows'"])
    assert left["unreadable annotation"][0] == 3
    for fact in ("line 4: not JSON", "line 5: a number is not finite", "line 6: qid 1 comes a second time"):
        assert fact in err
    assert document["n"]["r1@0.5"] == 1 and document["n"]["queries"] == 3


def test_odd_predictions_are_named_and_the_others_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, said = lines(tmp_path / "a.jsonl", QV), tmp_path / "p.jsonl"
    odd: list[Any] = [
        {"qid": [1], "pred_relevant_windows": []},
        {"qid": 1, "pred_saliency_scores": 5},
        {"qid": 1, "pred_saliency_scores": [[1, 2], [3, 4]]},
        [[1, 2]],
        {**QV_SAID[0], "note": "a\u2028b\x85c"},  # no ends of lines
    ]
    said.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in odd))
    code, document, _ = evaluate(capsys, "qvhighlights", "--annotations", truth, "--predictions", said)
    assert code == 6 and document["left_out"]["unreadable prediction"]["n"] == 4
    assert document["n"]["r1@0.5"] == 1


@pytest.mark.parametrize("number", ["1" + "0" * 400, "[" * 100_000 + "]" * 100_000, "1e999"])
def test_a_value_that_no_number_holds_costs_its_line_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    truth, said = lines(tmp_path / "a.jsonl", QV), lines(tmp_path / "p.jsonl", QV_SAID)
    odd_truth, odd_said = tmp_path / "odd.jsonl", tmp_path / "odd-said.jsonl"
    line = f'{{"qid": 1, "pred_relevant_windows": [[1, {number}, 0.5]]}}'
    odd_said.write_text(f"{json.dumps(QV_SAID[0])}\n{line}\n")
    code, document, err = evaluate(capsys, "qvhighlights", "--annotations", truth, "--predictions", odd_said)
    assert code == 6 and document["n"]["r1@0.5"] == 1 and "unexpected" not in err
    assert document["left_out"]["unreadable prediction"]["n"] == 1

    line = json.dumps(QV[0]).replace('"duration": 100', f'"duration": {number}')
    odd_truth.write_text(f"{json.dumps(QV[1])}\n{line}\n")
    code, document, err = evaluate(capsys, "qvhighlights", "--annotations", odd_truth, "--predictions", said)
    assert code == 6 and document["n"]["r1@0.5"] == 1 and "unexpected" not in err
    assert document["left_out"]["unreadable annotation"]["n"] == 1


def test_a_second_prediction_does_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["A. one", "B. two"]
    asked: list[dict[str, Any]] = [
        {"question_id": str(n), "question": "?", "options": options, "answer": "A"} for n in range(2)
    ]
    asked.append({"question_id": "2", "question": "?", "options": options, "answer": "Z"})
    truth = tmp_path / "a.json"
    truth.write_text(json.dumps([{"video_id": "v", "questions": asked}]))
    right, wrong = ({"question_id": str(n), "response": letter} for n, letter in enumerate("AB"))
    said = lines(tmp_path / "p.jsonl", [right] * 9 + [wrong])
    code, document, err = evaluate(capsys, "video-mme", "--annotations", truth, "--predictions", said)
    assert code == 6 and document["left_out"]["unreadable prediction"]["n"] == 8
    assert "qid '0' comes a second time" in err
    assert document["left_out"]["unreadable annotation"]["first"][0].startswith(
        "entry 1, question 3: answer 'Z'"
    )
    assert (document["results"]["answer_accuracy"], document["n"]["answer_accuracy"]) == (0.5, 2)


def test_highlights_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rated = {"relevant_clip_ids": [5, 6], "saliency_scores": [[4, 4, 1], [2, 3, 3]]}
    truth = lines(tmp_path / "a.jsonl", [{**QV[1], **rated}])
    scores = [0.0] * 5 + [0.9, 0.5] + [0.1] * 18
    said = lines(tmp_path / "p.jsonl", [{"qid": 2, "pred_saliency_scores": scores}])
    code, document, _ = evaluate(capsys, "qvhighlights", "--annotations", truth, "--predictions", said)
    assert code == 0
    assert document["results"] == {
        "HL-min-Fair-mAP": 83.33, "HL-min-Fair-Hit1": 100.0, "HL-min-Good-mAP": 83.33,
        "HL-min-Good-Hit1": 100.0, "HL-min-VeryGood-mAP": 66.67, "HL-min-VeryGood-Hit1": 100.0,
    }  # fmt: skip


def test_vue_tr_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, said = tmp_path / "a.json", tmp_path / "p.json"
    truth.write_text(json.dumps(VUE))
    said.write_text(json.dumps([{"query_id": 7, "answer": [[10.4, 14.6]]}, {"query_id": 8, "answer": [[]]}]))
    code, document, _ = evaluate(capsys, "vue-tr", "--annotations", truth, "--predictions", said)
    results = document["results"]
    assert code == 0
    assert results["precision"] == {"overall": 100.0, "short": 100.0, "phrase": 100.0, "audio": 100.0}
    assert document["n"]["precision"]["overall"] == 1 and document["n"]["recall"]["overall"] == 2
    assert results["recall"]["short"] == 50.5 and results["iou"] == {
        "overall": 24.8, "short": 49.5, "phrase": 49.5, "audio": 49.5,
    }  # fmt: skip
    assert results["whole_recall"] == 100.0 and results["false_denial"] == 0.5


def test_charades_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = tmp_path / "sta.txt"
    truth.write_text(CHARADES)
    said = lines(
        tmp_path / "p.jsonl",
        [
            {"qid": 0, "pred_relevant_windows": [[20, 30], [1, 5]]},
            {"vid": "BBB", "query": "person sits", "pred_relevant_windows": [[0, 6]]},
        ],
    )
    code, document, err = evaluate(capsys, "charades", "--annotations", truth, "--predictions", said)
    results = document["results"]
    assert code == 0 and "no durations" in err
    assert (results["r1@0.5"], results["r1@0.7"], results["r5@0.7"], results["miou"]) == (0.5, 0.0, 0.5, 0.3)
    assert not [key for key in results if key.startswith(("random", "whole", "ece"))]


def test_video_mme_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, said = tmp_path / "a.json", tmp_path / "p.json"
    truth.write_text(json.dumps(MME))
    said.write_text(
        json.dumps(
            [{"question_id": "001-1", "response": "C."}, {"question_id": "001-2", "response": "No idea."}]
        )
    )
    code, document, _ = evaluate(capsys, "video-mme", "--annotations", truth, "--predictions", said)
    results = document["results"]
    assert code == 0 and results["answer_accuracy"] == 0.5 and results["random_answer_accuracy"] == 0.25
    assert results["answer_by_task_type"] == {"Counting": 1.0, "OCR": 0.0}
    assert results["answer_by_duration"] == {"short": 0.5} and results["unclear_answers"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["nosuch"], "no suite is called 'nosuch'"),
        (["vue-tr"], "needs --annotations"),
        (["vue-tr", "--annotations", "x"], "either predictions or videos"),
        (["vue-tr", "--annotations", "x", "--predictions", "y", "--videos", "z"], "either"),
        (["vue-tr", "--annotations", "x", "--predictions", "y", "--seed", "1"], "--seed says nothing"),
        (["vue-tr", "--annotations", "/no/such", "--predictions", "y"], "cannot read /no/such"),
        (["drawn", "--annotations", "x"], "--annotations says nothing"),
        (["drawn", "--videos", "folder"], "no number of drawn videos"),
        (["drawn", "--needle", "10"], "--needle 10 is no length"),
        (["drawn", "--videos", "1", "--seed", "5"], "belongs to training"),
    ],
)
def test_a_request_that_makes_no_sense(
    arguments: list[str], fact: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and fact in err and len(err.splitlines()) == 1


def test_files_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "a.json"
    broken.write_text('[{"query_id": 1}')
    with pytest.raises(UsageError, match="no whole JSON array"):
        read_annotations("vue-tr", broken)
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        read_annotations("charades", broken)
    broken.write_text("a line without marks\n")
    with pytest.raises(UsageError, match="holds no charades query"):
        read_annotations("charades", broken)
    broken.write_text('{"qid": 1, "pred_relevant_windows": [[1, 2, 3, 4]]}\n')
    with pytest.raises(UsageError, match="not 3 or 2 numbers"):
        read_predictions("qvhighlights", broken, ())


def test_the_published_brief_through_the_command(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared / "eval" / "qvhighlights"
    if not folder.is_dir():
        pytest.skip("no reference predictions")
    truth, said = folder / "highlight_val_release.jsonl", folder / "sample_val_preds.jsonl"
    code, document, err = evaluate(capsys, "qvhighlights", "--annotations", truth, "--predictions", said)
    assert (code, err) == (0, "")
    brief = json.loads((folder / "expected_metrics.json").read_text())["brief"]
    assert {key: document["results"][key] for key in brief} == brief
