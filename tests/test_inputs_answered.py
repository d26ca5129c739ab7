"""Every kind of input through the real command, on a small random checkpoint: what the Answer says of it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from qvl_cli.answer import Answer
from qvl_cli.cli.app import main
from tests.checkpoints import write_checkpoint
from tests.clips import numbered, write_clip, x264

Locate = Callable[..., tuple[Answer, str]]  # (input, further flags, exit code) -> the Answer, and stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(
    checkpoint: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Locate:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))

    def locate(name: str, *more: str, code: int = 0) -> tuple[Answer, str]:
        got = main(["locate", name, "x", "--model", str(checkpoint), "-f", "json", *more])
        said = capfd.readouterr()
        assert got == code, said.err
        return Answer.from_dict(json.loads(said.out)), said.err

    return locate


def test_standard_input_is_answered_and_leaves_nothing(
    tmp_path: Path, run: Locate, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_clip(tmp_path / "clip.mp4", [200 * n for n in range(10)], options=x264()).read_bytes()
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    before = os.dup(0)
    with (tmp_path / "clip.mp4").open("rb") as file:
        os.dup2(file.fileno(), 0)
    try:
        piped, _ = run("-")
    finally:
        os.dup2(before, 0)
        os.close(before)
    named, _ = run("clip.mp4")
    assert piped.media.path == "-" and named.media.path == "clip.mp4"
    assert piped.media.sha256 == named.media.sha256 == hashlib.sha256(data).hexdigest()
    assert (piped.moments, piped.text, piped.coverage) == (named.moments, named.text, named.coverage)
    assert list(copies.iterdir()) == []


def test_pages_are_answered_in_pages(tmp_path: Path, run: Locate) -> None:
    first, *rest = (Image.fromarray(numbered(page)) for page in (1, 2, 3))
    first.save(tmp_path / "a.pdf", save_all=True, append_images=rest)
    answer, _ = run("a.pdf", "--max-pixels", "8192")
    assert (answer.media.unit, answer.media.duration, answer.sampling.steps) == ("page", 3, 3)
    assert answer.coverage.seen == ((1, 4),) and answer.coverage.gaps == ()
    assert all(1 <= moment.start < moment.end <= 4 for moment in answer.moments)
    assert not answer.moments or ("page" in answer.text and " s" not in answer.text.split(":")[1])


def test_pages_have_no_times_for_subtitles(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(numbered(1)).save(tmp_path / "a.pdf", save_all=True)
    asked = ["locate", str(tmp_path / "a.pdf"), "x", "--model", str(checkpoint), "-f", "srt"]
    assert main(asked) == 2
    assert "pages have no times" in capfd.readouterr().err


def test_a_damaged_picture_of_a_folder_is_a_gap(tmp_path: Path, run: Locate) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for n in range(4):
        Image.fromarray(numbered(n)).save(folder / f"{n}.png")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    answer, said = run("shots", code=6)
    assert answer.coverage.seen == ((0, 2), (3, 4)) and answer.coverage.gaps == ((2, 3),)
    for words in ("4 pictures carry no times", "2.png cannot be decoded", "could not be read: 2.0-3.0 s"):
        assert words in said and any(words in warning for warning in answer.warnings)


def test_pictures_are_not_scanned_for_changes(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shots").mkdir()
    Image.new("RGB", (96, 64)).save(tmp_path / "shots" / "1.png")
    asked = ["locate", str(tmp_path / "shots"), "x", "--model", str(checkpoint), "--sampling", "adaptive"]
    assert main(asked) == 2
    assert "steps of their own" in capfd.readouterr().err
