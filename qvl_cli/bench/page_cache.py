"""Files the kernel is told to forget, so that they are read from the disk again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from qvl_cli.filesystems import in_memory


def forget(paths: Iterable[Path]) -> None:
    """Drop what the kernel holds of these files, where it can be told to (see `unforgettable`)."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # what waits to be written is kept
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def unforgettable(folder: Path) -> str | None:
    """Why files in `folder` stay in memory whatever the kernel is told; None where they do not."""
    if not hasattr(os, "posix_fadvise"):
        return "this system cannot be told to forget files"
    if kind := in_memory(folder):
        return f"{folder} lies in memory ({kind})"
    return None
