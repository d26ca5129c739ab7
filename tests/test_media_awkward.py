"""Codecs, pixel formats and containers as cameras and broadcasters make them, each with numbered frames."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from qvl_cli.media import open_video
from tests.clips import numbered, read_number, write_clip, x264

STEADY = [40 * n for n in range(30)]
RATE = Fraction(1, 25)
MPEG2 = {"codec": "mpeg2video", "time_base": RATE}

# name: (arguments of write_clip, ticks, pixel format expected)
CLIPS: dict[str, tuple[dict[str, object], list[int], str]] = {
    "mpeg2.ts": ({**MPEG2, "options": {"bf": "2", "g": "12"}}, list(range(30)), "yuv420p"),
    "mpeg2.mkv": ({**MPEG2, "options": {"bf": "2", "g": "12"}}, list(range(30)), "yuv420p"),
    "interlaced-mpeg2.ts": (
        {**MPEG2, "options": {"bf": "2", "flags": "+ildct+ilme"}},
        list(range(30)),
        "yuv420p",
    ),
    "interlaced.mp4": ({"options": x264(extra=":interlaced=1")}, STEADY, "yuv420p"),
    "mjpeg.avi": (
        {"codec": "mjpeg", "pixel_format": "yuvj420p", "time_base": RATE},
        list(range(30)),
        "yuvj420p",
    ),
    "mjpeg.mov": ({"codec": "mjpeg", "pixel_format": "yuvj422p"}, STEADY, "yuvj422p"),
    "prores.mov": ({"codec": "prores_ks", "pixel_format": "yuv422p10le"}, STEADY, "yuv422p10le"),
    "prores-alpha.mov": (
        {"codec": "prores_ks", "pixel_format": "yuva444p10le", "options": {"profile": "4444"}},
        STEADY,
        "yuva444p12le",  # as the decoder gives it
    ),
    "deep.mp4": ({"pixel_format": "yuv420p10le", "options": x264()}, STEADY, "yuv420p10le"),
    "full-chroma.mp4": ({"pixel_format": "yuv444p", "options": x264()}, STEADY, "yuv444p"),
    "alpha.mov": ({"codec": "qtrle", "pixel_format": "argb"}, STEADY, "argb"),
    "lossless.mkv": ({"codec": "ffv1", "pixel_format": "bgra"}, STEADY, "bgra"),
    "fast.mp4": (
        {"time_base": Fraction(1, 240), "options": x264()},
        list(range(240)),
        "yuv420p",
    ),
    "late-b-frames.mp4": ({"options": x264(bframes=3)}, [t + 777 for t in STEADY], "yuv420p"),
    "late-b-frames.mov": ({"options": x264(bframes=3)}, [t + 10_000 for t in STEADY], "yuv420p"),
}


@pytest.mark.parametrize("name", CLIPS)
def test_every_kind_gives_the_numbered_frames(tmp_path: Path, name: str) -> None:
    options, ticks, pixels = CLIPS[name]
    path = write_clip(tmp_path / name, ticks, **options)  # type: ignore[arg-type]
    base = options.get("time_base", Fraction(1, 1000))
    with open_video(path) as video:
        info = video.info
        assert list(info.frame_times) == [(tick - ticks[0]) * base for tick in ticks]  # type: ignore[operator]
        assert info.pixel_format == pixels
        assert [read_number(frame.pixels) for frame in video.frames(info.frame_times)] == list(
            range(len(ticks))
        )
        some = sorted(random.Random(5).sample(range(len(ticks)), 4))
        frames = video.frames([info.frame_times[n] for n in some])
        assert [read_number(frame.pixels) for frame in frames] == some
        assert video.lost == []


def test_8k_is_decoded_at_its_size(tmp_path: Path) -> None:
    path = tmp_path / "8k.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options=x264(bframes=0))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 7680, 4320, "yuv420p"
        for n in range(2):
            frame = av.VideoFrame(7680, 4320, "yuv420p")
            for plane, level in zip(frame.planes, (40 + 160 * n, 128, 128), strict=True):
                plane.update(bytes([level]) * plane.buffer_size)
            frame.pts = n
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with open_video(path) as video:
        dark, light = (frame.pixels for frame in video.frames(video.info.frame_times))
    assert dark.shape == light.shape == (4320, 7680, 3)
    assert dark[::99, ::99].mean() < 60 and light[::99, ::99].mean() > 180


def _two_streams(path: Path, default: int) -> None:
    """Stream 0 says 1, 2, 3; stream 1 says 501, 502, 503."""
    from av.stream import Disposition

    with av.open(str(path), "w") as out:
        streams = []
        for number in range(2):
            stream = out.add_stream("libx264", rate=25, options=x264(bframes=0))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p"
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append(stream)
        for n in range(3):
            for number, stream in enumerate(streams):
                frame = av.VideoFrame.from_ndarray(numbered(n + 1 + 500 * number), format="rgb24")
                frame.pts = n
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))


@pytest.mark.parametrize("default", [0, 1])
def test_of_two_video_streams_the_default_one_is_watched(tmp_path: Path, default: int) -> None:
    _two_streams(tmp_path / "two.mkv", default)
    with open_video(tmp_path / "two.mkv") as video:
        shown = [read_number(frame.pixels) for frame in video.frames(video.info.frame_times)]
    assert shown == [n + 1 + 500 * default for n in range(3)]


def test_a_jump_of_the_transport_clock_is_time_and_not_a_restart(tmp_path: Path) -> None:
    ticks = [3600 * n + (900_000 if n >= 50 else 0) for n in range(100)]
    path = write_clip(tmp_path / "jump.ts", ticks, Fraction(1, 90_000), options=x264())
    with open_video(path) as video:
        times = video.info.frame_times
        assert list(times) == [Fraction(tick, 90_000) for tick in ticks]
        wanted = [3, 49, 50, 99]
        frames = video.frames([times[n] for n in wanted])
        assert [read_number(frame.pixels) for frame in frames] == wanted
        # Between the parts the last picture before the jump is on screen.
        assert read_number(next(video.frames([times[49] + 5])).pixels) == 49


def test_a_wrap_with_b_frames_and_open_gops_plays_on(tmp_path: Path) -> None:
    ticks = [2**33 - 126_000 - 90_000 + 3600 * n for n in range(100)]
    path = write_clip(tmp_path / "wrap.ts", ticks, Fraction(1, 90_000), options=x264(extra=":open-gop=1"))
    with open_video(path) as video:
        assert list(video.info.frame_times) == [Fraction(n, 25) for n in range(100)]
        assert [read_number(f.pixels) for f in video.frames(video.info.frame_times)] == list(range(100))


@pytest.mark.parametrize("name", [b"-f.mp4", b"a:b.mp4", b"new\nline.mp4", b"\xff\xfe.mp4"])
def test_the_command_takes_any_name(tmp_path: Path, name: bytes) -> None:
    plain = write_clip(tmp_path / "plain.mp4", STEADY[:3], options=x264())
    (tmp_path / os.fsdecode(name)).write_bytes(plain.read_bytes())
    script = "import sys; from qvl_cli.cli.app import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "probe", "-f", "json", "--", name],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'"frames": 3' in done.stdout


def test_alpha_does_not_change_the_colours(tmp_path: Path) -> None:
    path = tmp_path / "half.mov"
    rgba = np.dstack([numbered(300), np.full((64, 160), 128, np.uint8)])
    with av.open(str(path), "w") as out:
        stream = out.add_stream("qtrle", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "argb"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba), format="rgba")))
        out.mux(stream.encode(None))
    with open_video(path) as video:
        np.testing.assert_array_equal(next(video.frames([Fraction(0)])).pixels, numbered(300))
