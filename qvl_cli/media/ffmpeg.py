"""The ffmpeg program: found, given a command line made by ffmpeg-python, run, listened to, and ended.

It opens what PyAV cannot be stopped in the middle of (live streams, pipes) and hands the packets on, as they
are, in NUT: a container for pipes that keeps every stream's own time base, so that no time is rounded. PyAV
decodes them, as it decodes files.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

import ffmpeg

from qvl_cli.errors import BackendMissing
from qvl_cli.media.info import HALF_CLOCK

_GLOBAL = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info")
_TICK = 0.2  # seconds between two looks at whether to stop
_GRACE = 5.0  # seconds a closed ffmpeg has to end by itself
_HEARD, _LINE = 0.5, 0.001  # seconds: to hear all of it at most; for the line that is being heard
_KEPT = 200  # lines of its stderr
_SKIPPED = re.compile(r"Failed to open segment|segments? ahead|too many times, skipping")
_TURN = re.compile(r"display ?matrix: rotation of (-?\d+(?:\.\d+)?) degrees", re.IGNORECASE)


def find_ffmpeg() -> str:
    """The path's own ffmpeg, else the one that the package imageio-ffmpeg carries. Raises BackendMissing."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise BackendMissing(
            "there is no ffmpeg program, which reads live input",
            "install ffmpeg, or `pip install imageio-ffmpeg`, which brings one",
        ) from error


def retries(program: str) -> dict[str, str]:
    """Input options with which a playlist's part that cannot be had at once is asked for again; none where
    the program does not know them (before ffmpeg 5.1), and goes on with the next part."""
    command = [program, "-hide_banner", "-h", "demuxer=hls"]
    known = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return {"seg_max_retry": "5"} if "seg_max_retry" in known.stdout else {}


def remux_command(
    program: str, source: str, options: Mapping[str, str], closes_up: bool = False
) -> list[str]:
    """`program` reading `source` with input `options`: its best video stream goes to stdout as NUT, as it
    is.

    closes_up: a step of the clock of ten seconds or more is a new clock, as between parts of a playlist; else
    only one of half the range of a transport stream's clock is, and what is shorter is missing.
    """
    node = ffmpeg.input(source, **options)
    node = ffmpeg.output(node, "pipe:1", format="nut", c="copy", an=None, sn=None, dn=None, flush_packets=1)
    clock = [] if closes_up else ["-dts_delta_threshold", str(HALF_CLOCK // 90_000)]
    return [program, *_GLOBAL, *clock, *ffmpeg.get_args(node)]


class Remux:
    """A running ffmpeg whose stdout is a file for PyAV. `read` may run on another thread than the rest.

    stdin: a descriptor it reads from; `subprocess.PIPE`: `stdin` is to be written; None: nothing.
    patience: seconds without a byte after which `read` gives up and `stalled` is set; None: for ever.
    """

    def __init__(self, command: list[str], stdin: int | None, patience: float | None) -> None:
        self._patience = patience
        self._stop = threading.Event()
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self.skipped: deque[str] = deque(maxlen=_KEPT)  # what it says of parts of a playlist it passed over
        self.broken = 0  # packets that it called corrupt: something is missing in front of them
        self._opened = threading.Event()  # it has told what it reads
        self.stalled = False
        self.rotation = 0.0
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for qvl, which ends it in its own time
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._out = self._process.stdout.fileno()
        self._listener = threading.Thread(target=self._listen, name="qvl-ffmpeg", daemon=True)
        self._listener.start()

    @property
    def stdin(self) -> int:
        """Where to write what it reads."""
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def close_stdin(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as soon as there are any; none at the end, when stopped, and when it stalls."""
        since = time.monotonic()
        while not (self._stop.is_set() or self.stalled):
            ready, _, _ = select.select([self._out], [], [], _TICK)
            if ready:
                return os.read(self._out, size)
            if self._patience is not None and time.monotonic() - since > self._patience:
                self.stalled = True
        return b""

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Whoever reads comes to an end now."""
        self._stop.set()

    def turned(self) -> float:
        """Degrees counterclockwise that pictures were turned by for storing. Called once data came."""
        self._opened.wait(_GRACE)
        return self.rotation

    def finish(self) -> tuple[int | None, list[str]]:
        """Exit status of an ffmpeg whose output has ended (None: it had to be ended) and its errors."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        status = self._process.poll()
        self.close()
        return status, self.errors

    def listen(self) -> None:
        """Wait until all that it has said so far is known here: it says what it met before it hands it on."""
        assert self._process.stderr is not None
        end = time.monotonic() + _HEARD
        while self._listener.is_alive() and time.monotonic() < end:
            time.sleep(_LINE)
            if not select.select([self._process.stderr], [], [], 0)[0]:
                return

    @property
    def errors(self) -> list[str]:
        """What it has called an error so far, in its words, oldest first."""
        return list(self._lines)

    def close(self) -> None:
        """End it; safe to call again."""
        self.stop()
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it holds nothing that is worth a goodbye
            self._process.wait()
        self._listener.join(_GRACE)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):  # what could not be written to it any more
                    pipe.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            line = " ".join(raw.decode("utf-8", "replace").split())
            if match := _TURN.search(line):
                self.rotation = float(match[1])
            if "Output #0" in line:
                self._opened.set()
            if any(f"[{level}]" in line for level in ("error", "fatal", "panic")):
                self._lines.append(_bare(line))
            elif "[warning]" in line and _SKIPPED.search(line):
                self.skipped.append(_bare(line))
            self.broken += "corrupt input packet" in line
        self._opened.set()


def _bare(line: str) -> str:
    """A line of ffmpeg without the tags in front: `[in#0 @ 0x55d2] [error] Error opening` ..."""
    return re.sub(r"^(\[[^\]]*\] ?)+", "", line)
