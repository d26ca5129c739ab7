"""`qvl eval` with a model: watch drawn videos in other suites' files, stop, continue, score."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qvl_cli.cli.app import main
from qvl_cli.errors import OverBudget
from qvl_cli.evals import cases
from qvl_cli.evals.watching import Watcher, each_video
from qvl_cli.tiny.film import film
from qvl_cli.tiny.phrases import FAMILIES
from qvl_cli.tiny.pieces import Query
from qvl_cli.tiny.questions import locate_query
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import rng_for

VIDEOS, SECONDS = 3, 8.0
FIRST = 1_000_700


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short drawn videos and annotations of them in every suite's form; a fourth video is missing."""
    folder = tmp_path_factory.mktemp("suites")
    (folder / "videos").mkdir()
    truth: list[tuple[str, Query]] = []
    for number in range(VIDEOS):
        script = write_script(FIRST + number, SECONDS)
        film(script, folder / "videos" / f"v_{number}.0.mp4", rate=5)
        rng = rng_for(FIRST + number, "suites")
        drawn = (query for _ in range(40) if (query := locate_query(script, rng, absent=0.0)))
        truth.append((f"v_{number}.0", next(query for query in drawn if query.spans)))
    truth.append(("v_missing", truth[0][1]))
    named = [(qid, vid, query.prompt.query, query.spans) for qid, (vid, query) in enumerate(truth)]
    _write(
        folder / "qv.jsonl",
        [{"qid": i, "vid": v, "query": text, "relevant_windows": list(s)} for i, v, text, s in named],
    )
    (folder / "sta.txt").write_text("".join(f"{v} {s[0][0]} {s[0][1]}##{t}\n" for _, v, t, s in named[:1]))
    (folder / "vue.json").write_text(
        json.dumps([{"query_id": i, "video_id": v, "query": t, "gt": list(s)} for i, v, t, s in named[:1]])
    )
    options = ["A. a red circle", "B. nothing"]
    choice = {"video_id": "v_0.0", "question": "What is shown?", "options": options, "answer": "A"}
    (folder / "mme.json").write_text(json.dumps([{**choice, "question_id": "1", "domain": "drawn"}]))
    return folder


