"""Blocks in a temporary file: written once, read back as views of a mapping that the kernel may drop."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from pathlib import Path
from weakref import finalize

import torch
from torch import Tensor

from qvl_cli.cache.packed import Kept
from qvl_cli.errors import OverBudget


class Spill:
    """A `Keep`: keys and values of every block go to one nameless file that vanishes with the process."""

    def __init__(self, folder: Path | None = None, expected: int = 0) -> None:
        """folder: where; None is the system's place for temporary files. expected: bytes that will come.

        Raises OverBudget where no file can be written, or there is less room.
        """
        place = Path(tempfile.gettempdir()) if folder is None else folder
        try:
            free = shutil.disk_usage(place).free
            with tempfile.TemporaryFile(dir=folder) as file:
                self._file = os.dup(file.fileno())
        except OSError as error:
            raise OverBudget(
                f"cannot keep blocks on disk: {error}", "set TMPDIR to a folder with room"
            ) from error
        if free < expected:
            raise OverBudget(
                f"the blocks take {expected / 2**30:.1f} GiB, {place} has {free / 2**30:.1f} GiB free",
                "set TMPDIR to a folder with room, or use --kv int8 or int4",
            )
        self._end = 0
        finalize(self, os.close, self._file)

    def __call__(self, block: Kept) -> Kept:
        """The block with its keys and values in the file. Raises OverBudget where the disk is full."""
        return block.on_cpu().mapped(self._put)

    def _put(self, tensor: Tensor) -> Tensor:
        raw = memoryview(tensor.contiguous().view(torch.uint8).numpy().reshape(-1))  # type: ignore[arg-type]
        start, size = self._end, len(raw)
        try:
            written = 0
            while written < size:
                written += os.pwrite(self._file, raw[written:], start + written)
        except OSError as error:
            raise OverBudget(
                f"cannot keep blocks on disk: {error}", "set TMPDIR to a folder with more room"
            ) from error
        # Mappings begin at whole pages.
        self._end = start + -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self._file, size, access=mmap.ACCESS_COPY, offset=start)
        return torch.frombuffer(mapped, dtype=tensor.dtype).view(tensor.shape)
