"""Files the kernel is told to forget, so that they are read from the disk again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = ("tmpfs", "ramfs")


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
    if (kind := _filesystem(folder)) in _IN_MEMORY:
        return f"{folder} lies in memory ({kind})"
    return None


def _filesystem(folder: Path) -> str:
    """Its type by the table of mounts; empty where there is none."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    # proc(5): id parent major:minor root mount-point options [tags] - type source options
    types = [line.partition(" - ")[2].split()[0] for line in lines if line.split()[2] == wanted]
    return types[-1] if types else ""
