"""decord beside PyAV: the same frames, or an error; and a child that may do anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from qvl_cli.cli.app import main
from qvl_cli.errors import BackendFailed, BackendMissing
from qvl_cli.media import decord_source, open_video
from qvl_cli.media.decord_source import DecordSource
from tests.clips import read_number, write_clip, x264

pytestmark = pytest.mark.skipif(find_spec("decord") is None, reason="no decord for this platform")

STEADY = [40 * n for n in range(60)]
UNEVEN = [40 * n + 13 * (n % 3) + 500 * (n // 20) for n in range(60)]
CLIPS: dict[str, tuple[Sequence[int], dict[str, object]]] = {
    "b-frames.mp4": (STEADY, {"options": x264(keyint=20, extra=":b-pyramid=normal")}),
    "vfr.mkv": (UNEVEN, {"options": x264()}),
    "late.mp4": ([t + 5000 for t in UNEVEN], {"options": x264()}),
    "one-keyframe.mp4": (STEADY, {"options": x264(keyint=999)}),
    "turned.mp4": (STEADY[:9], {"options": x264(), "turned": (90.0, False, False)}),
    "\udcff b:c%03d.mp4": (STEADY[:9], {"options": x264()}),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("backends") / "clip.mp4", STEADY, options=x264())


@pytest.mark.parametrize("name", CLIPS)
def test_decord_gives_pyavs_frames_at_pyavs_times(tmp_path: Path, name: str) -> None:
    pts, options = CLIPS[name]
    path = write_clip(tmp_path / name, pts, **options)  # type: ignore[arg-type]
    with open_video(path) as ours, open_video(path, "decord") as theirs:
        times = ours.info.frame_times
        for wanted in (list(times), list(times[::7]), [Fraction(0), times[-1] + 9], []):
            found = [(frame.time, read_number(frame.pixels)) for frame in theirs.frames(wanted)]
            assert found == [(frame.time, read_number(frame.pixels)) for frame in ours.frames(wanted)]
        for one, other in zip(ours.frames(times[::5]), theirs.frames(times[::5]), strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)
        assert theirs.warnings == [] and theirs.lost == []


# What the child does instead of its work; the first answer is always the true times.
HONEST = """
import sys, time, os, signal
from qvl_cli.media import decord_child as child
import decord
real = decord.VideoReader
class Reader:
    def __init__(self, *given, **named): self.reader = real(*given, **named)
    def __len__(self): return len(self.reader)
    def __getattr__(self, name): return getattr(self.reader, name)
    def __getitem__(self, number):
        {deed}
        return self.reader[number]
decord.VideoReader = Reader
child.main()
"""
DEEDS = {
    "hangs with the GIL held": ("import ctypes; ctypes.PyDLL(None).sleep(1000)", "no answer"),
    "crashes": ("os.abort()", "signal 6"),
    "ends": ("os._exit(3)", "exit code 3"),
    "gives the next frame": ("number += 1 if number < 50 else -1", "differ in the frame"),
    "gives one wrong frame": ("number += number == 31", r"differ in the frame at 1\.240 s"),
    "raises": ("raise RuntimeError('out of order')", "out of order"),
}


def misbehaving(monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    monkeypatch.setattr(decord_source, "_CHILD", ("-c", HONEST.format(deed=deed)))


@pytest.mark.parametrize("name", DEEDS)
def test_a_child_gone_wrong_is_one_clear_error(
    clip: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    deed, says = DEEDS[name]
    misbehaving(monkeypatch, deed)
    with DecordSource(clip, fall_back=False, patience=4 if "hangs" in name else 60) as video:
        with pytest.raises(BackendFailed, match=says) as raised:
            list(video.frames(video.info.frame_times))
        assert raised.value.remedy == "use --backend pyav" and "\n" not in str(raised.value)
        child = video._child
    assert child is not None and child._process.returncode is not None  # killed and reaped


@pytest.mark.parametrize("deed", ["os.abort()", "number == 31 and os.abort()", "number += number == 31"])
def test_auto_goes_on_with_pyav_and_says_so(clip: Path, monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    misbehaving(monkeypatch, deed)
    with DecordSource(clip, fall_back=True) as video:
        numbers = [read_number(frame.pixels) for frame in video.frames(video.info.frame_times)]
        assert numbers == list(range(60))
        assert len(video.warnings) == 1 and video.warnings[0].endswith(": PyAV decodes instead")
        assert ("signal 6" if "abort" in deed else "differ in the frame") in video.warnings[0]
        assert len(list(video.frames(video.info.frame_times))) == 60
        assert len(video.warnings) == 1  # decord is not tried again


def test_of_many_frames_some_are_compared(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decord_source, "_COMPARED", 4)  # 0, 19, 39, 59
    for wrong, found in ((31, False), (39, True), (59, True)):
        misbehaving(monkeypatch, f"number -= number == {wrong}")
        with DecordSource(clip, fall_back=True) as video:
            assert len(list(video.frames(video.info.frame_times))) == 60
            assert bool(video.warnings) == found


def test_other_times_than_the_packets_are_an_error(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = "Reader.get_frame_timestamp = lambda self, which: self.reader.get_frame_timestamp(which) * 1.01"
    script = HONEST.format(deed="pass").replace("child.main()", f"{late}\nchild.main()")
    monkeypatch.setattr(decord_source, "_CHILD", ("-c", script))
    with DecordSource(clip, fall_back=False) as video, pytest.raises(BackendFailed, match="s off"):
        list(video.frames([Fraction(0)]))


def test_real_clips_agree_or_are_an_error(shared: Path) -> None:
    """decord shows the second picture of this stream first; elsewhere its pictures are PyAV's."""
    path = shared / "media/content/bipbop_timecode_60s.ts"
    with (
        open_video(path, "decord") as video,
        pytest.raises(BackendFailed, match=r"differ in the frame at 0\.000 s"),
    ):
        list(video.frames([Fraction(0), Fraction(9)]))
    path = shared / "media/content/bikes.mp4"
    with open_video(path, "decord") as theirs, open_video(path) as ours:
        times = [Fraction(n, 2) for n in range(20)]
        for one, other in zip(ours.frames(times), theirs.frames(times), strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)


def test_without_decord_the_flag_says_so(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(decord_source, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing) as raised:
        open_video(clip, "decord")
    assert raised.value.exit_code == 4
    with open_video(clip, "auto") as video:
        assert len(list(video.frames(video.info.frame_times))) == 60
        assert "decord is not installed" in video.warnings[0]
    assert main(["ask", str(clip), "What?", "--backend", "decord"]) == 4
    assert main(["ask", str(clip), "What?", "--backend", "opencv"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "--backend pyav" in told[0] and "choose from pyav, decord, auto" in told[1]


def test_closing_ends_the_child(clip: Path) -> None:
    with open_video(clip, "decord") as video:
        assert isinstance(video, DecordSource)
        next(video.frames(video.info.frame_times))
        child = video._child
        assert child is not None and child._process.poll() is None
    assert child._process.returncode == -9
    assert "decord" not in sys.modules  # never beside torch and PyAV
