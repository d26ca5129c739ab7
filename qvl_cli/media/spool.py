"""A private, bounded copy on disk of what cannot be read twice: standard input, a URL, a playlist."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from qvl_cli.errors import MediaError, OverBudget

Progress = Callable[[str, float, float], None]

_PIECE = 1 << 20


class Spool:
    """A file of mode 0600 in a folder of its own, of mode 0700; `close` removes both.

    name: what the user typed, for messages. limit: bytes it may hold; beyond, `grow` raises OverBudget.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name, self.limit, self.size = name, limit, 0
        self._folder = Path(tempfile.mkdtemp(prefix="qvl-"))
        self.path = self._folder / "input"
        self._file = os.fdopen(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")

    def grow(self, size: int) -> None:
        """Count `size` more bytes. Raises OverBudget before they are written."""
        self.size += size
        self.check(self.size)

    def check(self, size: int) -> None:
        """OverBudget where `size` bytes in all are too many."""
        if size > self.limit:
            raise OverBudget(
                f"{self.name} is larger than {self.limit / 2**30:.4g} GiB, the most that is copied to disk",
                "raise --max-spool, or save it to a file and name that",
            )

    def write(self, data: bytes) -> None:
        self.grow(len(data))
        try:
            self._file.write(data)
        except OSError as error:
            raise self.no_room(error) from error

    def no_room(self, error: OSError) -> OverBudget:
        return OverBudget(
            f"{self.name} cannot be copied to {self._folder.parent}: {error.strerror or error}",
            "make room there, or set TMPDIR to another folder",
        )

    def finish(self) -> None:
        """All is written: readers see it from here on."""
        try:
            self._file.close()
        except OSError as error:
            raise self.no_room(error) from error

    def close(self) -> None:
        """Remove the copy; safe to call again."""
        try:
            self._file.close()
        except OSError:  # what could not be flushed is not wanted any more
            pass
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def spool_stdin(spool: Spool, progress: Progress) -> None:
    """Copy standard input to its end. MediaError where it is a terminal, or empty."""
    if os.isatty(0):
        raise MediaError(
            "- reads a video from standard input, which is the terminal", "pipe a video into qvl"
        )
    try:
        while data := os.read(0, _PIECE):
            spool.write(data)
            progress("reading -", spool.size, 0)
    except OSError as error:
        raise MediaError(
            f"standard input cannot be read: {error.strerror}", "pipe a video into qvl"
        ) from error
    spool.finish()
    if not spool.size:
        raise MediaError("standard input is empty (0 bytes)", "pipe a video into qvl")
