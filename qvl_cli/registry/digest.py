"""All of a checkpoint's bytes in one name: what a saved index is bound to.

`fingerprint` samples big files, which is enough to tell models apart in an Answer. An index must never meet
other weights, not even ones that differ in a single number, so here every byte counts. Digests of big files
are remembered with the file's identity, size and times; a rewritten file has another change time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qvl_cli.errors import ModelMissing
from qvl_cli.registry.spec import weight_files

_BIG = 64 << 20  # bytes; smaller files are read every time
_SETTLED = 2.0  # seconds after its last change from which on a file's times tell of the next change
_KEPT = 256  # remembered digests


def weights_digest(folder: Path, memory: Path | None = None) -> str:
    """sha256, hex, over the names and bytes of the weights and of every text and JSON file of a checkpoint.

    Alignment head and world gate are left out: they judge what was watched and change none of it.
    memory: a JSON file that keeps digests of big files; where it cannot be written they are made anew.
    Raises ModelMissing where a file cannot be read.
    """
    small = sorted(path for kind in ("*.json", "*.jinja", "*.txt") for path in folder.glob(kind))
    files = [*small, *weight_files(folder)]
    known = _Memory(memory)
    try:
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(known.digest, files))
    except OSError as error:
        raise ModelMissing(f"cannot read the weights in {folder}: {error.strerror}") from error
    known.keep()
    named = "".join(f"{path.name}:{digest};" for path, digest in zip(files, digests, strict=True))
    return hashlib.sha256(named.encode()).hexdigest()


class _Memory:
    """Digests of big files by their identity."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._digests: dict[str, str] = {}
        self._fresh = False
        if path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError):
                self._digests = dict(json.loads(path.read_text()))

    def digest(self, path: Path) -> str:
        about = path.stat()
        identity = f"{about.st_dev}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}:{about.st_ctime_ns}"
        if about.st_size >= _BIG and identity in self._digests:
            return self._digests[identity]
        began = time.time()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if about.st_size >= _BIG and began - about.st_ctime > _SETTLED:
            self._digests[identity], self._fresh = digest, True
        return digest

    def keep(self) -> None:
        if self._path is not None and self._fresh:
            held = dict(list(self._digests.items())[-_KEPT:])
            part = self._path.with_suffix(".part")
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                part.write_text(json.dumps(held))
                part.replace(self._path)
