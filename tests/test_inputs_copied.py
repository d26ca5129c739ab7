"""What cannot be read twice: standard input, URLs, playlists. Every copy is private, bounded and removed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from qvl_cli.errors import EncryptedMedia, MediaError, OverBudget
from qvl_cli.media import InputSettings, Source, open_video
from tests.clips import read_number, write_clip, x264
from tests.test_cli import QVL, environment
from tests.web_server import WebServer, serving

STEADY = [40 * n for n in range(50)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", STEADY, options=x264()).read_bytes()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that copies go to; empty again when a test ends."""
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # not among the copies
    yield folder
    assert list(folder.iterdir()) == []


def _numbers(video: Source) -> list[int]:
    return [read_number(frame.pixels) for frame in video.frames(video.info.frame_times)]


def _pipe(data: bytes, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """`qvl ARGUMENTS` with `data` on standard input and copies in `folder`."""
    return subprocess.run(
        [*QVL, *arguments],
        input=data,
        cwd=folder,
        env=environment(folder) | {"TMPDIR": str(folder)},
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_standard_input_is_probed_like_a_file(clip: bytes, copies: Path) -> None:
    done = _pipe(clip, copies, "probe", "-", "-f", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)
    assert (told["path"], told["frames"], told["duration_exact"]) == ("-", 50, "2")


@pytest.mark.parametrize(("data", "says"), [(b"", b"empty"), (b"no video\n" * 99, b"- is text")])
def test_standard_input_that_is_no_video_says_so(data: bytes, says: bytes, copies: Path) -> None:
    done = _pipe(data, copies, "probe", "-")
    assert done.returncode == 3 and says in done.stderr and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("sent", "code", "says"), [("SIGINT", 130, b"interrupted"), ("SIGTERM", 143, b"terminated")]
)
def test_a_copy_is_private_and_goes_on_a_signal(
    clip: bytes, copies: Path, sent: str, code: int, says: bytes
) -> None:
    process = subprocess.Popen(
        [*QVL, "probe", "-"],
        env=environment(copies.parent) | {"TMPDIR": str(copies)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(clip)
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not (found := list(copies.glob("*/input"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found[0].stat().st_mode & 0o777 == 0o600
    assert found[0].parent.stat().st_mode & 0o777 == 0o700
    process.send_signal(signal.Signals[sent])
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and says in said


def test_a_url_gives_the_same_frames_and_hash(clip: bytes, web: WebServer) -> None:
    web.files["/a%20b.mp4"] = clip
    web.redirects["/old"] = "/a%20b.mp4"
    heard: list[tuple[str, float, float]] = []
    settings = InputSettings(progress=lambda *said: heard.append(said))
    for name in ("/a b.mp4", "/old"):
        with open_video(web.url + name, settings=settings) as video:
            assert _numbers(video) == list(range(50))
            assert video.content_hash() == hashlib.sha256(clip).hexdigest()
        assert heard[-1] == (f"downloading {web.url}{name}", len(clip), len(clip))


def test_a_cut_connection_is_resumed_or_told(clip: bytes, web: WebServer) -> None:
    web.files["/a.mp4"], web.ranges, web.cuts = clip, True, 2
    with open_video(web.url + "/a.mp4") as video:
        assert _numbers(video) == list(range(50))
    assert len(web.requests) == 3
    web.cuts = 99
    with pytest.raises(MediaError, match=r"broke off after [\d,]+ of \d+ bytes"):
        open_video(web.url + "/a.mp4")
    web.ranges, web.cuts = False, 1
    with pytest.raises(MediaError, match="cannot resume"):
        open_video(web.url + "/a.mp4")


def test_what_a_url_cannot_give_is_said_in_one_line(clip: bytes, web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(clip)
    web.redirects["/file"] = (tmp_path / "secret.mp4").as_uri()
    web.redirects["/round"] = "/round"
    web.files["/text"] = b"not found, says the page" * 9
    for name, says in {
        "/missing": "answers 404",
        "/file": "not allowed",
        "/round": "infinite loop",
        "/text": f"{web.url}/text is text",
    }.items():
        with pytest.raises(MediaError, match=says) as raised:
            open_video(web.url + name)
        assert "\n" not in str(raised.value)
    with pytest.raises(MediaError, match="cannot be reached"):
        open_video("http://127.0.0.1:9/x.mp4")


def test_no_more_is_copied_than_allowed(clip: bytes, web: WebServer, copies: Path) -> None:
    web.files["/a.mp4"] = clip
    with pytest.raises(OverBudget, match="larger than"):
        open_video(web.url + "/a.mp4", settings=InputSettings(max_spool=len(clip) - 1))
    open_video(web.url + "/a.mp4", settings=InputSettings(max_spool=len(clip))).close()
    done = _pipe(clip, copies, "locate", "-", "x", "--max-spool", "1k")
    assert done.returncode == 5 and b"--max-spool" in done.stderr
    done = _pipe(clip, copies, "probe", "-", "--max-spool", "1k")
    assert done.returncode == 5 and b"--max-spool" in done.stderr
    assert _pipe(clip, copies, "probe", "-", "--max-spool", str(len(clip))).returncode == 0


def _write_playlist(folder: Path) -> Path:
    folder.mkdir()
    mux = {"hls_time": "0.4", "hls_playlist_type": "vod", "hls_list_size": "0"}
    ticks = [90 * each for each in STEADY]
    base = Fraction(1, 90_000)
    return write_clip(folder / "a.m3u8", ticks, base, options=x264(), container="hls", mux=mux)


def _serve(web: WebServer, folder: Path) -> str:
    web.files |= {f"/{each.name}": each.read_bytes() for each in folder.iterdir()}
    return web.url + "/a.m3u8"


def test_playlists_play_from_disk_and_from_afar(tmp_path: Path, web: WebServer) -> None:
    path = _write_playlist(tmp_path / "hls")
    hashes = set()
    for name in (path, _serve(web, path.parent)):
        with open_video(name) as video:
            assert list(video.info.frame_times) == [Fraction(n, 25) for n in range(50)]
            assert _numbers(video) == list(range(50))
            assert video.warnings == []
            hashes.add(video.content_hash())
    assert len(hashes) == 1
    web.redirects["/moved"] = "/a.m3u8"
    open_video(web.url + "/moved").close()


def test_a_playlist_of_several_clocks_plays_on(tmp_path: Path) -> None:
    path = _write_playlist(tmp_path / "hls")
    parts = [line for line in path.read_text().splitlines() if line.startswith("#EXTINF") or ".ts" in line]
    head, tail = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-PLAYLIST-TYPE:VOD\n", "#EXT-X-ENDLIST\n"
    twice = [*parts, "#EXT-X-DISCONTINUITY", *parts]
    path.write_text(head + "\n".join(twice) + "\n" + tail)
    with open_video(path) as video:
        assert list(video.info.frame_times) == [Fraction(n, 25) for n in range(100)]
        assert _numbers(video) == [*range(50), *range(50)]
        assert "jumps 1 times" in video.warnings[0]


def test_a_playlist_leads_only_where_it_may(tmp_path: Path, web: WebServer, clip: bytes) -> None:
    path = _write_playlist(tmp_path / "hls")
    text = path.read_text()
    address = _serve(web, path.parent)
    local = (path.parent / "a0.ts").as_uri()
    for target in (
        local,
        str(path.parent / "a0.ts"),
        "gopher://127.0.0.1/x",
        "concat:a0.ts",
        "subfile,,:a0.ts",
    ):
        web.files["/a.m3u8"] = text.replace("a0.ts", target).encode()
        with pytest.raises(MediaError):
            open_video(address)
    path.write_text(text.replace("a0.ts", web.url + "/a0.ts"))  # a local one may lead to the web
    with open_video(path) as video:
        assert _numbers(video) == list(range(50))


def test_a_part_that_is_missing_is_an_error_and_no_gap(tmp_path: Path, web: WebServer) -> None:
    path = _write_playlist(tmp_path / "hls")
    address = _serve(web, path.parent)
    for last in ("a1.ts", "a4.ts"):
        del web.files["/" + last]
        with pytest.raises(MediaError, match=rf"{last} answers 404"):
            open_video(address)
        _serve(web, path.parent)
    whole = web.files["/a3.ts"]
    web.redirects["/a3.ts"] = "/cut.ts"
    web.files["/cut.ts"] = whole
    web.cuts = 99
    with pytest.raises(MediaError, match="broke off"):
        open_video(web.url + "/a3.ts")
    web.cuts = 0
    (path.parent / "a2.ts").unlink()
    with pytest.raises(MediaError, match=r"a2\.ts: No such file"):
        open_video(path)


@pytest.mark.parametrize(
    ("left", "said"),
    [(b"", "is empty"), (b"<html>502 Bad Gateway</html>", "is a text"), (b"G" + bytes(500), "is cut off")],
)
def test_a_part_without_pictures_is_an_error(tmp_path: Path, web: WebServer, left: bytes, said: str) -> None:
    path = _write_playlist(tmp_path / "hls")
    (path.parent / "a2.ts").write_bytes(left)
    address = _serve(web, path.parent)
    for name in (path, address) if len(left) < 100 else (path,):  # a server says how long it is
        with pytest.raises(MediaError, match=rf"a2\.ts {said}"):
            open_video(name)


def test_a_part_that_holds_other_bytes_is_no_new_clock(tmp_path: Path) -> None:
    (folder := tmp_path / "hls").mkdir()
    mux = {"hls_time": "12", "hls_playlist_type": "vod", "hls_list_size": "0"}
    path = write_clip(
        folder / "a.m3u8", range(900), Fraction(1, 25), options=x264(), container="hls", mux=mux
    )
    (folder / "a1.ts").write_bytes(b"\0" * 188 * 20)
    with pytest.raises(MediaError, match=r"promises 12\.0 s more"):
        open_video(path)


def test_live_and_encrypted_playlists_are_refused(tmp_path: Path) -> None:
    path = _write_playlist(tmp_path / "hls")
    text = path.read_text()
    path.write_text(text.replace("#EXT-X-ENDLIST", "").replace("#EXT-X-PLAYLIST-TYPE:VOD\n", ""))
    with pytest.raises(MediaError, match="live playlist"):
        open_video(path)
    (path.parent / "key").write_bytes(os.urandom(16))
    path.write_text(text.replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="key"\n#EXTINF', 1))
    with pytest.raises(EncryptedMedia, match="encrypted"):
        open_video(path)
