"""What was found out about a file is not found out again while its saved index lies there."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from qvl_cli import digests
from qvl_cli.cache import exact
from qvl_cli.cache.beside import MEDIA
from qvl_cli.cache.library import Library, verify
from qvl_cli.digests import FileDigests
from qvl_cli.errors import MediaError
from qvl_cli.media import open_video, probe
from qvl_cli.media.inputs import InputSettings
from qvl_cli.media.known import InfoRecord
from tests.indexing import CLIP, SAMPLES, Heard, ask, index, said


def _files(shared: Path) -> list[Path]:
    return [path for path in sorted((shared / "media" / "awkward").iterdir()) if path.is_file()]


class _Knows(FileDigests):
    """Knows what one file holds."""

    def __init__(self, sha256: str, record: InfoRecord) -> None:
        super().__init__()
        self._records = {sha256: record}

    def info(self, sha256: str) -> InfoRecord | None:
        return self._records.get(sha256)


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
    with open_video(CLIP, settings=InputSettings(known=_Knows(sha256, record))) as video:
        opened: Any = video
        assert opened._examined is None
        assert [frame.pixels.tobytes() for frame in video.frames(times)] == truth
        assert opened._examined is not None
    with open_video(CLIP, settings=InputSettings(known=_Knows("other", record))) as video:
        assert opened._examined is not None


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


def test_a_big_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_BIG", 1)
    clip, root = tmp_path / "clip.mp4", tmp_path / "cache"
    shutil.copyfile(CLIP, clip)
    read: list[Path] = []
    whole = hashlib.file_digest

    def counted(file: BinaryIO, name: str) -> object:
        read.append(Path(file.name))
        return whole(file, name)

    monkeypatch.setattr("hashlib.file_digest", counted)

    def times_read() -> int:
        read.clear()
        assert ask(root, path=clip).media.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
        return read.count(clip)

    assert [times_read(), times_read()] == [1, 1], "what has just changed is not trusted"
    monkeypatch.setattr(digests, "SETTLED", 0.0)
    assert [times_read(), times_read()] == [1, 0]
    changed = clip.read_bytes().replace(b"isom", b"iso2")
    about = clip.stat()
    clip.write_bytes(changed)
    os.utime(clip, ns=(about.st_atime_ns, about.st_mtime_ns))  # same size, same times: the change time tells
    assert [times_read(), times_read()] == [1, 0]
    (root / "videos.json").write_text("{")
    assert [times_read(), times_read()] == [1, 0]


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
