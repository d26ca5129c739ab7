"""Alignment heads for any checkpoint: targets, a planted task, and the two commands."""

from __future__ import annotations

import json
import os
import shutil
import stat
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qvl_cli.align.calibrate import best_threshold, fit_score
from qvl_cli.align.head import load_network
from qvl_cli.align.training import head_loss, step_targets
from qvl_cli.cli.app import main
from qvl_cli.errors import UsageError
from qvl_cli.evals.annotations import Query
from qvl_cli.evals.watching import Silent, Watcher
from qvl_cli.heads.features import VideoFeatures, padded, with_absent
from qvl_cli.heads.train import _judged, fit, split
from qvl_cli.registry import EMBEDDED, HEAD_FILE
from qvl_cli.timeline import TimeSpan
from qvl_cli.tiny.film import film
from qvl_cli.tiny.pieces import Query as DrawnQuery
from qvl_cli.tiny.questions import locate_query
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import rng_for
from tests.indexing import disk_full_beyond

HIDDEN = 24


def test_targets_by_hand() -> None:
    starts, ends = np.array([0.0, 1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0, 5.0])
    found = step_targets([(1.25, 3.0)], starts, ends)
    assert found.tolist() == [
        [0, 0, 0, 0, 0],
        [0.75, 1, 0, 0.25, 0],
        [0.5, 0, 1, 0, 0.5],
        [0, 0, 0, 0, 0],
    ]
    assert step_targets([], starts, ends).sum() == 0
    # A span past both ends is cut to the steps; one that ends where a step begins ends in the step before.
    assert step_targets([(-3.0, 9.0)], starts, ends)[:, 0].tolist() == [1, 1, 1, 1]
    assert step_targets([(0.0, 2.0)], starts, ends)[:, 2].tolist() == [0, 1, 0, 0]


def test_the_loss_is_least_where_the_scores_are_right() -> None:
    truth = torch.from_numpy(step_targets([(1.25, 3.0)], np.arange(5.0), np.arange(1.0, 6.0)))[None]
    right = truth.clone()
    right[..., :3] = (truth[..., :3] * 2 - 1) * 9
    best, figures = head_loss(right, truth)
    worse, _ = head_loss(right.flip(1), truth)
    assert best < 0.5 * worse and figures["iou"] == 1.0 and figures["offset"] == 0.0
    empty, figures = head_loss(torch.full((1, 5, 5), -9.0), torch.zeros(1, 5, 5))
    assert torch.isfinite(empty) and figures["absent"] == 1.0  # nothing to place is no NaN


def planted(count: int, seed: int) -> list[VideoFeatures]:
    """One of the three regions of each step carries one of six directions, all are noisy; a query names one
    of these, its spans are where it is."""
    rng = np.random.default_rng(seed)
    words = np.linalg.qr(np.random.default_rng(7).normal(size=(HIDDEN, 6)))[0].T * 4
    videos = []
    for number in range(count):
        runs = [(int(rng.integers(6)), int(rng.integers(3, 9))) for _ in range(5)]
        shown = [word for word, long in runs for _ in range(long)]
        steps = rng.normal(0, 0.3, (len(shown), 3, HIDDEN))
        steps[np.arange(len(shown)), rng.integers(3, size=len(shown))] += words[shown]
        intervals = tuple(TimeSpan(Fraction(i), Fraction(i + 1)) for i in range(len(shown)))
        spans = []
        for word in range(6):
            there = np.flatnonzero(np.diff(np.array([0, *(s == word for s in shown), 0], int)))
            spans.append(tuple((float(a), float(b)) for a, b in there.reshape(-1, 2)))
        queries = tuple(
            torch.tensor(words[word] + rng.normal(0, 0.1, (int(rng.integers(1, 4)), HIDDEN))).float()
            for word in range(6)
        )
        videos.append(
            VideoFeatures(f"v{number}", torch.tensor(steps).float(), intervals, queries, tuple(spans))
        )
    return videos


