"""The frame asked for is the frame given: burnt-in numbers against presentation times."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from qvl_cli.media import content_hash, info_dict, open_video, probe
from qvl_cli.media.ffmpeg import find_ffmpeg
from qvl_cli.timeline import TimeSpan
from tests.clips import numbered, read_number, write_clip, x264

STEADY = [40 * n for n in range(100)]
UNEVEN = [0]
_gaps = random.Random(7)
for _ in range(99):
    UNEVEN.append(UNEVEN[-1] + _gaps.choice([10, 33, 40, 41, 500, 1234]))

OPEN_GOP = ":open-gop=1"
CLIPS: dict[str, dict[str, object]] = {
    "b-frames.mp4": {"pts": STEADY, "options": x264()},
    "vfr.mp4": {"pts": UNEVEN, "options": x264()},
    "vfr.mkv": {"pts": UNEVEN, "options": x264()},
    "late.mp4": {"pts": [t + 5000 for t in STEADY], "options": x264()},
    "late.mkv": {"pts": [t + 5000 for t in UNEVEN], "options": x264()},
    "late.ts": {
        "pts": [90 * t + 900_000 for t in UNEVEN],
        "time_base": Fraction(1, 90_000),
        "options": x264(),
    },
    "ntsc.mp4": {"pts": [1001 * n for n in range(100)], "time_base": Fraction(1, 30_000), "options": x264()},
    "open-gop.mp4": {"pts": STEADY, "options": x264(extra=OPEN_GOP)},
    "open-gop.ts": {"pts": STEADY, "options": x264(extra=OPEN_GOP)},
    "one-keyframe.mp4": {"pts": STEADY, "options": x264(keyint=999)},
    "intra-refresh.mp4": {"pts": STEADY, "options": x264(bframes=0, extra=":intra-refresh=1")},
    "fragments.mp4": {"pts": STEADY, "options": x264(), "mux": {"movflags": "frag_keyframe+empty_moov"}},
    "flash.flv": {"pts": STEADY, "options": x264()},
    "reordered.avi": {"pts": range(100), "time_base": Fraction(1, 25), "options": x264()},
    "plain.avi": {"pts": range(100), "time_base": Fraction(1, 25), "options": x264(bframes=0)},
    "no-times.h264": {"pts": range(100), "time_base": Fraction(1, 25), "options": x264()},
    "program.mpg": {
        "pts": range(100),
        "time_base": Fraction(1, 25),
        "codec": "mpeg2video",
        "options": {"bf": "2"},
    },
    "hidden-frames.webm": {
        "pts": UNEVEN,
        "codec": "libvpx",
        "options": {"cpu-used": "8", "deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "8"},
    },
    "moving.gif": {"pts": range(100), "time_base": Fraction(1, 25), "codec": "gif", "pixel_format": "rgb8"},
    "single.mp4": {"pts": [0], "options": x264()},
}


@pytest.fixture(scope="module", params=CLIPS)
def clip(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Fraction]]:
    """(file, the time of every frame from the first one)."""
    options = dict(CLIPS[request.param])
    pts = list(options.pop("pts"))  # type: ignore[call-overload]
    base = options.get("time_base", Fraction(1, 1000))
    path = write_clip(tmp_path_factory.mktemp("clips") / request.param, pts, **options)  # type: ignore[arg-type]
    return path, [(tick - pts[0]) * base for tick in pts]


def test_every_frame_time_is_known_without_decoding(clip: tuple[Path, list[Fraction]]) -> None:
    path, times = clip
    info = probe(path)
    assert list(info.frame_times) == times
    assert info.holes == ()
    assert info.duration > times[-1]


def test_frames_in_order_show_their_numbers(clip: tuple[Path, list[Fraction]]) -> None:
    path, times = clip
    with open_video(path) as video:
        frames = list(video.frames(times))
        assert [frame.time for frame in frames] == times
        assert [read_number(frame.pixels) for frame in frames] == list(range(len(times)))
        assert video.lost == []


def test_far_apart_frames_show_their_numbers(clip: tuple[Path, list[Fraction]]) -> None:
    path, times = clip
    chance = random.Random(3)
    with open_video(path) as video:
        for count in (1, 3, 6):  # the same source again: it has to go back, and forward by seeking
            wanted = sorted(chance.choices(range(len(times)), k=count))
            frames = list(video.frames([times[n] for n in wanted]))
            assert [read_number(frame.pixels) for frame in frames] == wanted
        assert video.lost == []


def test_between_frames_the_earlier_one_is_on_screen(clip: tuple[Path, list[Fraction]]) -> None:
    path, times = clip
    with open_video(path) as video:
        ends = [*times[1:], video.info.duration]
        shortly_before = [end - Fraction(1, 10_000_000) for end in ends]
        assert [frame.time for frame in video.frames(shortly_before)] == times
        twice = list(video.frames([times[-1], times[-1], video.info.duration + 9]))
        assert twice[0] is twice[1] is twice[2]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True)])
def test_turned_and_mirrored_pictures_come_upright(
    tmp_path: Path, degrees: int, mirrored: tuple[bool, bool]
) -> None:
    turned = (float(degrees), *mirrored)
    path = write_clip(tmp_path / "turned.mp4", STEADY[:5], options=x264(), turned=turned)
    with open_video(path) as video:
        assert (video.info.width, video.info.height) == (160, 64)
        assert [read_number(frame.pixels) for frame in video.frames(video.info.frame_times)] == list(range(5))
        if mirrored == (False, False):
            assert video.info.rotation == -degrees % 360


def test_pixels_equal_pyavs_own_rgb(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", STEADY[:30], options=x264())
    with av.open(str(path)) as container:
        truth = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_video(path) as video:
        for frame, pixels in zip(video.frames(video.info.frame_times), truth, strict=True):
            assert frame.pixels.flags.c_contiguous
            np.testing.assert_array_equal(frame.pixels, pixels)


def test_sample_aspect_widens_the_display_not_the_pixels(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "wide.mp4", STEADY[:3], options=x264(), aspect=Fraction(4, 3))
    with open_video(path) as video:
        assert video.info.sample_aspect_ratio == Fraction(4, 3)
        assert (video.info.width, video.info.height) == (213, 64)
        assert next(video.frames([Fraction(0)])).pixels.shape == (64, 160, 3)


def test_rates_are_told_apart(tmp_path: Path) -> None:
    steady = probe(write_clip(tmp_path / "steady.mkv", [33, 67, 100, 133, 167, 200], options=x264()))
    uneven = probe(write_clip(tmp_path / "uneven.mkv", UNEVEN, options=x264()))
    assert (steady.variable_rate, uneven.variable_rate) == (False, True)
    ntsc = write_clip(
        tmp_path / "ntsc.mp4", [1001 * n for n in range(9)], Fraction(1, 30_000), options=x264()
    )
    assert probe(ntsc).average_rate == Fraction(30_000, 1001)


def test_cover_art_is_never_the_film(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    film = write_clip(tmp_path / "film.mp4", STEADY[:10], options=x264())
    with av.open(str(film)) as source, av.open(str(path), "w") as out:
        cover = out.add_stream("mjpeg")
        assert isinstance(cover, av.VideoStream)
        cover.width, cover.height, cover.pix_fmt = 640, 640, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        copy = out.add_stream_from_template(source.streams.video[0])
        out.mux(cover.encode(av.VideoFrame(640, 640, "yuvj420p")))
        out.mux(cover.encode(None))
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    info = probe(path)
    assert (info.codec, info.coded_width, len(info.frame_times)) == ("h264", 160, 10)


@pytest.mark.parametrize(
    "name",
    [
        b"-x.mp4",
        b"a:b.mp4",
        b"http:x.mp4",
        b"new\nline.mp4",
        b"%03d.mp4",
        b"a?b#c*.mp4",
        b"\xff\xfe.mp4",
        b"pipe:0",
    ],
)
def test_names_are_only_names(tmp_path: Path, name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write_clip(tmp_path / "plain.mp4", STEADY[:3], options=x264())
    path = Path(os.fsdecode(name))
    monkeypatch.chdir(tmp_path)
    path.write_bytes(plain.read_bytes())
    with open_video(path) as video:
        assert [read_number(frame.pixels) for frame in video.frames(video.info.frame_times)] == [0, 1, 2]
        assert info_dict(video.info)["path"] == str(path)
    assert content_hash(path) == content_hash(plain)


def test_a_file_cut_off_in_the_middle_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", STEADY, options=x264(), mux={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 4 // 5])
    with open_video(cut) as video:
        info = video.info
        assert Fraction(1) < info.duration < Fraction(4)
        assert info.holes[-1] == TimeSpan(info.duration, Fraction(4))
        frames = list(video.frames(info.frame_times))
        assert len(frames) >= len(info.frame_times) - 2
        assert all(read_number(frame.pixels) == frame.time * 25 for frame in frames)


@pytest.mark.parametrize("left", ["most of a fragment", "half a header"])
def test_a_fragmented_file_that_breaks_off_says_so(tmp_path: Path, left: str) -> None:
    mux = {"movflags": "frag_keyframe+empty_moov"}
    data = write_clip(tmp_path / "whole.mp4", STEADY, options=x264(), mux=mux).read_bytes()
    assert not probe(tmp_path / "whole.mp4").cut_off
    second = data.index(b"moof", data.index(b"moof") + 4) - 4
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: second + 20 if left == "half a header" else second - 10])
    info = probe(cut)
    assert info.cut_off and info.duration < 4


@pytest.mark.parametrize("suffix", ["mkv", "flv"])
def test_a_header_that_promises_more_leaves_a_hole(tmp_path: Path, suffix: str) -> None:
    whole = write_clip(tmp_path / f"whole.{suffix}", STEADY, options=x264())
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    info = probe(cut)
    assert info.duration < 3
    assert info.holes[-1].start == info.duration
    assert abs(info.holes[-1].end - 4) < Fraction(1, 5)


def test_a_track_that_outlasts_the_picture_promises_no_picture(tmp_path: Path) -> None:
    film, words, both = tmp_path / "film.mp4", tmp_path / "words.srt", tmp_path / "both.mkv"
    write_clip(film, STEADY, options=x264())
    words.write_text("1\n00:00:30,000 --> 00:00:32,000\nthe end\n")
    command = [find_ffmpeg(), "-v", "error", "-i", film, "-i", words, "-c:v", "copy", "-c:s", "srt", both]
    subprocess.run(command, check=True)
    with open_video(both) as video:
        assert video.info.subtitles and video.info.holes == () and video.info.duration == 4


def test_decoding_holds_few_frames(tmp_path: Path) -> None:
    """A walk through 1280x640 pictures stays far below the 360 MB they take together."""
    path = tmp_path / "big.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options=x264())
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 1280, 640, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.tile(numbered(5), (10, 8, 1)), format="rgb24")
        for n in range(150):
            picture.pts = n
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    script = (
        "import resource, sys\n"
        "from qvl_cli.media import open_video\n"
        "def peak():\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with open_video(sys.argv[1]) as video:\n"
        "    next(video.frames([0]))\n"
        "    before = peak()\n"
        "    shown = sum(1 for _ in video.frames(video.info.frame_times))\n"
        "    print(shown, (peak() - before) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    shown, grown_mb = map(int, done.stdout.split())
    assert shown == 150
    assert grown_mb < 100


def _transport(path: Path, starts: int, frames: int = 100, extra: str = "") -> bytes:
    """A transport stream whose clock begins at `starts` seconds."""
    ticks = [90_000 * starts + 3600 * n for n in range(frames)]
    return write_clip(path, ticks, Fraction(1, 90_000), options=x264(extra=extra)).read_bytes()


JOINED: dict[str, tuple[list[tuple[int, int]], str]] = {  # (clock's start in seconds, frames) of each part
    "the same twice": ([(0, 100), (0, 100)], ""),
    "three, open GOPs": ([(0, 100), (0, 50), (0, 100)], OPEN_GOP),
    "back from 30 s": ([(30, 100), (0, 100)], ""),
    "back from far, which libav takes for a wrap": ([(9000, 100), (7, 100)], ""),
    "back into itself": ([(2, 100), (3, 60)], ""),
    "shorter than a second": ([(0, 20), (0, 20)], ""),
    "before and behind": ([(10, 50), (10, 100), (5, 50)], ""),
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_files_follow_each_other(tmp_path: Path, name: str) -> None:
    parts, extra = JOINED[name]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(_transport(tmp_path / "part.ts", *part, extra) for part in parts))
    wanted = [number for _, frames in parts for number in range(frames)]
    with open_video(path) as video:
        times = video.info.frame_times
        assert list(times) == [Fraction(n, 25) for n in range(len(wanted))]
        assert video.info.duration == Fraction(len(wanted), 25) and video.info.holes == ()
        assert [read_number(frame.pixels) for frame in video.frames(times)] == wanted
        chance = random.Random(3)
        for count in (1, 3, 6):  # back to the start and on, over the joints
            picked = sorted(chance.choices(range(len(wanted)), k=count))
            frames = list(video.frames([times[n] for n in picked]))
            assert [read_number(frame.pixels) for frame in frames] == [wanted[n] for n in picked]
        assert video.lost == []


def test_a_joined_program_stream_too(tmp_path: Path) -> None:
    part = write_clip(
        tmp_path / "part.mpg", range(100), Fraction(1, 25), codec="mpeg2video", options={"bf": "2"}
    )
    path = tmp_path / "joined.mpg"
    path.write_bytes(part.read_bytes() * 2)
    with open_video(path) as video:
        assert list(video.info.frame_times) == [Fraction(n, 25) for n in range(200)]
        numbers = [read_number(frame.pixels) for frame in video.frames(video.info.frame_times)]
        assert numbers == [*range(100), *range(100)]


@pytest.mark.parametrize("extra", ["", OPEN_GOP])
def test_a_part_that_begins_between_keyframes_loses_only_what_cannot_be_decoded(
    tmp_path: Path, extra: str
) -> None:
    data = _transport(tmp_path / "part.ts", 0, 100, extra)
    path = tmp_path / "joined.ts"
    path.write_bytes(data + data[188 * (len(data) // 188 // 2) :])
    with open_video(path) as video:
        times = video.info.frame_times
        frames = {frame.time: read_number(frame.pixels) for frame in video.frames(times)}
        assert [frames[time] for time in times[:100]] == list(range(100))
        behind = len(times) - 100  # the last frame is number 99, whatever was cut off before
        assert 30 < behind < 70
        late = {n: frames[times[n]] for n in range(100, len(times)) if times[n] in frames}
        assert len(late) > behind - 14
        assert all(number == 100 - len(times) + n for n, number in late.items())
        assert all((time in frames) != any(time in span for span in video.lost) for time in times)


def test_the_wrap_of_the_transport_clock_is_no_restart(tmp_path: Path) -> None:
    ticks = [2**33 - 126_000 - 180_000 + 3600 * n for n in range(100)]
    path = write_clip(tmp_path / "wrap.ts", ticks, Fraction(1, 90_000), options=x264())
    with open_video(path) as video:
        assert list(video.info.frame_times) == [Fraction(n, 25) for n in range(100)]
        wanted = [5, 40, 60, 99]
        frames = video.frames([video.info.frame_times[n] for n in wanted])
        assert [read_number(frame.pixels) for frame in frames] == wanted
        source: Any = video
        assert len(video.info.keyframes) > 1 and source._file.packets.restarts == {}


def test_descending_times_are_refused(tmp_path: Path) -> None:
    with open_video(write_clip(tmp_path / "clip.mp4", STEADY[:5], options=x264())) as video:
        with pytest.raises(ValueError, match="ascend"):
            list(video.frames([Fraction(1, 10), Fraction(0)]))
        video.close()
        video.close()
