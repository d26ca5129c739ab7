"""The `index` benchmark: how figures follow from runs, what is asked, and what the kernel forgets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from qvl_cli import filesystems, pipeline
from qvl_cli.bench import index, index_run, page_cache
from qvl_cli.bench.first_word import FirstWord
from qvl_cli.bench.row import Run
from qvl_cli.request import Request


def _run(name: str, **report: float) -> Run:
    return Run(name, 9.0, 9.0, 1, report)


def test_figures_by_hand() -> None:
    runs = [
        _run("first", seconds=40.0, cpu_seconds=32.0, first_token_s=38.0, first_token_cpu_s=31.0,
             index_bytes=1, cold=1),
        _run("second", seconds=2.0, cpu_seconds=1.5, first_token_s=0.75, first_token_cpu_s=0.5,
             index_bytes=3 * 2**20, cold=0),
        _run("kill", equal=6, kills=7, with_blocks=3),
    ]  # fmt: skip
    figures = index._figures({each.variant: each for each in runs[:2]})
    assert figures == {
        "second_question_ratio": 0.05, "second_question_s": 2.0, "second_question_cpu_s": 1.5,
        "first_answer_s": 40.0, "first_answer_cpu_s": 32.0,
        "cold_first_token_s": 0.75, "cold_first_token_cpu_s": 0.5, "cold": 0, "index_mb": 3,
    }  # fmt: skip
    killed = index._figures({each.variant: each for each in runs})
    assert {key: killed[key] for key in killed.keys() - figures.keys()} == {
        "kill_resume_equal": 6, "kills": 7, "kills_with_blocks": 3,
    }  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What a run asks; answered by nobody."""
    requests: list[Request] = []

    def answer(request: Request, listener: FirstWord) -> SimpleNamespace:
        assert request.index is not None
        requests.append(request)
        pipeline.load(None, request)
        listener.text("A circle.")
        state = "used" if list(request.index.root.glob("*")) else "saved"
        return SimpleNamespace(usage=SimpleNamespace(index=state), text="A circle.")

    monkeypatch.setattr(pipeline, "load", lambda *_: None)
    monkeypatch.setattr(pipeline, "run", answer)
    monkeypatch.setattr(index_run, "_HEAVY", ())
    monkeypatch.setattr(index_run, "SETTLED", -1)
    return requests


def test_the_kernel_forgets_the_video_and_its_index_before_a_question_of_the_same_kind(
    asked: list[Request], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forgotten: list[Path] = []
    monkeypatch.setattr(index_run, "forget", lambda paths: forgotten.extend(paths))
    clip, root = tmp_path / "clip.mp4", tmp_path / "cache"
    clip.write_bytes(b"clip")
    (root / "old").mkdir(parents=True)
    index_run.ask("first", str(clip), str(root))
    assert forgotten == [clip]
    for name in ("blocks.safetensors", "manifest.json", "named without a dot"):
        (root / "key").mkdir(parents=True, exist_ok=True)
        (root / "key" / name).write_bytes(b"saved")
    report = index_run.ask("second", str(clip), str(root))
    assert set(forgotten[1:]) == {clip, *(root / "key").iterdir()}
    assert report["index_bytes"] == 5
    first, second = (request.query.split() for request in asked)
    assert len(first) == len(second) and sum(a != b for a, b in zip(first, second, strict=True)) == 1


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="nothing can be forgotten here")
def test_forgetting_writes_out_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "fsync", lambda number: done.append(("sync", os.fstat(number).st_ino)))
    monkeypatch.setattr(
        os, "posix_fadvise", lambda number, *_: done.append(("forget", os.fstat(number).st_ino))
    )
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"x")
    page_cache.forget(paths)
    assert done == [(what, path.stat().st_ino) for path in paths for what in ("sync", "forget")]


def _mounted(folder: Path, kind: str) -> str:
    device = folder.stat().st_dev
    return (
        "21 1 0:999 / /elsewhere rw shared:2 - tmpfs tmpfs rw\n"
        f"36 1 {os.major(device)}:{os.minor(device)} / {folder} rw,noatime shared:1 - {kind} /dev/root rw\n"
    )


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="nothing can be forgotten here")
def test_memory_is_no_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_children(*_: object) -> None: ...

    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(filesystems, "MOUNTS", mounts)
    monkeypatch.setattr(index, "measure", no_children)
    settings = {flag.name: flag.default for flag in index.BENCH.flags}
    said: Sequence[str] = []
    for kind, why in (("ext4", None), ("tmpfs", f"{tmp_path} lies in memory (tmpfs)")):
        mounts.write_text(_mounted(tmp_path, kind))
        assert page_cache.unforgettable(tmp_path) == why
        index.BENCH.variants(settings, tmp_path)
        said = capsys.readouterr().err.splitlines()
        assert said == [] if why is None else why in said[0]
    mounts.unlink()
    assert page_cache.unforgettable(tmp_path) is None


def test_a_system_that_cannot_forget_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    page_cache.forget([tmp_path / "not even opened"])
    assert page_cache.unforgettable(tmp_path) == "this system cannot be told to forget files"
