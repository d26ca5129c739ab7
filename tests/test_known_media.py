"""What was found out about a file is not found out again while its saved index lies there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qvl_cli.cache import exact
from qvl_cli.cache.beside import MEDIA
from qvl_cli.cache.library import Library, verify
from qvl_cli.errors import MediaError
from qvl_cli.media import open_video, probe
from qvl_cli.media.inputs import InputSettings
from qvl_cli.media.known import InfoRecord
from tests.indexing import CLIP, SAMPLES, Heard, ask, index, said


def _files(shared: Path) -> list[Path]:
    return [path for path in sorted((shared / "media" / "awkward").iterdir()) if path.is_file()]


def test_a_record_is_the_probe_again(shared: Path) -> None:
    compared = 0
    for path in [CLIP, *_files(shared)]:
        try:
            info = probe(path)
        except MediaError:
            continue
        record = InfoRecord.of(info)
        assert record is not None
        again = exact.load(InfoRecord, exact.dump(record)).info(path)
        assert list(again.frame_times) == list(info.frame_times)
        assert replace(again, frame_times=()) == replace(info, frame_times=())
        compared += 1
    assert compared > 5


def test_what_is_known_is_examined_only_for_frames() -> None:
    with open_video(CLIP) as video:
        record, times = InfoRecord.of(video.info), list(video.info.frame_times[:3])
        truth = [frame.pixels.tobytes() for frame in video.frames(times)]
        sha256 = video.content_hash()
    with open_video(CLIP, settings=InputSettings(known={sha256: record}.get)) as video:
        assert video._examined is None
        assert [frame.pixels.tobytes() for frame in video.frames(times)] == truth
        assert video._examined is not None
    with open_video(CLIP, settings=InputSettings(known={"other": record}.get)) as video:
        assert video._examined is not None


def test_a_second_question_does_not_examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, root = tmp_path / "clip.mp4", tmp_path / "cache"
    shutil.copyfile(CLIP, clip)
    one = ask(root, path=clip)
    assert one.usage.index == "saved"

    def examine(path: Path) -> None:
        raise AssertionError(f"{path} was examined")

    with monkeypatch.context() as patched:
        patched.setattr("qvl_cli.media.source.examine", examine)
        again = ask(root, path=clip)
        assert (again.usage.index, said(again)) == ("used", said(one))
        moved = clip.rename(tmp_path / "moved.mp4")  # known by its bytes, wherever it lies
        assert ask(root, path=moved).media.path == str(moved)
        shutil.copyfile(SAMPLES / "shapes-60s.mp4", clip)  # another film under the old name
        with pytest.raises(AssertionError, match="was examined"):
            ask(root, path=clip)


def test_a_damaged_record_costs_only_another_look(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    index(root)
    (entry,) = Library(root).entries()
    path = entry.folder / MEDIA
    assert verify(entry) == []
    path.write_bytes(path.read_bytes().replace(b"h264", b"hevc"))
    assert any("checksum is wrong" in trouble for trouble in verify(entry))
    heard = Heard()
    assert ask(root, heard).usage.index == "used"
    path.unlink()
    assert verify(entry) == []
    assert ask(root).usage.index == "used"
