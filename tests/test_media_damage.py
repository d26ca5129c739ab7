"""Files with bytes gone or zeroed: what is left keeps its times, and the rest is told."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from qvl_cli.media import open_video
from tests.clips import damage, read_number, write_clip, x264

STEADY = [40 * n for n in range(100)]


def test_bytes_missing_from_a_transport_stream_leave_a_hole(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "whole.ts", STEADY, options=x264()).read_bytes()
    packets = len(data) // 188
    cut = tmp_path / "cut.ts"
    cut.write_bytes(data[: 188 * (packets // 3)] + data[188 * (packets // 2) :])
    with open_video(cut) as video:
        assert len(video.info.holes) == 1
        hole = video.info.holes[0]
        assert Fraction(1, 4) < hole.duration < 2
        frames = list(video.frames(video.info.frame_times))
        assert all(read_number(frame.pixels) == frame.time * 25 for frame in frames)
        assert not any(frame.time in hole for frame in frames)


@pytest.mark.parametrize("percent", range(10, 80, 7))
def test_pictures_missing_among_reordered_ones_are_told_wherever_that_is(
    tmp_path: Path, percent: int
) -> None:
    data = write_clip(tmp_path / "whole.ts", STEADY, options=x264(bframes=3)).read_bytes()
    first = 188 * (len(data) // 188 * percent // 100)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(data[:first] + data[first + 188 * 21 :])
    with open_video(cut) as video:
        times, holes = video.info.frame_times, video.info.holes
        frames = list(video.frames(times))
        assert all(read_number(frame.pixels) == frame.time * 25 for frame in frames)  # nothing drawn over
        assert {*times} - {frame.time for frame in frames} == {
            time for time in times if any(time in span for span in video.lost)
        }
        assert len(frames) > 50
    missing = {Fraction(n, 25) for n in range(100)} - {*times}
    assert len(missing) > 8
    for time in missing - {time for time in missing if any(time in hole for hole in holes)}:
        before, after = max(t for t in times if t < time), min(t for t in times if t > time)
        assert after - before <= Fraction(1, 4)  # what is shorter is no hole


def test_a_damaged_run_is_lost_and_what_follows_is_found(tmp_path: Path) -> None:
    path = damage(write_clip(tmp_path / "damaged.mp4", STEADY, options=x264()))
    with open_video(path) as video:
        frames = list(video.frames(video.info.frame_times))
        seen = {frame.time for frame in frames}
        assert all(read_number(frame.pixels) == frame.time * 25 for frame in frames)
        assert 0 in seen and max(seen) == video.info.frame_times[-1]
        assert 10 < len(frames) < 90
        for time in video.info.frame_times:
            assert (time in seen) != any(time in span for span in video.lost)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_damaged_avi_keeps_its_times(tmp_path: Path, codec: str) -> None:
    """It stores none, so its frames are numbered, and some of them never come."""
    options = {"g": "25", "bf": "2"} if codec == "mpeg4" else x264() | {"g": "25"}
    path = write_clip(tmp_path / "damaged.avi", range(100), Fraction(1, 25), codec=codec, options=options)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for start, size in places[28:38]:
        data[start : start + size] = bytes(size)
    path.write_bytes(data)
    with open_video(path) as video:
        times = video.info.frame_times
        frames = list(video.frames(times))
        assert all(read_number(frame.pixels) == frame.time * 25 for frame in frames)
        seen = {frame.time for frame in frames}
        assert {*times[:26], *times[55:]} <= seen and len(times) == 100
        assert {time for time in times if any(time in span for span in video.lost)} == {*times} - seen
