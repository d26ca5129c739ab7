"""The results file of a run: one JSON line a video, so that an interrupted run continues where it was."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from qvl_cli import __version__
from qvl_cli.cache.place import make_folder, user_cache
from qvl_cli.errors import UsageError

FORM = "qvl.eval/1"


class Journal:
    """First line: the settings it belongs to. Then a record for each finished video: `video` its key, `of`
    what it was made of, which another file or question of the same name is not.

    keep: whether the file outlives a finished run (`--resume FILE`) or only serves to continue. flag: what
    names another file.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], keep: bool, flag: str = "--resume FILE"
    ) -> None:
        """Raises UsageError where the file is of other settings, no results file, in use or not writable."""
        self.path, self._keep, self._remedy = path, keep, f"give another {flag}"
        self.records: dict[str, dict[str, Any]] = {}
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._refused(error) from error
        self._file: IO[bytes] = os.fdopen(descriptor, "r+b")
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"{path} is no file that keeps results", self._remedy)
            self._lock()
            self._load(json.loads(json.dumps(_of_this_version(settings))))
        except OSError as error:
            self.close()
            raise self._refused(error) from error
        except BaseException:
            self.close()
            raise

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a finished video; after this returns, a kill does not lose it. Raises UsageError where the
        system takes no more."""
        self.records[str(record["video"])] = dict(record)
        try:
            self._write(record)
        except OSError as error:
            raise self._refused(error) from error

    def get(self, video: str, of: object) -> dict[str, Any] | None:
        """The record of a video, where it was made of the same."""
        record = self.records.get(video)
        return record if record is not None and record.get("of") == of else None

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written is not written now either
            self._file.close()

    def discard(self) -> None:
        """Its figures have been delivered, and nothing is left to continue with."""
        if not self._keep:
            self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"{self.path} is in use by another run", f"wait for it, or {self._remedy}"
            ) from error

    def _load(self, settings: Mapping[str, Any]) -> None:
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]  # a kill may leave half a line
        lines = whole.decode("utf-8", "replace").splitlines()
        if not lines:
            if content:
                self._refuse_foreign(content)
            self._file.truncate(0)
            self._file.seek(0)
            self._write({"form": FORM, "settings": settings})
            return
        head = _parse(lines[0])
        if head is None or head.get("form") != FORM:
            self._refuse_foreign(content)
        before = (head or {}).get("settings", {})
        if before != settings:
            other = sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
            changes = ", ".join(f"{key} {before.get(key)!r}, now {settings.get(key)!r}" for key in other)
            raise UsageError(f"{self.path} holds results of other settings ({changes})", self._remedy)
        for number, line in enumerate(lines[1:], start=2):
            record = _parse(line)
            if record is None or "video" not in record:
                raise UsageError(f"{self.path} is damaged in line {number}", self._remedy)
            self.records[str(record["video"])] = record
        self._file.truncate(len(whole))
        self._file.seek(len(whole))

    def _refuse_foreign(self, content: bytes) -> None:
        # Half a first line of our own is a run that was killed at once: nothing to lose.
        if not b'{"form": "qvl.eval/1"'.startswith(content[:21]) or content.count(b"\n"):
            raise UsageError(f"{self.path} is no results file of qvl", self._remedy)

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _refused(self, error: OSError) -> UsageError:
        return UsageError(f"cannot write {self.path}: {error.strerror}", self._remedy)


def default_path(suite: str, settings: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Path:
    """A file of these settings in the user's cache folder. Raises UsageError where none can be made."""
    folder = user_cache(environ) / "evals"
    try:
        make_folder(folder)
    except OSError as error:
        raise UsageError(
            f"cannot make {folder}: {error.strerror}", "name a results file with --resume FILE"
        ) from error
    key = sha256(json.dumps(_of_this_version(settings), sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"{suite}-{key}.jsonl"


def _of_this_version(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Another version may ask other questions, or watch in another way."""
    return {"qvl": __version__, **settings}


def _parse(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
