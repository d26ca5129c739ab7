"""Which file of a folder an annotation names."""

from __future__ import annotations

from pathlib import Path

import pytest

from qvl_cli.errors import UsageError
from qvl_cli.evals.troubles import Troubles
from qvl_cli.evals.videos import list_videos, name_videos
from tests.indexing import Heard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.mp4", "b/1.mp4", "v_0.0.mkv", "deep/er/lonely.MOV", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_names_are_paths_or_their_last_part_with_or_without_ending(folder: Path) -> None:
    names = ["v_0.0", "v_0.0.mkv", "lonely", "deep/er/lonely", "a/1", "b/1.mp4", "./b/1"]
    troubles = Troubles(Heard())
    found = name_videos(names, folder, troubles)
    below = [str(video.path.relative_to(folder)) for video in found.values()]
    assert list(found) == names and troubles.found == {}
    assert below == ["v_0.0.mkv"] * 2 + ["deep/er/lonely.MOV"] * 2 + ["a/1.mp4"] + ["b/1.mp4"] * 2
    assert found["a/1"].identity == [7, (folder / "a/1.mp4").stat().st_mtime_ns]


def test_of_two_files_of_one_name_the_first_is_taken_and_that_is_told(folder: Path) -> None:
    heard = Heard()
    found = name_videos(["1"], folder, Troubles(heard))
    assert found["1"].path == folder / "a/1.mp4"
    assert len(heard.notes) == 1
    assert all(str(folder / name) in heard.notes[0] for name in ("a/1.mp4", "b/1.mp4"))


def test_one_file_that_is_not_there_costs_no_other(folder: Path) -> None:
    troubles = Troubles(Heard())
    found = name_videos(["gone", "never", "lonely", "folder"], folder, troubles)
    assert list(found) == ["lonely"]
    assert troubles.found["missing video"] == ["never", "folder"]
    assert troubles.found["unwatched video"] == ["gone: No such file or directory"]
    with pytest.raises(UsageError, match="no folder"):
        list_videos(folder / "nowhere")
