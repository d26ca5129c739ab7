"""The full policy, and the base of the others: everything watched stays in the arena, rotated in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Self

import torch
from torch import Tensor

from qvl_cli.budget import turn_tokens
from qvl_cli.cache.arena import ArenaCache
from qvl_cli.cache.blocks import Block
from qvl_cli.cache.trail import Trail, Watched
from qvl_cli.model.load import LoadedModel
from qvl_cli.model.preprocess import text_positions
from qvl_cli.model.rope import Rotary, turn
from qvl_cli.sampling import Step


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """The user's own words as the model reads them beside what a memory shows, to choose what it sees by.

    states: float32 [tokens, hidden], final-norm hidden states; keys: [layers, kv_heads, tokens, key_dim],
    without rotation.
    """

    states: Tensor
    keys: Tensor


class Memory:
    """What a session keeps of what it watched, and where the next token goes: here, everything.

    cache: what the model reads and appends to: the template's prefix, then a run of consecutive steps, then
    maybe text. position: of the next token. trail: of all steps, also those no longer in the cache.
    """

    selects = False  # what a question sees depends on the question

    def __init__(self, model: LoadedModel, reserve: int = 0, filed: bool = False) -> None:
        """reserve: tokens to make room for at once. filed: see Trail."""
        self._model = model
        self._pairs = kept_pairs(model)
        self.cache = ArenaCache(model.spec.layers, reserve, self._pairs)
        self.position = 0
        self.trail = Trail(model.spec.hidden_size, model.device, filed)
        self.rotary = Rotary.of(model)
        self._block_steps = model.spec.block_steps
        # Steps from `_first` on lie in the cache from token `_place` and position `_base` on.
        self._first = self._place = self._base = 0

    @property
    def tokens(self) -> int:
        """Tokens that the model sees."""
        return self.cache.length

    @property
    def shown_sinks(self) -> range:
        """The steps in front of its one view that `focus` shows with that view."""
        return range(0)

    @property
    def origin(self) -> int:
        """Position of the first token in the cache."""
        return 0

    def begin(self) -> None:
        """The prefix is in the cache; steps follow."""
        self._place, self._base = self.cache.length, self.position
        self._prefix = self.cache.states(0, self.cache.length)

    def room(self, step: Step) -> int | None:
        """How many steps, `step` the first, one forward may take; None: any number.

        Called before they are run. What they must not see leaves the cache here.
        """
        return None

    def add(self, watched: Sequence[Watched], features: Tensor, vision_means: Tensor, position: int) -> None:
        """Steps whose keys and values the cache has just got; `position` follows them."""
        self.trail.add(watched, features, vision_means)
        self.position = position

    def blocks(self, start: int = 0, tail: bool = False) -> Iterator[Block]:
        """The whole blocks from number `start` on, in order; with `tail` also the unfinished last one."""
        size, end = self._block_steps, len(self.trail)
        for number in range(start, -(-end // size) if tail else end // size):
            yield self.block(number)

    def block(self, number: int) -> Block:
        """One block, its keys and values copied out of the cache. Raises ValueError where it has left it."""
        first = number * self._block_steps
        return self.cut(first, min(first + self._block_steps, len(self.trail)))

    def cut(self, first: int, last: int) -> Block:
        """Steps [first, last) out of the cache."""
        if first < self._first:
            raise ValueError(f"step {first} has left the cache: take blocks before they are evicted")
        trail = self.trail
        place = self._place + trail.tokens(self._first, first)
        base = self._base + trail.advance(self._first, first)
        keys, values = self.cache.states(place, place + trail.tokens(first, last))
        positions = trail.positions(first, last)
        return self._described(first, last, self.rotary.rotate(keys, -(positions + base)), values)

    def _described(self, first: int, last: int, keys: Tensor, values: Tensor) -> Block:
        """The block of steps [first, last), whose keys without rotation and values these are."""
        trail = self.trail
        watched = trail.watched[first:last]
        return Block(
            first=first,
            steps=tuple(trail.steps[first:last]),
            lengths=tuple(each.tokens for each in watched),
            advances=tuple(each.advance for each in watched),
            visions=tuple(each.vision for each in watched),
            keys=keys,
            values=values,
            positions=trail.positions(first, last),
            features=trail.features.view()[first:last],
            vision_means=trail.vision_means.view()[first:last],
        )

    def text_keys(self, place: int, count: int) -> Tensor:
        """Keys of `count` text tokens from token `place` on, behind everything watched, without rotation:
        [layers, kv_heads, count, key_dim]."""
        keys, _ = self.cache.states(place, place + count)
        first = self.position - (self.cache.length - place)
        return self.rotary.rotate(keys, -text_positions(count, first))

    def recall(self, read: Callable[[Memory], Question]) -> Memory:
        """A memory to read a question with. read: reads it beside a memory, which it lets go."""
        return self.fork()

    def focus(self, first: int, last: int) -> Memory:
        """A memory to read about steps [first, last) with: it shows these alone, right behind the prefix, or
        what a question sees where that is the same steps."""
        return self.fork() if range(first, last) in self.views() else self._alone(self._cuts(first, last))

    def _cuts(self, first: int, last: int) -> list[tuple[int, int]]:
        """Steps [first, last), block by block."""
        size = self._block_steps
        lines = [first, *range((first // size + 1) * size, last, size), last]
        return list(pairwise(lines))

    def _alone(self, extents: Sequence[tuple[int, int]]) -> Memory:
        """Prefix and these steps [first, last), each of one block, behind one another; to read with, not to
        watch on. Raises ValueError where they have left the cache."""
        prefix = self._prefix[0].shape[2]
        tokens = prefix + sum(self.trail.tokens(first, last) for first, last in extents)
        shown = Memory(self._model, tokens + turn_tokens(self._model.spec))
        shown.cache.extend(*self._prefix)
        shown.position = prefix
        shown.extend(self._parts(extents))
        shown.trail = self.trail.copy()
        shown._first = len(self.trail)  # what it holds are not the steps of the trail: no block can be cut
        return shown

    def _parts(self, extents: Sequence[tuple[int, int]]) -> Iterator[Block]:
        """Read one by one: what is on disk is never mapped all at once."""
        for first, last in extents:
            block = self.block(first // self._block_steps)
            yield block.part(first - block.first, last - block.first)

    def views(self, overlap: bool = False) -> list[range]:
        """The steps that `focus` can show, as ranges that can be shown at once. overlap: all but the
        outermost steps in two of them."""
        return [range(len(self.trail))]

    def forget(self) -> None:
        """Let go of what is known of steps that no question can see any more: none here."""

    def restore(self, blocks: Sequence[Block]) -> None:
        """As if the steps of `blocks` had just been watched; nothing else has been yet."""
        self.extend(blocks)
        self._remember(blocks)

    def settle(self, blocks: Sequence[Block]) -> None:
        """Put `blocks`, the last ones in the cache, into their places again: bit for bit what `restore` would
        put there. Taking a rotation off and putting it on again rounds. Those that have left it meanwhile do
        not come back.
        """
        if blocks := [block for block in blocks if block.first >= self._first]:
            first = blocks[0].first
            self.cache.shorten(self._place + self.trail.tokens(self._first, first))
            self.position = self._base + self.trail.advance(self._first, first)
            self.extend(blocks)

    def extend(self, blocks: Iterable[Block]) -> None:
        """Put blocks behind everything in the cache, wherever they were before."""
        place, turns, device = self.cache.length, [], self.rotary.axes.device
        for block in blocks:
            self.cache.extend(block.keys.to(device), block.values.to(device))
            turns.append(self.rotary.turns(block.positions + self.position))
            self.position += block.advance
        if turns:  # all at once: a block alone is too little for more than one core
            cos, sin = (torch.cat(each) for each in zip(*turns, strict=True))
            self.cache.change_last(place, partial(turn, cos=cos, sin=sin))

    def _remember(self, blocks: Sequence[Block]) -> None:
        """All at once: each write to a file costs as much as the vectors of many steps."""
        if not blocks:
            return
        device = self.rotary.axes.device
        features, means = (
            torch.cat([getattr(block, name) for block in blocks]).to(device)
            for name in ("features", "vision_means")
        )
        self.trail.add(chain.from_iterable(block.watched() for block in blocks), features, means)

    def fork(self) -> Self:
        """A memory with the same past, sharing its tensors, and a future of its own."""
        twin = copy.copy(self)
        twin.cache, twin.trail = self.cache.fork(), self.trail.copy()
        return twin

    def release(self) -> None:
        """Let the cache go now; the memory must not be used after this."""
        self.cache.release()


def kept_pairs(model: LoadedModel) -> range | None:
    """The rotary pairs that cached keys have; None: all of them."""
    pairs = model.spec.head_dim // 2
    kept = model.spec.rope.kept(pairs)
    return None if len(kept) == pairs else kept
