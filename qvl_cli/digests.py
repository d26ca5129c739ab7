"""sha256 of files, remembered for as long as a big file stands unchanged.

A file is known by its device, inode, size and times; whoever rewrites it changes the change time, which
nobody can set. What a program writes through a memory map may get its new time only when the kernel writes it
out, so a file has to have rested for a while before its digest is remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

_BIG = 64 << 20  # bytes; smaller files are read every time
SETTLED = 60.0  # seconds since the last change; Linux writes out mapped pages after 35 at most
_KEPT = 256  # remembered digests


class FileDigests:
    """path: a JSON file that keeps the digests of big files; None, or where it cannot be written: they are
    made anew every time."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._digests: dict[str, str] = {}
        self._fresh = False
        if path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError):
                self._digests = dict(json.loads(path.read_text()))

    def digest(self, path: Path) -> str:
        """sha256 of the file's bytes, hex. Thread-safe. Raises OSError."""
        about = path.stat()
        identity = f"{about.st_dev}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}:{about.st_ctime_ns}"
        if about.st_size >= _BIG and identity in self._digests:
            return self._digests[identity]
        began = time.time()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if about.st_size >= _BIG and began - about.st_ctime > SETTLED:
            self._digests[identity], self._fresh = digest, True
        return digest

    def keep(self) -> None:
        """Write down what is new; not being able to is no error."""
        if self._path is None or not self._fresh:
            return
        held = dict(list(self._digests.items())[-_KEPT:])
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, part = tempfile.mkstemp(prefix=self._path.name, dir=self._path.parent)
            try:
                with os.fdopen(descriptor, "w") as file:
                    json.dump(held, file)
                Path(part).replace(self._path)
            except OSError:
                Path(part).unlink()
                raise