def _write(path: Path, entries: list[Any]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    code = main(["eval", *map(str, arguments), "-f", "json"])
    out, err = capsys.readouterr()
    assert len(out.splitlines()) <= 1
    return code, json.loads(out) if out else {}, err


def _run(folder: Path, suite: str, annotations: str) -> list[str | Path]:
    given = ["--annotations", folder / annotations, "--videos", folder / "videos", "--model", "tiny"]
    return [suite, *given]


def test_an_interrupted_run_continues_to_the_same_figures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, stopped = tmp_path / "whole.jsonl", tmp_path / "stopped.jsonl"
    arguments = _run(folder, "qvhighlights", "qv.jsonl")
    code, document, err = evaluate(capsys, *arguments, "--resume", whole)
    assert code == 6 and "missing video: v_missing" in err
    assert document["left_out"]["missing video"] == {"n": 1, "first": ["v_missing"]}
    assert document["left_out"]["query without a prediction"]["n"] == 1
    results, counts = document["results"], document["n"]
    assert counts["r1@0.5"] == VIDEOS and counts["blind_r1@0.5"] == VIDEOS - 1
    for figure in ("r1@0.3", "r1@0.5", "r1@0.7", "miou", "map@0.5", "map@0.75", "map"):
        for name in (figure, f"random_{figure}", f"whole_{figure}", f"blind_{figure}"):
            assert 0 <= results[name] <= 1 and counts[name] and len(document["ci"][name]) == 2
    assert document["aligner"] == "head" and document["model"] == "tiny"

    records = whole.read_bytes().splitlines(keepends=True)
    assert len(records) == 1 + VIDEOS
    stopped.write_bytes(b"".join(records[:2]) + records[2][:40])  # killed while the second was written
    again, later, err = evaluate(capsys, *arguments, "--resume", stopped)
    assert again == 6 and "continuing after 1 videos" in err
    for each in (document, later):
        for part in ("results", "n"):
            each[part].pop("realtime_factor")
    assert later == document
    assert [_said(line) for line in stopped.read_bytes().splitlines()] == [_said(line) for line in records]

    code, _, err = evaluate(capsys, *arguments, "--resume", stopped, "--aligner", "text")
    assert code == 2 and "results of other settings" in err and "aligner 'head', now 'text'" in err


def test_another_video_of_the_same_name_is_watched_anew(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, kept = tmp_path / "videos", tmp_path / "kept.jsonl"
    shutil.copytree(folder / "videos", other)
    given = ["qvhighlights", "--annotations", folder / "qv.jsonl", "--model", "tiny", "--resume", kept]
    evaluate(capsys, *given, "--videos", other)
    before = kept.read_bytes()
    evaluate(capsys, *given, "--videos", other)
    assert kept.read_bytes() == before
    shutil.copy(other / "v_1.0.mp4", other / "v_0.0.mp4")
    evaluate(capsys, *given, "--videos", other)
    added = [json.loads(line) for line in kept.read_bytes()[len(before) :].splitlines()]
    assert [each["video"] for each in added] == ["v_0.0"]


def test_finished_work_stays_until_its_figures_are_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    results = tmp_path / "qvl" / "evals"
    assert evaluate(capsys, *_run(folder, "qvhighlights", "qv.jsonl"))[0] == 6
    assert len([*results.iterdir()]) == 1  # a video is missing: there is something to continue with
    monkeypatch.setattr(Watcher, "watch", lambda *_: pytest.fail("watched again"))
    code, document, err = evaluate(capsys, *_run(folder, "qvhighlights", "qv.jsonl"))
    assert code == 6 and document["n"]["r1@0.5"] == VIDEOS and f"continuing after {VIDEOS} videos" in err
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (results / next(results.iterdir())).unlink()
    with monkeypatch.context() as full:
        full.setattr("qvl_cli.cli.eval.put", _full_disk)
        assert evaluate(capsys, *_run(folder, "charades", "sta.txt"))[0] == 1
    assert len([*results.iterdir()]) == 1
    assert evaluate(capsys, *_run(folder, "charades", "sta.txt"))[0] == 0
    assert not [*results.iterdir()]


def _full_disk(text: str) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_video_that_can_no_longer_be_watched_blocks_no_run() -> None:
    watched: list[str] = []
    failures: list[str] = []

    def watch(name: str) -> Any:
        watched.append(name)
        if name in ("b", "d"):
            raise OverBudget("too big now", "less") if name == "b" else MemoryError
        return SimpleNamespace(session=SimpleNamespace(name=name, release=lambda: None))

    turns = [
        (turn.name, turn.other and turn.other.name)  # type: ignore[attr-defined]
        for turn in each_video(
            "abcde", lambda name: name in "ab", watch, lambda n, why: failures.append(f"{n}: {why}")
        )
    ]
    assert turns == [("c", "a"), ("e", "c")]
    assert watched == ["b", "a", "c", "d", "e"]
    assert failures == ["d: out of memory"]


def _said(line: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(line)
    record.pop("watch_s", None)
    return record


def test_predictions_of_a_run_score_the_same_from_a_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.jsonl"
    _, run, _ = evaluate(capsys, *_run(folder, "vue-tr", "vue.json"), "--resume", kept)
    said = [each for line in kept.read_text().splitlines()[1:] for each in json.loads(line)["said"]]
    answers = [{"query_id": each["qid"], "answer": sorted(w[:2] for w in each["windows"])} for each in said]
    (tmp_path / "p.json").write_text(json.dumps(answers))
    given = ["--annotations", folder / "vue.json", "--predictions", tmp_path / "p.json"]
    code, scored, _ = evaluate(capsys, "vue-tr", *given)
    assert code == 0
    assert scored["results"]["iou"] == run["results"]["iou"]
    assert scored["results"]["recall"] == run["results"]["recall"]


def test_charades_and_video_mme_run_and_leave_no_results_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, document, _ = evaluate(capsys, *_run(folder, "charades", "sta.txt"))
    assert code == 0 and document["n"]["r5@0.7"] == 1 and document["n"]["whole_r1@0.5"] == 1
    code, document, _ = evaluate(capsys, *_run(folder, "video-mme", "mme.json"))
    assert code == 0 and document["results"]["random_answer_accuracy"] == 0.5
    assert set(document["results"]["answer_by_domain"]) == {"drawn"}
    assert not list((tmp_path / "qvl" / "evals").iterdir())


def test_a_folder_without_the_videos(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v_0.0.mp4").write_bytes(b"no video")
    given = ["--annotations", folder / "qv.jsonl", "--videos", tmp_path, "--resume", tmp_path / "r.jsonl"]
    code, document, err = evaluate(capsys, "qvhighlights", *given, "--model", "tiny")
    assert code == 3 and document == {}
    assert "missing video: v_1.0" in err and "unwatched video: v_0.0" in err
    assert "none of the annotated videos could be watched" in err


def test_the_drawn_suite_end_to_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cases, "SHORTEST", 8.0)
    monkeypatch.setattr(cases, "LONGEST", 10.0)
    kept = tmp_path / "drawn.jsonl"
    given = ["drawn", "--seed", FIRST, "--resume", kept]
    outside = tmp_path / "outside"
    outside.mkdir()
    _film_noise(outside / "noise.mp4")
    code, document, _ = evaluate(capsys, *given, "--videos", 2, "--outside", outside)
    assert code == 0 and document["bench"] == "drawn"
    results, counts, intervals = document["results"], document["n"], document["ci"]
    assert counts["videos"] == 2 and counts["acceptance"] == 2 and counts["refusal"] == 1
    for name in ("r1@0.5", "r1@0.7", "miou", "evidence_r1@0.5"):
        for each in (name, f"random_{name}", f"whole_{name}", f"blind_{name}"):
            assert 0 <= results[each] <= 1 and counts[each]
            # Blind to one video alone: nothing tells how that differs from video to video.
            assert (each in intervals) is not each.startswith("blind_")
    measured = {"absent_recall", "false_denial", "answer_accuracy", "answer_by_family", "section_f1"}
    measured |= {"blind_over_chance", "ece", "score_auroc", "boundary_error_s", "map@0.5", "realtime_factor"}
    measured |= {"boundary_error_coarse_s"}
    assert measured <= set(results)
    assert set(results["answer_by_family"]) == set(FAMILIES)
    # More videos go on from there; the first two are not watched again.
    records = kept.read_bytes()
    _, document, err = evaluate(capsys, *given, "--videos", 3)
    assert "continuing after 2 videos" in err and document["n"]["videos"] == 3
    assert kept.read_bytes().startswith(records)


def test_single_events_in_longer_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cases, "NEEDLES", 2)
    given = ["--seed", FIRST, "--videos", 2, "--needle", "20s"]
    code, document, _ = evaluate(capsys, "drawn", *given)
    assert code == 0 and document["n"]["needle_20s_r1@0.5"] == 4 and document["warnings"] == []
    for trivial in ("", "random_", "whole_", "blind_"):
        assert 0 <= document["results"][f"{trivial}needle_20s_r1@0.5"] <= 1


def _film_noise(path: Path) -> None:
    import av

    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for _ in range(24):
            picture = rng.integers(0, 255, (192, 320, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
