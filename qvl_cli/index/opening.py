"""The index of a key, locked: shared where it is complete, else for this process alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from qvl_cli.cache.library import Library
from qvl_cli.cache.locks import Lock
from qvl_cli.cache.manifest import Manifest, check_block, check_plan, read_manifest
from qvl_cli.cache.place import make_folder
from qvl_cli.errors import IndexUnusable

_LOOK_AGAIN = 0.1  # seconds

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Opened:
    """lock: None where nothing can be read or saved, and `why` says it. writable: no other process has it.

    manifest: what is there, every byte of it checked under the lock; of a damaged index the blocks before
    the damage, not complete then. None where nothing is there.
    """

    lock: Lock | None
    manifest: Manifest | None = None
    writable: bool = False
    why: str = ""


def open_locked(library: Library, name: str, plan: str, patience: float, note: Note) -> Opened:
    """Wait until the index `name` can be had, or its present writer has got no further for `patience`
    seconds.

    plan: digest of the plan that must have been watched.
    Damage is noted.
    """
    try:
        make_folder(library.root)
    except OSError as error:
        return Opened(None, why=f"cannot make {library.root} ({error.strerror})")
    folder = library.folder(name)
    steps, since = -1, time.monotonic()
    repair = False
    while True:
        try:
            seen = _read(folder, name)
            shared = not repair and seen is not None and seen.complete
            lock = library.lock(name, exclusive=not shared)
            if lock is not None:
                manifest = _checked(folder, name, plan, _silent if repair else note)
                if not shared or (manifest is not None and manifest.complete):
                    return Opened(lock, manifest, writable=not shared)
                lock.close()
                repair = True  # damaged, and said so: this process has to write, if it can
                continue
        except IndexUnusable as error:  # a newer format
            return Opened(None, why=error.fact)
        except OSError as error:
            return Opened(None, why=f"cannot write in {library.root} ({error.strerror})")
        if steps < 0:
            note("another qvl is watching this video: waiting for what it saves")
        if seen is not None and seen.steps > steps:
            steps, since = seen.steps, time.monotonic()
        steps = max(steps, 0)
        if time.monotonic() - since > patience:
            why = f"another qvl is watching this video and got no further in {patience:g} s"
            return Opened(None, why=why)
        time.sleep(_LOOK_AGAIN)


def _silent(_line: str) -> None:
    """For what was said before."""


def _read(folder: Path, name: str, note: Note | None = None) -> Manifest | None:
    """Raises IndexUnusable only for a newer format; damage reads as nothing there."""
    try:
        manifest = read_manifest(folder)
        if manifest is not None and manifest.key.name != name:
            raise IndexUnusable(f"{folder} holds the index of something else")
    except IndexUnusable as error:
        if error.newer:
            raise
        if note is not None:
            note(f"{error.fact}: watching again")
        return None
    return manifest


def _checked(folder: Path, name: str, plan: str, note: Note) -> Manifest | None:
    """The manifest as far as every byte behind it is what was written."""
    manifest = _read(folder, name, note)
    if manifest is None:
        return None
    whole = 0
    try:
        check_plan(folder, manifest)
        if manifest.plan != plan:
            raise IndexUnusable(f"{folder} was watched by another plan")
        with ThreadPoolExecutor() as pool:  # hashing lets other threads run
            for _ in pool.map(partial(check_block, folder), manifest.blocks):
                whole += 1
    except IndexUnusable as error:
        if not whole:
            note(f"{error.fact}: watching again")
            return None
        note(f"{error.fact}: watching again from there")
        manifest = replace(manifest, blocks=manifest.blocks[:whole], complete=False)
    return manifest
