"""One writer or many readers of a saved index, across processes.

flock: the kernel drops the lock of a process that dies, however it dies, so no lock is ever stale.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from qvl_cli.cache.place import FILE_MODE
from qvl_cli.closing import Closes


class Lock(Closes):
    """A held lock; closing it lets go."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def try_lock(path: Path, *, exclusive: bool) -> Lock | None:
    """Take the lock file `path`, making it where needed; None where another process is in the way.

    Raises OSError where the file can be neither made nor opened. A shared lock needs no right to write.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        except OSError:
            if exclusive:
                raise
            descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            if _still_there(path, descriptor):
                return Lock(path, descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner removed it between our open and our lock: try its successor


def _still_there(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the file that was locked."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
