"""`qvl watch` in processes of its own: pipes, growing files, signals, readers that leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from qvl_cli.media.ffmpeg import find_ffmpeg
from qvl_cli.timeline import TimeSpan
from tests.clips import write_clip, x264
from tests.test_cli import QVL, environment

pytestmark = pytest.mark.timeout(900)  # processes that load a model, on machines that may be busy
CLIP = Path(__file__).resolve().parents[1] / "sample_media" / "shapes-60s.mp4"
EVENT = "a ring"
TRUTH = [(8.01, 19.93), (37.74, 53.58)]
LIMIT = 600  # seconds that no test should need


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The clip as MPEG-TS."""
    path = tmp_path_factory.mktemp("stream") / "clip.ts"
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", str(CLIP), "-c", "copy", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path.read_bytes()


@contextmanager
def watching(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*QVL, "watch", *arguments],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with process:
            yield process
    finally:
        process.kill()


def _records(out: bytes) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(moments, done): all that was printed, and in this order."""
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["type"] for record in records] == ["moment"] * (len(records) - 1) + ["done"]
    return records[:-1], records[-1]


def _span(moment: dict[str, Any]) -> TimeSpan:
    return TimeSpan(Fraction(str(moment["start"])), Fraction(str(moment["end"])))


def _check(moments: list[dict[str, Any]]) -> None:
    """Both events, each once, told within seconds of their ends."""
    spans = [_span(moment) for moment in moments]
    for start, end in TRUTH:
        true = TimeSpan(Fraction(str(start)), Fraction(str(end)))
        (found,) = [at for at, span in enumerate(spans) if span.intersection(true)]
        assert spans[found].iou(true) > 0.5
        assert end < moments[found]["told_at"] < end + 8 and not moments[found]["ongoing"]
    assert [moment["event"] for moment in moments] == list(range(1, len(moments) + 1))


def test_a_pipe_and_a_growing_file_tell_the_same_events_once(stream: bytes, tmp_path: Path) -> None:
    with watching(tmp_path, "-", EVENT) as process:
        out, said = process.communicate(stream, timeout=LIMIT)
    assert process.returncode == 0, said
    piped, done = _records(out)
    _check(piped)
    assert (done["status"], done["exit_code"], done["ended"]) == ("ok", 0, "end")
    assert (done["task"], done["events"], done["media"]["duration"]) == ("watch", len(piped), 60.0)
    assert done["coverage"]["seen"] == [[0.0, 60.0]] and b"memory window" in said

    path = tmp_path / "growing.ts"
    path.write_bytes(stream[:50_000])
    grow = "import sys, time\nfor at in range(50000, len(d := open(sys.argv[1], 'rb').read()), 40000):\n"
    grow += "    open(sys.argv[2], 'ab').write(d[at : at + 40000])\n    time.sleep(0.1)\n"
    (tmp_path / "all.ts").write_bytes(stream)
    writer = subprocess.Popen([sys.executable, "-c", grow, str(tmp_path / "all.ts"), str(path)])
    with watching(tmp_path, str(path), EVENT, "--stall", "15", "-q") as process:
        out, said = process.communicate(timeout=LIMIT)
    assert writer.wait(LIMIT) == 0
    assert (process.returncode, said) == (0, b"")
    grown, done = _records(out)
    assert grown == piped and done["ended"] == "end"


@pytest.mark.parametrize(
    ("sent", "code", "status"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")]
)
def test_a_signal_ends_with_the_done_record(
    sent: str, code: int, status: str, stream: bytes, tmp_path: Path
) -> None:
    with watching(tmp_path, "-", EVENT, "--when", "start") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(stream)
        process.stdin.flush()  # and no end: the stream goes on
        first = process.stdout.readline()
        assert json.loads(first)["ongoing"] is True  # told while it is on, and before any end
        process.send_signal(signal.Signals[sent])
        rest = process.stdout.read()
        said = process.stderr.read() if process.stderr else b""
        process.wait(LIMIT)
    assert process.returncode == code and status.encode() in said
    _, done = _records(first + rest)
    assert (done["status"], done["exit_code"], done["task"]) == (status, code, "watch")
    assert b"Traceback" not in said


@pytest.mark.parametrize(("sent", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_it_before_anything_has_come(sent: str, code: int, tmp_path: Path) -> None:
    with watching(tmp_path, "-", EVENT) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text():  # ffmpeg is waiting for the stream
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.Signals[sent])
        assert process.wait(LIMIT) == code
        assert process.stderr is not None and b"Traceback" not in process.stderr.read()


def test_a_reader_that_leaves_ends_a_stream_that_goes_on(stream: bytes, tmp_path: Path) -> None:
    with watching(tmp_path, "-", EVENT) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(stream)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["event"] == 1
        process.stdout.close()  # `| head -1`
        assert process.wait(LIMIT) == 0
        assert process.stderr is not None and b"rror" not in process.stderr.read()


def test_a_stream_that_stalls_is_partial(stream: bytes, tmp_path: Path) -> None:
    with watching(tmp_path, "-", EVENT, "--stall", "10") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(stream[: len(stream) // 2])
        process.stdin.flush()
        out = process.stdout.read()
        process.wait(LIMIT)
    moments, done = _records(out)
    assert process.returncode == done["exit_code"] == 6
    assert (done["status"], done["ended"]) == ("partial", "stall")
    assert moments and any("sent nothing any more" in warning for warning in done["warnings"])


def test_what_cannot_be_watched_ends_in_a_line_and_a_done_record(tmp_path: Path) -> None:
    strange = write_clip(tmp_path / "strange.mkv", [40 * number for number in range(400)], options=x264())
    os.utime(strange, (time.time() - 3600,) * 2)
    for arguments, code, says in (
        (("no.ts", "x"), 3, "does not exist"),
        ((str(strange), "x"), 4, "not of the drawn world"),
        ((str(strange), "  "), 2, "nothing to watch for"),
        ((str(strange), "x", "--when", "never"), 2, "choose from end, start, both"),
        ((str(strange), "x", "--stall", "-1"), 2, "number above 0"),
        ((str(strange), "x", "--fps", "fast"), 2, "number above 0"),
        ((str(strange), "x", "--to", "soon"), 2, "as a time"),
    ):
        with watching(tmp_path, *arguments) as process:
            out, said = process.communicate(b"", timeout=LIMIT)
        assert process.returncode == code and says in said.decode(), said
        moments, done = _records(out)
        assert moments == [] and (done["status"], done["exit_code"], done["ended"]) == (
            "error",
            code,
            "error",
        )
        assert says in done["error"]


# A write to a file of ours that fails, and memory that runs out: while a stream is watched.
FAILING = """
import errno, os, sys
from qvl_cli.cli.app import main
from qvl_cli.stream import StreamSession

