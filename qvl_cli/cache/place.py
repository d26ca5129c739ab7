"""Where saved indexes lie, and how files get there: whole, for their owner alone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from qvl_cli.config import Config
from qvl_cli.errors import UsageError

FOLDER_MODE, FILE_MODE = 0o700, 0o600
UNFINISHED = ".part"  # ending of a file that is still being written


def user_cache(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """The user's cache folder for qvl: XDG_CACHE_HOME where set, else the platform's place. Raises UsageError
    where nobody knows the user's home."""
    if xdg := environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "qvl"
    try:
        home = Path.home()
    except RuntimeError:
        raise UsageError("this user has no home folder for a cache", "set XDG_CACHE_HOME") from None
    return home / ("Library/Caches" if platform == "darwin" else ".cache") / "qvl"


def cache_root(config: Config) -> Path:
    """The setting `cache_dir` (`QVL_CACHE_DIR`), else the user's cache folder."""
    chosen = config.text("cache_dir", "")
    return Path(chosen).absolute() if chosen else user_cache(os.environ).absolute()


def origin(typed: str) -> str:
    """What a listing shows of where a video came from: its real path; URLs and `-` as they were typed."""
    return typed if typed == "-" or "://" in typed else os.path.realpath(typed)


def make_folder(path: Path) -> None:
    """Make `path` with mode 0700, parents as they come. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, a kill or a power cut sees the old file or the new one.

    Raises OSError, and leaves nothing behind then.
    """
    part = path.with_name(path.name + UNFINISHED)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def sync_folder(path: Path) -> None:
    """Make renames inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
