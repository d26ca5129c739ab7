"""Live input through the ffmpeg program: the same frames and times as PyAV gives, and every way to end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qvl_cli.errors import BackendMissing, MediaError, UsageError
from qvl_cli.media.ffmpeg import find_ffmpeg, retries
from qvl_cli.media.live import LiveSource, open_live
from qvl_cli.media.source import open_file
from qvl_cli.timeline import TimeSpan
from tests.clips import read_number, write_clip, x264
from tests.web_server import WebServer, serving

STEADY = [40 * n for n in range(50)]
LENGTHY = [40 * n for n in range(400)]
JUMPY = [0, 40, 41, 300, 1000, 1040, 1900, 1901, 2500, 4000]
LONG = 120.0  # seconds of patience that no test should need


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


def _age(path: Path) -> Path:
    """As if nobody had written to it for an hour."""
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def _numbers(source: LiveSource) -> list[int]:
    return [read_number(picture.pixels()) for picture in source.pictures()]


def _ffmpeg(*arguments: str | Path) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("name", "pts", "more"),
    [
        ("steady.mp4", STEADY, {}),
        ("jumpy.mkv", JUMPY, {}),
        ("jumpy.mp4", [number + 700 for number in JUMPY], {}),
        ("b.ts", STEADY, {"time_base": Fraction(1, 25000)}),
        ("turned.mp4", STEADY, {"turned": (90, False, False)}),
        ("halved.mp4", STEADY, {"turned": (180, False, False)}),
        ("wide.mp4", STEADY, {"aspect": Fraction(4, 3)}),
        ("fragments.mp4", STEADY, {"mux": {"movflags": "frag_keyframe+empty_moov"}}),
        ("lossless.mkv", JUMPY, {"codec": "ffv1"}),
        ("pictures.avi", STEADY, {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
    ],
)
def test_frames_and_times_are_those_of_pyav(
    name: str, pts: list[int], more: dict[str, object], tmp_path: Path
) -> None:
    given = {"options": x264()} if "codec" not in more else {}
    if name == "b.ts":
        pts = [1000 * number for number in range(50)]
    path = _age(write_clip(tmp_path / name, pts, **given, **more))  # type: ignore[arg-type]
    with open_file(path) as file, open_live(str(path), LONG) as live:
        pictures = [(picture.time, picture.pixels()) for picture in live.pictures()]
        assert [time for time, _ in pictures] == list(file.info.frame_times)
        for frame, (_, pixels) in zip(file.frames(file.info.frame_times), pictures, strict=True):
            assert np.array_equal(frame.pixels, pixels)
        assert (live.info.width, live.info.height) == (file.info.width, file.info.height)
        assert live.ended == "end"
        if name not in ("jumpy.mkv", "jumpy.mp4", "lossless.mkv"):  # how long the last one stays is a guess
            assert live.end == file.info.duration
        assert live.lost == [] and live.warnings == []


def test_real_clips_are_the_same_too(shared: Path) -> None:
    for name in ("flower-fragmented.mp4", "sample_h265.ts", "test.webm", "sample.flv", "video_270.mov"):
        path = shared / "media" / "awkward" / name
        with open_file(path) as file, open_live(str(path), 1.0) as live:
            times = list(file.info.frame_times)
            pictures = list(live.pictures())
            assert [picture.time for picture in pictures] == times, name
            for frame, picture in zip(file.frames(times[:9]), pictures, strict=False):
                assert np.array_equal(frame.pixels, picture.pixels()), name


@pytest.mark.parametrize("kind", ["ts", "mkv", "mp4"])
def test_a_growing_file_is_followed_to_its_last_frame(kind: str, tmp_path: Path) -> None:
    mux = {"movflags": "frag_keyframe+empty_moov"} if kind == "mp4" else {}
    data = write_clip(tmp_path / f"whole.{kind}", STEADY, options=x264(), mux=mux).read_bytes()
    path = tmp_path / f"growing.{kind}"
    path.write_bytes(data[: len(data) // 3])

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            for at in range(len(data) // 3, len(data), 1000):
                file.write(data[at : at + 1000])
                time.sleep(0.02)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with open_live(str(path), 4.0) as live:
            assert _numbers(live) == list(range(50))
            assert (live.ended, live.warnings) == ("end", [])
    finally:
        writer.join()


def test_a_file_that_cannot_be_read_while_it_grows_says_what_can(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "whole.mp4", STEADY, options=x264()).read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")
    path = tmp_path / "growing.mp4"
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(MediaError, match=r"no index yet.*MPEG-TS"):
        open_live(str(path), LONG)
    path.write_bytes(data)  # finished a moment ago
    with open_live(str(path), LONG) as live:
        assert _numbers(live) == list(range(50))


@pytest.fixture
def silent_pipe(tmp_path: Path) -> Iterator[Path]:
    """A named pipe that gives two thirds of a clip and then nothing, without an end."""
    data = write_clip(tmp_path / "clip.ts", LENGTHY, options=x264()).read_bytes()
    path = tmp_path / "pipe"
    os.mkfifo(path)
    done = threading.Event()

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(data[: len(data) * 2 // 3])
            done.wait(600)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield path
    finally:
        done.set()
        writer.join()


def test_a_named_pipe_that_goes_silent_is_a_stall(silent_pipe: Path) -> None:
    with open_live(str(silent_pipe), 5.0) as live:
        numbers = _numbers(live)
        assert 100 < len(numbers) < 400  # of the last few some wait for pictures that never came
        assert numbers[:-5] == list(range(len(numbers) - 5))
        assert live.ended == "stall"
        assert [warning for warning in live.warnings if "sent nothing any more" in warning]


def test_a_picture_that_changes_its_size_and_a_clock_that_starts_again(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.ts", STEADY, options=x264())
    _ffmpeg("-i", small, "-vf", "scale=320:128", "-c:v", "libx264", tmp_path / "large.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + (tmp_path / "large.ts").read_bytes() + small.read_bytes())
    with open_live(str(_age(joined)), LONG) as live:
        pictures = list(live.pictures())
        shapes = [picture.pixels().shape for picture in pictures]
        assert shapes == [(64, 160, 3)] * 50 + [(128, 320, 3)] * 50 + [(64, 160, 3)] * 50
        times = [picture.time for picture in pictures]
        apart = [later - earlier for earlier, later in pairwise(times)]
        assert min(apart) > 0 and max(apart) <= Fraction(1, 10)
        assert [re.findall(r"changes to (\d+x\d+)", warning) for warning in live.warnings] == [
            ["320x128"],
            ["160x64"],
        ]


@pytest.mark.parametrize(("first", "last"), [(10, 95), (40, 60)], ids=["beyond ten seconds", "short"])
def test_what_never_came_is_missing_and_what_follows_keeps_its_time(
    first: int, last: int, tmp_path: Path
) -> None:
    data = write_clip(tmp_path / "whole.ts", LENGTHY, options=x264(bframes=0)).read_bytes()
    packets = len(data) // 188
    path = tmp_path / "cut.ts"
    path.write_bytes(data[: packets * first // 100 * 188] + data[packets * last // 100 * 188 :])
    with open_live(str(_age(path)), LONG) as live:
        pictures = [(picture.time, read_number(picture.pixels())) for picture in live.pictures()]
    assert all(time * 25 == number for time, number in pictures)
    (before, _), (after, _) = max(pairwise(pictures), key=lambda pair: pair[1][0] - pair[0][0])
    assert after - before > Fraction(last - first - 5, 100) * 16
    assert live.lost and live.lost[0].start <= before + Fraction(1, 25) and live.lost[-1].end >= after


def test_a_picture_that_stands_still_is_nothing_missing(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "jumpy.ts", [90 * tick for tick in JUMPY], Fraction(1, 90_000), options=x264()
    )
    with open_live(str(_age(path)), LONG) as live:
        assert len(list(live.pictures())) == len(JUMPY) and live.lost == []


def test_damage_is_passed_over_and_told(tmp_path: Path) -> None:
    options = x264(bframes=0, keyint=10)
    data = bytearray(write_clip(tmp_path / "clip.mkv", LENGTHY, options=options).read_bytes())
    middle = len(data) // 2
    data[middle - 200 : middle + 200] = bytes(range(50, 250)) * 2
    path = tmp_path / "bad.mkv"
    path.write_bytes(data)
    with open_live(str(_age(path)), LONG) as live:
        times = [picture.time for picture in live.pictures()]
        assert times[0] == 0 and times[-1] == Fraction(399, 25) and 300 < len(times) < 400
        # What the demuxer passes over leaves no picture that fails: ffmpeg's own word is all there is.
        assert live.lost or any("ffmpeg met damage" in warning for warning in live.warnings)


def test_http_is_watched_and_a_connection_that_breaks_off_is_told(web: WebServer, tmp_path: Path) -> None:
    web.files["/a.ts"] = write_clip(tmp_path / "clip.ts", STEADY, options=x264()).read_bytes()
    with open_live(web.url + "/a.ts", LONG) as live:
        assert _numbers(live) == list(range(50))
        assert (live.ended, live.warnings) == ("end", [])
    web.cuts = 99
    with open_live(web.url + "/a.ts", LONG) as live:
        numbers = _numbers(live)
        assert 5 < len(numbers) < 50
        assert live.ended == "break" and "broke off" in live.warnings[-1]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "aes-128"])
def test_a_live_playlist_is_followed_until_it_ends(encrypted: bool, web: WebServer, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", STEADY, options=x264(keyint=10))
    folder = tmp_path / "hls"
    folder.mkdir()
    more: list[str | Path] = []
    if encrypted:
        (tmp_path / "key").write_bytes(os.urandom(16))
        (tmp_path / "info").write_text(f"{web.url}/key\n{tmp_path / 'key'}\n")
        web.files["/key"] = (tmp_path / "key").read_bytes()
        more = ["-hls_key_info_file", tmp_path / "info"]
    _ffmpeg("-i", clip, "-c", "copy", "-f", "hls", "-hls_time", "0.4", "-hls_list_size", "0", *more,
            folder / "live.m3u8")  # fmt: skip
    for part in folder.glob("*.ts"):
        web.files[f"/{part.name}"] = part.read_bytes()
    # Written as 0 for parts this short: ffmpeg would ask a hundred times at once, then pass over a part.
    whole = (folder / "live.m3u8").read_text().replace("TARGETDURATION:0", "TARGETDURATION:1")
    begin = whole[: whole.index("#EXTINF", whole.index("#EXTINF", whole.index("#EXTINF") + 1) + 1)]
    assert whole.count("#EXTINF") == 5 and begin.count("#EXTINF") == 2 and "TARGETDURATION:1" in begin
    web.files["/live.m3u8"] = begin.encode()

    def grow() -> None:
        while web.requests.count("/live.m3u8") < 2:
            time.sleep(0.05)
        web.files["/live.m3u8"] = whole.encode()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with open_live(web.url + "/live.m3u8", LONG) as live:
            numbers = _numbers(live)
    finally:
        writer.join()
    assert numbers == list(range(50)) and live.ended == "end"


@pytest.mark.parametrize("late", [True, False], ids=["late", "gone"])
def test_a_part_of_a_playlist_is_waited_for_or_told(late: bool, web: WebServer, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", STEADY, options=x264(keyint=10))
    _ffmpeg("-i", clip, "-c", "copy", "-f", "hls", "-hls_time", "0.4", "-hls_list_size", "0",
            tmp_path / "live.m3u8")  # fmt: skip
    parts = sorted(tmp_path.glob("live*.ts"))
    web.files["/live.m3u8"] = (tmp_path / "live.m3u8").read_bytes()
    web.files |= {f"/{part.name}": part.read_bytes() for part in parts if part != parts[2]}

    def come() -> None:
        while not web.requests.count(f"/{parts[2].name}"):
            time.sleep(0.001)
        web.files[f"/{parts[2].name}"] = parts[2].read_bytes()

    writer = threading.Thread(target=come, daemon=True)
    if late and retries(find_ffmpeg()):
        writer.start()
        with open_live(web.url + "/live.m3u8", LONG) as live:
            assert _numbers(live) == list(range(50))
        writer.join()
    elif not late:
        with open_live(web.url + "/live.m3u8", LONG) as live:
            assert _numbers(live) == [*range(20), *range(30, 50)]
        assert live.lost == [TimeSpan(Fraction(4, 5), Fraction(6, 5))]
        assert any("are missing" in warning for warning in live.warnings), live.warnings


def test_no_address_leads_to_the_files_of_this_machine(web: WebServer, tmp_path: Path) -> None:
    secret = write_clip(tmp_path / "secret.ts", STEADY, options=x264())
    entry = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
    web.files["/list.m3u8"] = entry.format(secret.as_uri()).encode()
    web.files["/concat.txt"] = f"ffconcat version 1.0\nfile '{secret}'\n".encode()
    web.redirects["/moved"] = secret.as_uri()
    for name in ("/list.m3u8", "/concat.txt", "/moved", "/missing"):
        with pytest.raises(MediaError, match="cannot be watched"):
            open_live(web.url + name, LONG)
    for address in (secret.as_uri(), "lavfi://testsrc", "ftp://127.0.0.1/a.ts"):
        with pytest.raises(UsageError, match="is not followed"):
            open_live(address, LONG)
    with pytest.raises(MediaError, match="does not exist"):
        open_live(f"concat:{secret}", LONG)


def test_what_is_no_video_is_said_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("no video\n" * 99)
    for path, says in ((text, "cannot be watched"), (tmp_path, "directory"), (tmp_path / "no", "not exist")):
        if path.is_file():
            _age(path)
        with pytest.raises(MediaError, match=says) as raised:
            open_live(str(path), 1.0)
        assert "\n" not in str(raised.value)


def test_the_program_is_the_paths_own_or_the_packages_or_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "ffmpeg"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == str(own)
    own.unlink()
    assert Path(find_ffmpeg()).is_file()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(BackendMissing, match="pip install imageio-ffmpeg") as raised:
        open_live("x.ts", 1.0)
    assert raised.value.exit_code == 4


def test_closing_ends_the_program_and_a_stream_that_waits(silent_pipe: Path) -> None:
    with open_live(str(silent_pipe), LONG) as live:
        reader = threading.Thread(target=lambda: list(live.pictures()))
        reader.start()
        time.sleep(1.0)
        live.stop()
        reader.join(20)
        assert not reader.is_alive() and live.ended is None
    assert live._remux._process.poll() is not None


@pytest.mark.parametrize("name", ["page.pdf", "photo.mp4"])
def test_what_stands_still_is_no_stream(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    picture = Image.fromarray(np.zeros((64, 96, 3), np.uint8))
    picture.save(path, "PDF" if name.endswith("pdf") else "PNG")
    for each in (path, _age(path)):
        with pytest.raises(MediaError, match="no stream"), open_live(str(each), LONG):
            pass


def test_an_ffmpeg_that_is_killed_leaves_no_trace_but_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "grows.ts", LENGTHY)
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    with open_live(str(path), LONG) as source:
        pictures = source.pictures()
        next(pictures)
        source._remux._process.kill()
        for _ in range(5):
            with path.open("ab") as file:
                file.write(path.read_bytes()[: 188 * 200])
            time.sleep(0.05)
        assert sum(1 for _ in pictures) <= len(LENGTHY) + 5
    assert source.ended == "break" and raised == []