def fails(session):
    raise {error}

StreamSession.forget = fails
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        ("OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))", 1, "No space left"),
        ("MemoryError", 5, "out of mem"),
    ],
)
def test_what_fails_in_the_middle_of_a_stream_ends_in_a_done_record(
    error: str, code: int, says: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILING.format(error=error), "watch", str(CLIP), EVENT, "--stall", "1"],
        env=environment(tmp_path),
        capture_output=True,
        timeout=LIMIT,
    )
    assert ended.returncode == code and says in ended.stderr.decode()
    _, done = _records(ended.stdout)
    assert (done["status"], done["exit_code"], done["ended"]) == ("error", code, "error")
    assert says in done["error"]


def test_subtitles_that_other_commands_would_read_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(CLIP.read_bytes())
    (tmp_path / "clip.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    flags = ("clip.mp4", EVENT, "--to", "2", "--stall", "1")
    for setting, says in (
        ("auto", "clip.srt is not read"),
        ("talk.srt", "subs talk.srt has no"),
        ("none", ""),
    ):
        (tmp_path / "qvl.toml").write_text(f'subs = "{setting}"\n')
        with watching(tmp_path, *flags) as process:
            out, said = process.communicate(b"", timeout=LIMIT)
        assert process.returncode == 0, said
        told = [each for each in _records(out)[1]["warnings"] if "subtitles" in each]
        assert len(told) == bool(says) and all(says in each for each in told)


def test_up_to_a_time_and_nothing_found(stream: bytes, tmp_path: Path) -> None:
    def feed(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        try:
            for _ in range(50):
                process.stdin.write(stream)
        except OSError:
            pass  # it has seen enough

    flags = ("--to", "20", "--fail-empty", "--every", "4", "-q")
    with watching(tmp_path, "-", "an orange square", *flags) as process:
        feeder = threading.Thread(target=feed, args=(process,))
        feeder.start()
        assert process.stdout is not None
        out = process.stdout.read()
        process.wait(LIMIT)
        feeder.join(LIMIT)
    moments, done = _records(out)
    assert (process.returncode, done["status"], done["ended"], moments) == (10, "empty", "limit", [])
    assert done["media"]["duration"] == 20.0 and done["sampling"]["steps"] == 20


def test_looks_too_far_apart_to_see_an_event_twice_come_closer(stream: bytes, tmp_path: Path) -> None:
    with watching(tmp_path, "-", "an orange square", "--every", "600", "--window", "40", "-q") as process:
        out, _ = process.communicate(stream, timeout=LIMIT)
    done = _records(out)[-1]
    (told,) = [each for each in done["warnings"] if "600 s apart" in each]
    assert "in a window of 40 s there is one every 19 s" in told
