"""A file that still grows, read to where it is and on, into a pipe."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from qvl_cli.media.ffmpeg import Remux

_PIECE = 1 << 16
_TICK = 0.1  # seconds between two looks at the end of the file


def is_old(path: Path, patience: float) -> bool:
    """Whether nothing was written to the file for so many seconds."""
    return time.time() - path.stat().st_mtime >= patience


class Follower:
    """Copies `path` into the stdin of `remux` on a thread, and closes that once nothing has been written to
    the file for `patience` seconds. shrunk: it became shorter than what was read, so that was the end."""

    def __init__(self, path: Path, remux: Remux, patience: float) -> None:
        self._patience = patience
        self._stop = threading.Event()
        self.shrunk = False
        self._file = path.open("rb", buffering=0)
        self._into = os.dup(remux.stdin)  # its own: the reader may end, and close what is its, at any time
        remux.close_stdin()
        self._thread = threading.Thread(target=self._copy, name="qvl-follow", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop copying; the reader must be gone or ended first, so that no write waits for it."""
        self._stop.set()
        self._thread.join()

    def _copy(self) -> None:
        grew, place = time.monotonic(), 0
        # A reader that is gone ends the copy, and so does a file that cannot be read on.
        with self._file, suppress(OSError):
            while not self._stop.is_set():
                if data := self._file.read(_PIECE):
                    place += len(data)
                    grew = time.monotonic()
                    _write(self._into, data)
                    continue
                now = os.fstat(self._file.fileno())
                self.shrunk = now.st_size < place
                quiet = max(time.monotonic() - grew, time.time() - now.st_mtime)
                if self.shrunk or quiet >= self._patience:
                    break
                self._stop.wait(_TICK)
        os.close(self._into)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
