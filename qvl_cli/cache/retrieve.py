"""The retrieve policy: watched through a window, every block kept elsewhere, a question sees those it needs.

The blocks a question is shown lie next to the sinks in the order of time, the gaps between them closed. Their
keys are exactly what they would be there; what the blocks had seen when they were watched stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Self, TypeVar

import torch
from torch import Tensor

from qvl_cli.cache.blocks import Block
from qvl_cli.cache.codes import Codes
from qvl_cli.cache.full import Memory, Question
from qvl_cli.cache.packed import Kept, PackedBlock, Read
from qvl_cli.cache.trail import Watched
from qvl_cli.cache.window import WindowMemory
from qvl_cli.memory import MemorySettings, stretches
from qvl_cli.model.load import LoadedModel

_T = TypeVar("_T")
# (features [steps, regions + 1, hidden], query states [tokens, hidden], durations [steps])
# -> [steps], more is better
Relevance = Callable[[Tensor, Tensor, Tensor], Tensor]
# Takes a finished block off the device; what it returns reads its keys and values where they are kept.
Keep = Callable[[Kept], Read]


def in_ram(block: Kept) -> Read:
    return _held(block.on_cpu())


def _held(block: Kept) -> Read:
    parts = (block.keys, block.values)
    return lambda: parts


class RetrieveMemory(WindowMemory):
    """relevance: how much each step has to do with a question; None: by the likeness of keys.

    Words look at what they name, and say when it is not there. So with `relevance` blocks are chosen twice:
    by the words as they are read beside the end of the video, then as they are beside what that chose.
    """

    selects = True

    def __init__(
        self,
        model: LoadedModel,
        settings: MemorySettings,
        reserve: int = 0,
        relevance: Relevance | None = None,
        keep: Keep = in_ram,
        filed: bool = False,
    ) -> None:
        super().__init__(model, replace(settings, positions="shrink"), reserve, filed)
        self._relevance, self._keep = relevance, keep
        # Of each whole block. What the trail has anyway is not held twice: small things among large ones that
        # come and go would split the heap.
        self._kept: list[Read] = []
        self._mean_keys: dict[int, Tensor] = {}

    def add(self, watched: Sequence[Watched], features: Tensor, vision_means: Tensor, position: int) -> None:
        super().add(watched, features, vision_means, position)
        end = len(self.trail)
        if end % self._block_steps == 0:  # `room` let no more steps in than one block has
            block, kind = self.cut(end - self._block_steps, end), self._settings.kv
            self._kept.append(self._keep(block if kind == "none" else PackedBlock.of(block, kind)))

    def restore(self, blocks: Sequence[Block]) -> None:
        super().restore(blocks)
        self._kept = [_held(each) for each in blocks if len(each.steps) == self._block_steps]

    def block(self, number: int) -> Block:
        if number >= len(self._kept):
            return super().block(number)
        dtype, first = self._model.dtype, number * self._block_steps
        keys, values = (
            each.unpack(dtype) if isinstance(each, Codes) else each for each in self._kept[number]()
        )
        return self._described(first, first + self._block_steps, keys, values)

    def recall(self, read: Callable[[Memory], Question]) -> Memory:
        blocks, count = self._count(), self._seen_at_once()
        if count == blocks:
            return self._shown(range(blocks))
        question = read(self.fork())
        if not len(question.states):
            return self._shown(_spread(range(blocks), count))
        chosen = self._chosen(question)
        shown = self._shown(chosen)
        if self._relevance is None:
            return shown
        again = self._chosen(read(shown.fork()))
        if again != chosen:
            shown.release()
            shown = self._shown(again)
        return shown

    def focus(self, first: int, last: int) -> Memory:
        """Of steps [first, last) as many blocks as a question may see, evenly spread, and nothing else."""
        return self._alone(_spread(self._cuts(first, last), self._seen_at_once()))

    @property
    def shown_sinks(self) -> range:
        return range(0)

    def views(self, overlap: bool = False) -> list[range]:
        size, at_once = self._block_steps, max(self._seen_at_once(), 1)
        stride = size * (max(at_once // 2, 1) if overlap else at_once)
        return stretches(range(len(self.trail)), at_once * size, stride)

    def forget(self) -> None:
        """Nothing: a question may ask for every block."""

    def fork(self) -> Self:
        twin = super().fork()
        twin._kept, twin._mean_keys = list(self._kept), dict(self._mean_keys)
        return twin

    def _count(self) -> int:
        """Of all blocks, the one that is not full included."""
        return -(-len(self.trail) // self._block_steps)

    def _seen_at_once(self) -> int:
        """How many blocks a question may see."""
        return self._settings.picked(self._count())

    def _chosen(self, question: Question) -> set[int]:
        scores = self._relevances(question) if self._relevance else self._likenesses(question)
        return set(scores.topk(self._seen_at_once()).indices.tolist())

    def _relevances(self, question: Question) -> Tensor:
        """[blocks]: the score of each block's best step."""
        assert self._relevance is not None
        features, durations = self.trail.features.view(), self.trail.durations()
        scores = self._relevance(features, question.states, durations).float().cpu()
        return torch.stack([each.max() for each in torch.split(scores, self._block_steps)])

    def _likenesses(self, question: Question) -> Tensor:
        """[blocks]: cosine between the mean key of each block and the question's, averaged over layers and
        heads, what all blocks share taken off."""
        for number in range(len(self._mean_keys), len(self._kept)):
            self._mean_keys[number] = _mean_key(self.block(number).keys)
        means = [self._mean_keys[number] for number in range(len(self._kept))]
        means += [_mean_key(block.keys) for block in self.blocks(len(means), tail=True)]
        each = torch.stack(means)  # [blocks, layers, kv_heads, key_dim]
        shared = each.mean(dim=0)
        wanted = _mean_key(question.keys) - shared
        return torch.nn.functional.cosine_similarity(each - shared, wanted[None], dim=-1).mean(dim=(1, 2))

    def _shown(self, numbers: Iterable[int]) -> Memory:
        """Prefix, sinks and the blocks of these numbers behind one another."""
        return self._alone(list(self._extents(set(numbers))))

    def _extents(self, numbers: set[int]) -> Iterator[tuple[int, int]]:
        """Steps [first, last) of the sinks and of the blocks of these numbers, in the order of time."""
        count, size = len(self.trail), self._block_steps
        sinks = min(self._settings.sinks, count)
        for number in sorted(numbers | set(range(-(-sinks // size)))):
            first = number * size
            yield first, min(first + size, count) if number in numbers else min(first + size, sinks)


def _spread(things: Sequence[_T], count: int) -> list[_T]:
    """`count` of the things, or all where there are no more, evenly spread."""
    count = min(count, len(things))
    return [things[(2 * i + 1) * len(things) // (2 * count)] for i in range(count)]


def _mean_key(keys: Tensor) -> Tensor:
    """[layers, kv_heads, tokens, key_dim] without rotation -> float32 [layers, kv_heads, key_dim]."""
    return keys.float().mean(dim=2).cpu()