def test_a_planted_task_is_learned_and_the_score_knows() -> None:
    trained, held = split(planted(40, seed=1))
    network = fit(trained, HIDDEN, 25, 0, torch.device("cpu"), Silent())
    threshold, figures = fit_score(network, _judged(network, held))
    assert figures["queries"] == 6 * len(held) and len(held) == 8
    assert figures["r1@0.5"] >= 0.9
    assert figures["absent_recall"] >= 0.9 and figures["false_denial"] <= 0.1
    assert 0 < threshold < 1
    again = fit(trained, HIDDEN, 1, 3, torch.device("cpu"), Silent()).state_dict()
    same = fit(trained, HIDDEN, 1, 3, torch.device("cpu"), Silent()).state_dict()
    other = fit(trained, HIDDEN, 1, 4, torch.device("cpu"), Silent()).state_dict()
    assert all(torch.equal(again[name], same[name]) for name in again)
    assert not torch.equal(again["leave.weight"], other["leave.weight"])


def test_videos_are_held_out_by_name_and_two_are_needed() -> None:
    videos = planted(11, seed=2)
    trained, held = split(videos)
    assert len(held) == 2 and {v.video for v in trained} | {v.video for v in held} == {
        v.video for v in videos
    }
    assert [v.video for v in split(videos[::-1])[1]] == [v.video for v in held]
    with pytest.raises(UsageError, match="not enough"):
        split(videos[:1])


def test_nothing_absent_is_nothing_to_learn_not_found_from() -> None:
    assert best_threshold(np.array([0.2, 0.9]), np.array([True, True])) == 0.0
    assert best_threshold(np.array([0.2, 0.9]), np.array([False, True])) == pytest.approx(0.55)


def test_queries_of_the_next_video_never_happen_here() -> None:
    window = np.array([[0.0, 1.0]])
    texts = {"a": ("cat", "dog"), "b": ("dog", "van", "bus")}
    asked = with_absent([Query(t, v, t, window) for v, each in texts.items() for t in each])
    assert [(q.text, len(q.windows)) for q in asked["a"]] == [("cat", 1), ("dog", 1), ("van", 0), ("bus", 0)]
    assert [(q.text, len(q.windows)) for q in asked["b"]][3:] == [("cat", 0)]


