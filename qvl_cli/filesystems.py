"""Which folders lie on no disk."""

from __future__ import annotations

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = ("tmpfs", "ramfs")


def in_memory(folder: Path) -> str | None:
    """The type of the file system where what lies in `folder` takes memory (`tmpfs`); None where it does not,
    or nobody can say."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return None
    # proc(5): id parent major:minor root mount-point options [tags] - type source options
    types = [line.partition(" - ")[2].split()[0] for line in lines if line.split()[2] == wanted]
    return types[-1] if types and types[-1] in _IN_MEMORY else None
