"""Blocks in a temporary file, each mapped when it is read: waiting there takes next to no memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from qvl_cli.cache.codes import Codes
from qvl_cli.cache.packed import Kept, Parts, Read
from qvl_cli.cache.scratch import Scratch


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor in a stretch of the file. offset: bytes from the stretch's start."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int


# Of keys and of values: one tensor, or codes, scale and offset of which the latter may be missing.
_Layout = tuple[tuple[_Tensor | None, ...], ...]


class Spill:
    """A `Keep`: keys and values of every block go to one nameless file that vanishes with the process."""

    def __init__(self, folder: Path | None = None, expected: int = 0) -> None:
        """See Scratch."""
        self._file = Scratch(folder, expected)
        self._layouts: dict[_Layout, _Layout] = {}  # blocks of one layout share it

    def __call__(self, block: Kept) -> Read:
        """Raises OverBudget where the disk is full."""
        self._file.turn_page()
        start = self._file.end
        layout = tuple(
            tuple(None if each is None else self._put(each, start) for each in _tensors(part))
            for part in (block.keys, block.values)
        )
        return _Shelved(self._file, start, self._file.end - start, self._layouts.setdefault(layout, layout))

    def _put(self, tensor: Tensor, start: int) -> _Tensor:
        return _Tensor(tensor.dtype, tuple(tensor.shape), self._file.write(tensor) - start)


@dataclass(frozen=True, slots=True)
class _Shelved:
    """A `Read` of one block's stretch of the file."""

    file: Scratch
    start: int
    size: int
    layout: _Layout

    def __call__(self) -> Parts:
        mapped = self.file.read(self.start, self.size)

        def tensor(where: _Tensor) -> Tensor:
            count = torch.Size(where.shape).numel()
            flat = torch.frombuffer(mapped, dtype=where.dtype, count=count, offset=where.offset)
            return flat.view(where.shape)

        def part(places: tuple[_Tensor | None, ...]) -> Tensor | Codes:
            found = [None if each is None else tensor(each) for each in places]
            codes = found[0]
            assert codes is not None
            return codes if len(found) == 1 else Codes(codes, *found[1:])

        keys, values = (part(places) for places in self.layout)
        return keys, values


def _tensors(part: Tensor | Codes) -> tuple[Tensor | None, ...]:
    return (part.codes, part.scale, part.offset) if isinstance(part, Codes) else (part,)
