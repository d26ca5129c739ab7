"""What is kept of every watched step, whatever the policy lets go: times, places and its vectors."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qvl_cli.cache.scratch import Scratch
from qvl_cli.sampling import Step


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """One step as the model has read it.

    positions: int32 [3, tokens] on the CPU, from the step's own first position; advance: how far the step
    moves the position of whatever follows; vision: how many of the tokens are those of its picture.
    """

    step: Step
    positions: Tensor
    advance: int
    vision: int

    @property
    def tokens(self) -> int:
        return self.positions.shape[1]


class Rows:
    """Equal tensors [n, *shape] that grow at the end without copying all of them each time; the first ones
    say which shape."""

    __slots__ = ("_buffer", "_length", "_owner")

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        """shape: until there are any."""
        self._buffer = torch.empty((0, *shape), device=device)
        self._length = 0
        self._owner = True  # only one of the copies may write behind the common part

    def extend(self, rows: Tensor) -> None:
        """The first rows are taken as they are, not copied: nobody may change them afterwards."""
        end = self._length + len(rows)
        if not self._length:
            self._buffer, self._owner, self._length = rows, True, end
            return
        if not self._owner or end > len(self._buffer):
            fresh = self._buffer.new_empty((end + max(end // 4, 64), *rows.shape[1:]))
            fresh[: self._length] = self.view()
            self._buffer, self._owner = fresh, True
        self._buffer[self._length : end] = rows
        self._length = end

    def view(self) -> Tensor:
        """All rows so far; what is appended later does not change it."""
        return self._buffer[: self._length]

    def cut(self, first: int, last: int) -> None:
        """Take rows [first, last) out; copies made before keep them."""
        rows = self.view()
        self._buffer, self._owner = torch.cat([rows[:first], rows[last:]]), True
        self._length = len(self._buffer)

    def copy(self) -> Rows:
        twin = copy.copy(self)
        twin._owner = False
        return twin


class FiledRows:
    """The same in a file of their own, mapped when they are looked at: hours of them take no memory.

    Raises OverBudget where there is no room for it. A copy that grows, and what is cut, goes
    on in memory.
    """

    __slots__ = ("_file", "_length", "_more", "_shape", "_shared")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._file = Scratch()
        self._shape, self._length = shape, 0
        self._shared = False  # the file belongs to another, which may write behind the common part
        self._more: Rows | None = None  # all rows, where they are no longer those of the file

    def extend(self, rows: Tensor) -> None:
        if self._shared or self._more is not None:
            self._in_memory().extend(rows)
            return
        self._shape = tuple(rows.shape[1:])
        self._file.write(rows.float(), aligned=False)
        self._length += len(rows)

    def view(self) -> Tensor:
        if self._more is not None:
            return self._more.view()
        if not self._length:
            return torch.empty((0, *self._shape))
        mapped = self._file.read(0, self._length * math.prod(self._shape) * 4)
        return torch.frombuffer(mapped, dtype=torch.float32).view(self._length, *self._shape)

    def cut(self, first: int, last: int) -> None:
        """Take rows [first, last) out: what may be forgotten need not be on disk."""
        self._in_memory().cut(first, last)

    def _in_memory(self) -> Rows:
        if self._more is None:
            more = Rows(self._shape, torch.device("cpu"))
            more.extend(self.view())
            self._more = more
        return self._more

    def copy(self) -> FiledRows:
        twin = copy.copy(self)
        twin._shared = True
        if self._more is not None:
            twin._more = self._more.copy()
        return twin


class Trail:
    """The watched steps in order, and how many tokens and positions come before each (one more than steps).

    features: float32 [steps, regions + 1, hidden]; vision_means: float32 [steps, hidden]; as `StreamSession`
    gives them out.
    """

    def __init__(self, hidden: int, device: torch.device, filed: bool = False) -> None:
        """filed: the vectors go to temporary files (on the CPU alone: elsewhere they stay on the device)."""
        self.watched: list[Watched] = []
        self.steps: list[Step] = []
        filed = filed and device.type == "cpu"
        self.features, self.vision_means = (
            FiledRows(shape) if filed else Rows(shape, device) for shape in ((1, hidden), (hidden,))
        )
        self._device, self._seconds = device, list[float]()
        self._tokens_before = [0]
        self._positions_before = [0]

    def __len__(self) -> int:
        return len(self.watched)

    def add(self, watched: Iterable[Watched], features: Tensor, vision_means: Tensor) -> None:
        for each in watched:
            # Steps of one size whose times have as many digits share one tensor: hours of them stay small.
            if self.watched and torch.equal(self.watched[-1].positions, each.positions):
                each = replace(each, positions=self.watched[-1].positions)
            self.watched.append(each)
            self.steps.append(each.step)
            self._seconds.append(float(each.step.interval.duration))
            self._tokens_before.append(self._tokens_before[-1] + each.tokens)
            self._positions_before.append(self._positions_before[-1] + each.advance)
        self.features.extend(features)
        self.vision_means.extend(vision_means)

    def cut(self, first: int, last: int) -> None:
        """Forget steps [first, last): what follows them is numbered as if they had never been."""
        tokens, advance = self.tokens(first, last), self.advance(first, last)
        self._tokens_before[first:] = [before - tokens for before in self._tokens_before[last:]]
        self._positions_before[first:] = [before - advance for before in self._positions_before[last:]]
        del self.watched[first:last], self.steps[first:last], self._seconds[first:last]
        self.features.cut(first, last)
        self.vision_means.cut(first, last)

    def copy(self) -> Trail:
        twin = copy.copy(self)
        twin.watched, twin.steps = list(self.watched), list(self.steps)
        twin.features, twin.vision_means = self.features.copy(), self.vision_means.copy()
        twin._seconds = list(self._seconds)
        twin._tokens_before = list(self._tokens_before)
        twin._positions_before = list(self._positions_before)
        return twin

    def durations(self) -> Tensor:
        """float32 [steps], where the features are: seconds of each step's interval."""
        return torch.tensor(self._seconds, dtype=torch.float32, device=self._device)

    def tokens(self, first: int, last: int) -> int:
        """Tokens of steps [first, last)."""
        return self._tokens_before[last] - self._tokens_before[first]

    def advance(self, first: int, last: int) -> int:
        """Positions that steps [first, last) take."""
        return self._positions_before[last] - self._positions_before[first]

    def positions(self, first: int, last: int) -> Tensor:
        """int32 [3, tokens] of steps [first, last), from the first one's own position."""
        return torch.cat(
            [self.watched[i].positions + self.advance(first, i) for i in range(first, last)], dim=1
        )
