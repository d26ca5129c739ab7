"""A nameless temporary file that vanishes with the process: written at its end, mapped when it is read.

What was written costs the process no memory; what is read does as long as it is held, and the kernel may drop
it even then.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from pathlib import Path
from weakref import finalize

import torch
from torch import Tensor

from qvl_cli.budget import free_memory
from qvl_cli.errors import OverBudget
from qvl_cli.filesystems import in_memory

_PAGE = mmap.ALLOCATIONGRANULARITY  # mappings begin at whole pages
_LINE = 64  # bytes: every tensor is aligned as torch's own are


def _temporary() -> Path:
    """The system's place for temporary files; where that is memory and nobody has chosen it, the one that
    outlives a boot."""
    place, lasting = Path(tempfile.gettempdir()), Path("/var/tmp")
    chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    if chosen or not in_memory(place) or not os.access(lasting, os.W_OK) or in_memory(lasting):
        return place
    return lasting


class Scratch:
    def __init__(self, folder: Path | None = None, expected: int = 0) -> None:
        """folder: where; None is the system's place for temporary files. expected: bytes that will come.

        Raises OverBudget where no file can be written, or there is less room.
        """
        try:
            place = _temporary() if folder is None else folder
            free, kind = shutil.disk_usage(place).free, in_memory(place)
            with tempfile.TemporaryFile(dir=place) as file:
                self._file = os.dup(file.fileno())
        except OSError as error:
            raise OverBudget(
                f"cannot keep blocks on disk: {error}", "set TMPDIR to a folder with room"
            ) from error
        finalize(self, os.close, self._file)
        if kind:  # what lies there is not taken from a disk
            free = min(free, free_memory())
        if free < expected:
            lies = f", which lies in memory ({kind})," if kind else ""
            raise OverBudget(
                f"the blocks take {expected / 2**30:.1f} GiB, {place}{lies} has {free / 2**30:.1f} GiB free",
                "set TMPDIR to a folder with room, or use --kv int8 or int4",
            )
        self.end = 0

    def write(self, tensor: Tensor, aligned: bool = True) -> int:
        """Append the tensor's bytes; returns where they begin. Raises OverBudget where the disk is full.

        aligned: as a tensor of its own; else right behind what was written before.
        """
        raw = memoryview(tensor.cpu().contiguous().view(torch.uint8).numpy().reshape(-1))  # type: ignore[arg-type]
        start = self.end + (-self.end % _LINE if aligned else 0)
        size, written = len(raw), 0
        try:
            while written < size:
                written += os.pwrite(self._file, raw[written:], start + written)
        except OSError as error:
            raise OverBudget(
                f"cannot keep blocks on disk: {error}", "set TMPDIR to a folder with more room"
            ) from error
        self.end = start + size
        return start

    def turn_page(self) -> None:
        """What is written next can be mapped by itself."""
        self.end += -self.end % _PAGE

    def read(self, start: int, size: int) -> mmap.mmap:
        """The bytes from `start` on, which begins a page; what is written to them is not written to the
        file."""
        return mmap.mmap(self._file, size, access=mmap.ACCESS_COPY, offset=start)