def test_padding_says_what_is_there() -> None:
    together, there = padded([torch.ones(1, 4), torch.ones(3, 4)])
    assert together.shape == (2, 3, 4) and there.tolist() == [[True, False, False], [True, True, True]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, each under two names, so that the one held out has a twin to learn from."""
    folder = tmp_path_factory.mktemp("head")
    entries = []
    for name in ("first", "second", "first-again", "second-again"):
        seed = 500 + name.startswith("second")
        script, rng = write_script(seed, 7.0), rng_for(seed, "head")
        film(script, folder / f"{name}.mp4", rate=4)
        drawn: list[DrawnQuery] = [q for _ in range(12) if (q := locate_query(script, rng, 0.0)) and q.spans]
        for query in drawn[:2]:
            key, text = len(entries), query.prompt.query
            entries.append({"qid": key, "vid": name, "query": text, "relevant_windows": query.spans})
    (folder / "data.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def head(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    model = [] if "--model" in arguments else ["--model", "tiny"]
    code = main(["head", *map(str, arguments), *model, "-q", "-f", "json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def test_train_and_eval_through_the_commands(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "own.safetensors"
    given = [data / "data.jsonl", "--videos", data]
    stored = ["--features", tmp_path / "features", "--epochs", 80]
    code, document, err = head(capsys, "train", *given, *stored, "-o", own)
    assert (code, err) == (0, "")
    assert document["n"]["videos"] == 3 and document["n"]["held_out_videos"] == 1
    network, threshold = load_network(own)
    assert threshold == pytest.approx(document["results"]["threshold"], abs=1e-4)
    first = network.state_dict()["leave.weight"]

    # Features are computed once: the second training watches nothing and ends in the same head.
    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "watch", lambda *_: pytest.fail("watched again"))
        assert head(capsys, "train", *given, *stored, "-o", own)[0] == 0
        # The same where a head lies beside the weights: features do not depend on it.
        copy = tmp_path / "copy"
        shutil.copytree(EMBEDDED, copy)
        shutil.copy(own, copy / HEAD_FILE)
        again = tmp_path / "again.safetensors"
        assert head(capsys, "train", *given, *stored, "-o", again, "--model", copy)[0] == 0
    for trained in (own, again):
        assert torch.equal(load_network(trained)[0].state_dict()["leave.weight"], first)
    # A file that was changed is another one, whatever its name.
    watch, watched = Watcher.watch, []
    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "watch", lambda self, path: watched.append(path.name) or watch(self, path))
        os.utime(data / "second.mp4", ns=(1, 1))
        assert head(capsys, "train", *given, *stored, "-o", own)[0] == 0
    assert watched == ["second.mp4"]
    # Windows that were put right are no other features; texts are.
    entries = [json.loads(line) for line in (data / "data.jsonl").read_text().splitlines()]
    other = tmp_path / "other.jsonl"
    for part, wanted in (("relevant_windows", []), ("query", ["first.mp4", "second-again.mp4"])):
        watched.clear()
        entries[0] |= {part: [[0.5, 3.0]] if part == "relevant_windows" else "nothing like it"}
        other.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        with monkeypatch.context() as patch:
            patch.setattr(Watcher, "watch", lambda self, path: watched.append(path.name) or watch(self, path))
            assert (
                head(capsys, "train", other, *given[1:], *stored, "-o", tmp_path / "no.safetensors")[0] == 0
            )
        assert watched == wanted
    assert stat.S_IMODE(own.stat().st_mode) == 0o666 & ~_umask()
    code, _, err = head(capsys, "train", *given, *stored, "-o", own, "--fps", "1")
    assert code == 2 and "other settings" in err and "--features DIR" in err

    code, document, _ = head(capsys, "eval", *given, "--head", own)
    assert code == 0 and document["n"]["r1@0.5"] == 8 and len(document["head"]) == 64
    # A head judges the states of the checkpoint that it was trained for, and of no other of the same width.
    weights = load_file(copy / "model.safetensors")
    weights["model.language_model.embed_tokens.weight"].mul_(1.01)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    code, _, err = head(capsys, "eval", *given, "--head", own, "--model", copy)
    assert code == 4 and "trained for another checkpoint" in err
    (tmp_path / "broken").write_bytes(b"no head")
    code, _, err = head(capsys, "eval", *given, "--head", tmp_path / "broken")
    assert code == 4 and "no alignment head that can be used" in err


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED, tmp_path / "checkpoint"))


@pytest.mark.parametrize("target", ["checkpoint/model.safetensors", "data/first.mp4", "data/data.jsonl", "-"])
def test_a_head_is_never_written_over_what_is_read(
    target: str,
    data: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(data, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Watcher, "watch", lambda *_: pytest.fail("watched in vain"))
    file = tmp_path / target
    before = file.read_bytes() if target != "-" else b""
    given = ["data/data.jsonl", "--videos", "data", "--model", checkpoint, "--features", "features"]
    code, document, err = head(capsys, "train", *given, "-o", target)
    assert code == 2 and not document and ("is what is read" in err or "stdout" in err)
    assert file.read_bytes() == before if target != "-" else not file.exists()


def test_a_backward_window_is_named_before_anything_is_watched(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [json.loads(line) for line in (data / "data.jsonl").read_text().splitlines()]
    for entry, windows in zip(entries, ([[3.0, 1.0]], [[0.0, 2.0], [4.0, 4.0]]), strict=False):
        entry["relevant_windows"] = windows
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    read: list[list[Query]] = []

    def collected(asked: dict[str, list[Query]], *_: object) -> None:
        read.extend(asked.values())
        raise UsageError("far enough")

    monkeypatch.setattr("qvl_cli.heads.train.collect", collected)
    given = [tmp_path / "odd.jsonl", "--videos", data, "--model", "tiny", "-o", tmp_path / "own.safetensors"]
    code = main(["head", "train", *map(str, given), "-f", "json"])
    err = capsys.readouterr().err
    assert code == 2 and "far enough" in err
    assert "qid 0: a window ends where it begins" in err and "qid 1: a window" in err
    assert {query.qid for queries in read for query in queries}.isdisjoint({0, 1})


def test_no_room_for_features_is_told_with_their_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [data / "data.jsonl", "--videos", data, "--features", tmp_path / "features"]
    with disk_full_beyond(20_000):
        code, _, err = head(capsys, "train", *given, "-o", tmp_path / "own.safetensors")
    assert code == 2 and f"to {tmp_path / 'features'}" in err and "--features DIR" in err
