"""Points lost to a memory: the same videos and questions, right and wrong counted in pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qvl_cli.cli.app import main
from qvl_cli.errors import UsageError
from qvl_cli.evals import cases
from qvl_cli.evals.cases import Case, write_case
from qvl_cli.evals.paired import read_names, score

FIRST = 1_000_800


def _said(case: Case, located: int, answered: int) -> dict[str, Any]:
    """What is said when the first so many events and questions are got right."""
    windows = [
        [[*query.windows[0].tolist(), 0.9]] if number < located else []
        for number, query in enumerate(case.queries("locates"))
    ]
    return {
        "located": [
            {"qid": query.qid, "text": "", "windows": found}
            for query, found in zip(case.queries("locates"), windows, strict=True)
        ],
        "asked": [
            {"qid": query.qid, "text": asked.answer if number < answered else "", "windows": []}
            for number, (query, asked) in enumerate(zip(case.queries("asks"), case.asks, strict=True))
        ],
        "lossy": located < len(case.locates),
    }


def test_differences_are_taken_question_by_question() -> None:
    case = write_case(FIRST)
    events, questions = len(case.locates), len(case.asks)
    assert events >= 2 and questions >= 2
    n = events + questions
    said = {
        "full": _said(case, events, questions),
        "retrieve": _said(case, events - 1, questions),
        "int8": _said(case, events, questions - 2),
    }
    video = str(FIRST)
    figures = score({video: case}, {video: said}, ("retrieve", "int8"))
    assert figures["accuracy/full"].value == 1.0 and figures["accuracy/full"].n == n
    assert figures["retrieve_accuracy_delta"].value == pytest.approx(-100 / n)
    assert figures["kv_accuracy_delta/int8"].value == pytest.approx(-200 / n)
    assert figures["locate_delta/retrieve"].value == pytest.approx(-100 / events)
    assert figures["ask_delta/retrieve"].value == 0 and figures["ask_delta/retrieve"].n == questions
    assert figures["changed/int8"].value == pytest.approx(2 / n)
    assert (figures["lossy_videos/retrieve"].value, figures["lossy_videos/int8"].value) == (1.0, 0.0)
    # What one memory gains and another loses does not cancel in `changed`.
    said["int8"] = {**_said(case, 0, 0), "asked": said["full"]["asked"]}
    said["full"] = {**_said(case, events, 0)}
    mixed = score({video: case}, {video: said}, ("int8",))
    assert mixed["kv_accuracy_delta/int8"].value == pytest.approx(100 * (questions - events) / n)
    assert mixed["changed/int8"].value == 1.0


def test_only_memories_that_there_are() -> None:
    assert read_names("retrieve, int8,retrieve") == ("retrieve", "int8")
    with pytest.raises(UsageError, match="no memory to compare is called 'int3'"):
        read_names("int8,int3")


def test_end_to_end_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cases, "SHORTEST", 12.0)
    monkeypatch.setattr(cases, "LONGEST", 13.0)
    kept = tmp_path / "paired.jsonl"

    def evaluate(videos: int) -> tuple[dict[str, Any], str]:
        given = ["--seed", FIRST, "--videos", videos, "--against", "retrieve,int8", "--resume", kept]
        assert main(["eval", "drawn", *map(str, given), "-f", "json"]) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err

    document, _ = evaluate(1)
    results = document["results"]
    # Twelve steps are two blocks, and a question sees eight: nothing is forgotten, so nothing can be lost.
    assert results["retrieve_accuracy_delta"] == 0.0
    assert set(results["kv_accuracy_delta"]) == {"int8"} and set(results["accuracy"]) == {
        "full",
        "retrieve",
        "int8",
    }
    assert document["n"]["retrieve_accuracy_delta"] == document["n"]["accuracy"]["full"] > 4
    records = kept.read_bytes()
    document, err = evaluate(2)
    assert "continuing after 1 videos" in err and document["n"]["videos"] == 2
    assert kept.read_bytes().startswith(records)
    assert main(["eval", "drawn", "--against", "int3"]) == 2
    assert main(["eval", "drawn", "--against", "int8", "--needle", "10m"]) == 2
