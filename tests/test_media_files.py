"""Files as they are found: real clips one by one, and everything that is no video says so in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from qvl_cli.errors import EncryptedMedia, MediaError
from qvl_cli.media import content_hash, info_dict, open_video, probe
from tests.clips import write_clip, x264

STEADY = [40 * n for n in range(10)]


def _write_audio(path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 8000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _write_foreign_codec(path: Path) -> None:
    data = write_clip(path, STEADY, options=x264()).read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzz9"))


def _write_empty_track(path: Path) -> None:
    whole = write_clip(path, STEADY, options=x264(), mux={"movflags": "frag_keyframe+empty_moov"})
    data = whole.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])


def _write_cut_before_index(path: Path) -> None:
    data = write_clip(path, STEADY, options=x264()).read_bytes()
    path.write_bytes(data[: data.index(b"moov")])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.mp4": (lambda path: None, "does not exist"),
    "folder.mp4": (lambda path: path.mkdir(), "is a directory"),
    "empty.mp4": (lambda path: path.touch(), "is empty"),
    "pipe.mp4": (lambda path: os.mkfifo(path), "not a regular file"),
    "noise.mp4": (lambda path: path.write_bytes(bytes(range(256)) * 64), "cannot be read as video"),
    "notes.txt": (lambda path: path.write_text("no video\n" * 99), "is text"),
    "sound.m4a": (_write_audio, "holds no video, only audio"),
    "foreign.mp4": (_write_foreign_codec, "zzz9 video, which cannot be decoded"),
    "no-frames.mp4": (_write_empty_track, "without a single frame"),
    "cut-early.mp4": (_write_cut_before_index, "cut off before its index"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_says_so_in_one_line(tmp_path: Path, name: str) -> None:
    write, says = BAD[name]
    path = tmp_path / name
    write(path)
    for opened in (probe, open_video):
        with pytest.raises(MediaError) as raised:
            opened(path)
        assert says in str(raised.value)
        assert raised.value.remedy
        assert "\n" not in str(raised.value)
        assert raised.value.exit_code == 3


def test_a_line_break_in_a_name_stays_on_the_line(tmp_path: Path) -> None:
    for name in ("a\nb.mp4", "\udcff.mp4", "\x1b[31m.mp4"):
        with pytest.raises(MediaError) as raised:
            probe(tmp_path / name)
        assert str(raised.value).isprintable()
        str(raised.value).encode()


def test_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "zero").write_bytes(b"\0")
    known = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert content_hash(tmp_path / "zero") == known
    with pytest.raises(MediaError):
        content_hash(tmp_path / "missing")


def test_info_is_json(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "clip.mp4", [t + 1000 for t in STEADY], options=x264()))
    told = json.loads(json.dumps(info_dict(info)))
    assert told["duration"] == 0.4 and told["duration_exact"] == "2/5"
    assert told["start"] == 1.0 and told["frames"] == 10 and told["keyframes"] == [0.0]
    assert told["average_rate_exact"] == "25" and told["variable_rate"] is False
    assert told["display_size"] == [160, 64] and told["codec"] == "h264" and told["holes"] == []


def test_broken_files_leave_stderr_alone(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(100)], options=x264())
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    script = (
        "import sys\n"
        "from qvl_cli.media import open_video\n"
        "with open_video(sys.argv[1]) as video:\n"
        "    print(len(list(video.frames(video.info.frame_times))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert 0 < int(done.stdout) < 100


# Real clips: (frames, seconds, start). Where a header differs from the packets, the packets count.
CLIPS: dict[str, tuple[int, float, float]] = {
    "awkward/-video-with-dash-.mp4": (5, 5.0, 0.0),
    "awkward/av1_video.mkv": (125, 5.0, 0.0),
    "awkward/bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4": (120, 4.0, 10.0),
    "awkward/corrupted.mp4": (50, 5.0, 0.0),
    "awkward/edit_list_positive_shift.mp4": (270, 9.0, 1.0),
    "awkward/flower-fragmented.mp4": (150, 5.005, 0.0667),
    "awkward/h265_10bits.mp4": (30, 1.0, 0.0),
    "awkward/iibbibb_editlist_videoonly.mp4": (12, 12.0, 0.0),
    "awkward/long_1080p_lowbitrate.mp4": (10883, 362.7667, 0.0),
    "awkward/nasa_13013_hdr.mp4": (325, 13.0, 0.0),
    "awkward/newtonscradle.gif": (36, 0.82, 0.0),
    "awkward/no_timescale.mp4": (182, 6.0424, 0.0664),
    "awkward/playable_but_bad_container.mkv": (150, 5.0, 0.0),
    "awkward/roadtrip-vp92-10bit.webm": (72, 3.002, 0.0),
    "awkward/sample.flv": (30, 1.0, 0.067),
    "awkward/sample_h265.ts": (30, 1.0, 1.4667),
    "awkward/sample_missing_stsd.mp4": (30, 1.001, 0.0),
    "awkward/sample_shorter_audio.mp4": (72, 1.2, 0.0),
    "awkward/sample_vvc.mp4": (120, 5.0, 0.0),
    "awkward/sample_with_overlapping_srt.mkv": (30, 1.0, 0.067),
    "awkward/test.webm": (94, 3.137, 0.0),
    "awkward/test_non_zero_start.mp4": (12, 0.4, 8.333),
    "awkward/testsrc2_odd_height_and_width_vp9_10bit.mp4": (25, 1.0, 0.0),
    "awkward/transparent.gif": (1, 0.1, 0.0),
    "awkward/v300_multiple_segments.mp4": (240, 8.0, 0.0667),
    "awkward/video_270.mov": (3, 0.1, 0.0),
    "awkward/video_with_failing_audio.mp4": (280, 11.2, 0.0),
    "content/audiovideo.mov": (104, 10.4, 0.0),
    "content/big_buck_bunny_0_30.webm": (720, 29.999, 0.003),
    "content/bikes.mp4": (250, 10.0, 0.0),
    "content/bipbop_timecode_60s.ts": (1825, 60.8942, 10.0),
    "content/black.mp4": (40, 40.0, 0.0),
    "content/bottle-detection.mp4": (1189, 39.8547, 0.0),
    "content/flower.mp4": (150, 5.005, 0.0),
    "content/nasa_13013.mp4": (390, 13.013, 0.0),
    "content/one-by-one-person-detection.mp4": (1394, 139.4, 0.0),
    "content/pigs_in_a_polka.gif": (30, 3.0, 0.0),
    "content/scene-change.mov": (19, 20.0, 0.0),
    "content/tears-of-steel-battle-clip-medium.webm": (1691, 70.458, 0.0),
}
DAMAGED = {"awkward/corrupted.mp4", "awkward/no_timescale.mp4"}
REFUSED = {
    "awkward/cbcs.mp4": (EncryptedMedia, "encrypted"),
    "awkward/invalid-bitstream.webm": (MediaError, "no frame of the vp9 video"),
}


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_open_and_give_frames_of_the_asked_times(shared: Path, name: str) -> None:
    if name == "awkward/sample_vvc.mp4" and "vvc" not in av.codecs_available:
        with pytest.raises(MediaError, match="vvc"):
            probe(shared / "media" / name)
        return
    frames, seconds, start = CLIPS[name]
    with open_video(shared / "media" / name) as video:
        info = video.info
        assert len(info.frame_times) == frames
        assert float(info.duration) == pytest.approx(seconds, abs=1e-3)
        assert float(info.start) == pytest.approx(start, abs=1e-3)
        assert info.frame_times[0] == 0 and list(info.frame_times) == sorted(set(info.frame_times))
        assert all(time in info.frame_times for time in info.keyframes)
        wanted = sorted({info.frame_times[frames * n // 5] for n in range(5)})
        shown = list(video.frames(wanted))
        if name not in DAMAGED:
            assert [frame.time for frame in shown] == wanted
            assert video.lost == []
        upright = (info.coded_height, info.coded_width)
        for frame in shown:
            assert frame.pixels.shape == (*(upright[::-1] if info.rotation in (90, 270) else upright), 3)


@pytest.mark.parametrize("name", REFUSED)
def test_real_clips_that_must_be_refused(shared: Path, name: str) -> None:
    kind, says = REFUSED[name]
    with pytest.raises(MediaError, match=says) as raised:
        open_video(shared / "media" / name)
    assert type(raised.value) is kind


def test_every_shared_clip_has_an_expectation(shared: Path) -> None:
    found = {str(path.relative_to(shared / "media")) for path in (shared / "media").glob("*/*")}
    assert found == CLIPS.keys() | REFUSED.keys()


def test_a_lying_header_is_a_hole_and_not_a_duration(shared: Path) -> None:
    info = probe(shared / "media/awkward/v300_multiple_segments.mp4")
    assert info.duration == 8
    assert [(hole.start, hole.end) for hole in info.holes] == [(8, 3900)]


def test_one_undecodable_frame_is_lost_alone_until_the_next_good_one(shared: Path) -> None:
    with open_video(shared / "media/awkward/corrupted.mp4") as video:
        times = [frame.time for frame in video.frames(video.info.frame_times)]
        assert Fraction(3) not in times
        assert len(times) >= 45
        assert video.lost[0].start == 3
        assert sum(span.duration for span in video.lost) < 1


def test_turned_and_stretched_clips_are_sized_as_shown(shared: Path) -> None:
    turned = probe(shared / "media/awkward/video_270.mov")
    assert (turned.width, turned.height, turned.rotation) == (320, 568, 270)
    stretched = probe(shared / "media/content/audiovideo.mov")
    assert (stretched.width, stretched.height) == (853, 480)
    broken_matrix = probe(shared / "media/awkward/no_timescale.mp4")
    assert (broken_matrix.rotation, broken_matrix.width) == (0, 320)


def test_the_default_stream_of_several_is_chosen(shared: Path) -> None:
    info = probe(shared / "media/content/nasa_13013.mp4")
    assert (info.coded_width, info.coded_height) == (480, 270)
    assert len(info.audio) == 2 and len(info.subtitles) == 2
    assert "eng" in info.audio[0]


def test_a_scene_change_is_where_its_maker_says(shared: Path) -> None:
    with open_video(shared / "media/content/scene-change.mov") as video:
        frames = {frame.time: frame.pixels.astype(int) for frame in video.frames(video.info.frame_times)}
    times = sorted(frames)
    changes = [b for a, b in pairwise(times) if np.abs(frames[b] - frames[a]).mean() > 10]
    assert changes == [12]
