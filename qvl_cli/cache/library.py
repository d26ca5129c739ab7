"""All saved indexes of a cache folder: listed, found, checked, removed, and kept under a size cap."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qvl_cli.cache.beside import BESIDE, MEDIA, check_beside, read_beside
from qvl_cli.cache.locks import Lock, try_lock
from qvl_cli.cache.manifest import (
    MANIFEST,
    IndexKey,
    Manifest,
    check_block,
    check_plan,
    read_manifest,
    read_plan,
)
from qvl_cli.cache.place import origin
from qvl_cli.errors import IndexUnusable, QvlError, UsageError
from qvl_cli.media.known import InfoRecord
from qvl_cli.sampling import SamplePlan

DEFAULT_CAP = 10 << 30
_NAME_DIGITS = 32
_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Entry:
    """One saved index as it lies there. bytes: of all its files. used: when it last was, Unix time.

    manifest: None where it cannot be used, and `trouble` says why. newer: a later qvl can.
    """

    folder: Path
    bytes: int
    used: float
    manifest: Manifest | None
    trouble: str | None = None
    newer: bool = False

    @property
    def name(self) -> str:
        return self.folder.name[:_SHOWN_DIGITS]

    @property
    def state(self) -> str:
        """`complete`, `unfinished`, `newer` or `unusable`."""
        if self.manifest is None:
            return "newer" if self.newer else "unusable"
        return "complete" if self.manifest.complete else "unfinished"


class Library:
    """The folder `root`, a folder and a lock file in it for every index. Nothing is made by looking."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Path:
        return self.root / name

    def lock(self, name: str, *, exclusive: bool) -> Lock | None:
        """See `try_lock`."""
        return try_lock(self.root / f"{name}.lock", exclusive=exclusive)

    def entries(self) -> list[Entry]:
        """Every index, the most recently used first. Raises QvlError where the folder cannot be read."""
        try:
            found = [_look(folder) for folder in self._folders()]
        except OSError as error:
            raise QvlError(
                f"cannot read the cache in {self.root}: {error.strerror}", "check QVL_CACHE_DIR"
            ) from error
        return sorted((each for each in found if each), key=lambda each: (-each.used, each.folder.name))

    def find(self, name: str) -> Entry:
        """The one index whose name starts so, or whose video is this path. Raises UsageError."""
        entries = self.entries()
        named = [each for each in entries if name and each.folder.name.startswith(name.lower())]
        if not named:
            path = origin(name)
            named = [each for each in entries if each.manifest and each.manifest.path == path]
        if len(named) == 1:
            return named[0]
        if named:
            raise UsageError(f"{name!r} means {len(named)} saved indexes", "give more digits: `qvl cache ls`")
        raise UsageError(f"no saved index is called {name!r}", "`qvl cache ls` lists them")

    def plan_for(self, key: IndexKey) -> SamplePlan | None:
        """The plan of any index with the same video, weights and sampling as `key`."""
        for entry in self.entries():
            if entry.manifest is not None and entry.manifest.key.plans_like(key):
                with contextlib.suppress(IndexUnusable):  # opening the index will say so
                    return read_plan(entry.folder, entry.manifest)
        return None

    def media_of(self, video: str) -> InfoRecord | None:
        """What any index of the video with this sha256 says of its file."""
        for entry in self.entries():
            if entry.manifest is not None and entry.manifest.key.tells_of(video):
                with contextlib.suppress(IndexUnusable):  # another may be whole; else it is found out again
                    if record := read_beside(entry.folder, MEDIA, InfoRecord):
                        return record
        return None

    def remove(self, entry: Entry) -> bool:
        """Delete an index; False where another process is using it. Raises QvlError."""
        try:
            with contextlib.ExitStack() as stack:
                lock = self.lock(entry.folder.name, exclusive=True)
                if lock is None:
                    return False
                stack.enter_context(lock)
                discard(entry.folder)
                lock.path.unlink()
        except OSError as error:
            raise QvlError(
                f"cannot remove {entry.folder}: {error.strerror}", "check who owns the folder"
            ) from error
        return True

    def prune(self, cap: int, spare: str | None = None) -> list[Entry]:
        """Remove the least recently used indexes until all but `spare` take at most `cap` bytes; returns
        those removed.

        Unusable ones go first, those of a newer qvl are none; one in use stays. Raises QvlError.
        """
        entries = [each for each in self.entries() if each.folder.name != spare]
        total = sum(each.bytes for each in entries)
        removed: list[Entry] = []
        for entry in sorted(entries, key=lambda each: (each.state != "unusable", each.used)):
            if total <= cap:
                break
            if self.remove(entry):
                total -= entry.bytes
                removed.append(entry)
        return removed

    def free_bytes(self) -> int:
        """Free bytes of the disk the cache is on, whether or not its folder exists yet. Raises OSError."""
        path = self.root.absolute()
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free

    def _folders(self) -> Iterator[Path]:
        if self.root.exists():
            for path in self.root.iterdir():
                if len(path.name) == _NAME_DIGITS and path.is_dir():
                    yield path


def verify(entry: Entry) -> list[str]:
    """What is wrong with an index, every byte of it read; nothing where it is whole."""
    manifest = entry.manifest
    if manifest is None:
        return [entry.trouble or "it has no manifest"]
    checks: list[Callable[[], object]] = [partial(check_plan, entry.folder, manifest)]
    checks += [partial(check_block, entry.folder, stored) for stored in manifest.blocks]
    checks += [partial(check_beside, entry.folder, name) for name in BESIDE]
    troubles: list[str] = []
    for check in checks:
        try:
            check()
        except IndexUnusable as error:
            troubles.append(error.fact)
    return troubles


def discard(folder: Path) -> None:
    """Delete a locked index: first its manifest, so that what is left of a kill is no index. Raises
    OSError."""
    with contextlib.suppress(FileNotFoundError):
        (folder / MANIFEST).unlink()
    if folder.exists():
        shutil.rmtree(folder)


def _look(folder: Path) -> Entry | None:
    """None where the folder vanished while it was looked at."""
    try:
        size = sum(path.stat().st_size for path in folder.iterdir())
        used = folder.stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        manifest = read_manifest(folder)
    except IndexUnusable as error:
        return Entry(folder, size, used, None, error.fact, error.newer)
    return Entry(folder, size, used, manifest, None if manifest else "it has no manifest")
