"""Compressed blocks: coded once when they are finished, read back as often as needed, never coded again.

PackedBlock goes where blocks are kept (retrieve). PackedMemory is the full policy with all finished blocks
compressed in the cache: each forward reads them layer by layer, decoded and rotated to their base in one
pass, so that only one layer is ever there in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from qvl_cli.cache.arena import ArenaCache, ArenaLayer
from qvl_cli.cache.blocks import Block
from qvl_cli.cache.codes import Codes, encode
from qvl_cli.cache.full import Memory
from qvl_cli.cache.trail import Watched
from qvl_cli.model.load import LoadedModel
from qvl_cli.model.rope import Rotary, turn
from qvl_cli.sampling import Step


@dataclass(frozen=True, slots=True, eq=False)
class PackedBlock:
    """A Block whose keys and values are codes. light: the block without them; dtype: what they were in."""

    light: Block
    keys: Codes
    values: Codes
    dtype: torch.dtype

    @staticmethod
    def of(block: Block, kind: str) -> PackedBlock:
        light = replace(block, keys=block.keys[:, :, :0].clone(), values=block.values[:, :, :0].clone())
        keys, values = encode(block.keys, kind, over=2), encode(block.values, kind, over=3)
        return PackedBlock(light, keys, values, block.keys.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return self.keys.nbytes + self.values.nbytes

    def unpack(self) -> Block:
        return replace(self.light, keys=self.keys.unpack(self.dtype), values=self.values.unpack(self.dtype))

    def on_cpu(self) -> PackedBlock:
        return replace(self.mapped(Tensor.cpu), light=self.light.on_cpu())

    def mapped(self, put: Callable[[Tensor], Tensor]) -> PackedBlock:
        """The same with the tensors of keys and values where `put` puts them."""
        return replace(self, keys=self.keys.mapped(put), values=self.values.mapped(put))


Kept = Block | PackedBlock
Parts = tuple[Tensor | Codes, Tensor | Codes]  # keys and values
Read = Callable[[], Parts]  # of a block that is kept somewhere


class _Shelf:
    """The finished blocks of one session, with the positions of their bases."""

    def __init__(self, rotary: Rotary) -> None:
        self.blocks: list[PackedBlock] = []
        self.bases: list[int] = []
        self.tokens = 0
        self._rotary = rotary
        self._turns: tuple[Tensor, Tensor] | None = None

    def add(self, block: PackedBlock, base: int) -> None:
        self.blocks.append(block)
        self.bases.append(base)
        self.tokens += sum(block.light.lengths)

    def copy(self) -> _Shelf:
        twin = _Shelf(self._rotary)
        twin.blocks, twin.bases, twin.tokens = list(self.blocks), list(self.bases), self.tokens
        return twin

    def read(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Write one layer's keys, rotated, and values to the first `tokens` places of [kv_heads, n, key_dim]
        and [kv_heads, n, head_dim]."""
        place = 0
        for block in self.blocks:
            end = place + sum(block.light.lengths)
            block.keys.read(layer, keys[:, place:end])
            block.values.read(layer, values[:, place:end])
            place = end
        if layer == 0:  # the same angles serve every layer of a forward; they are not kept beyond it
            positions = [b.light.positions + base for b, base in zip(self.blocks, self.bases, strict=True)]
            self._turns = self._rotary.turns(torch.cat(positions, dim=1))
        assert self._turns is not None
        turn(keys[:, :place], *self._turns)
        if layer == len(self.blocks[0].keys.codes) - 1:
            self._turns = None


class _PackedLayer(ArenaLayer):
    """An ArenaLayer in front of which the finished blocks are read, in whatever order: the past has no
    mask."""

    def __init__(self, index: int, reserve: int, shelf: _Shelf, kept: range | None = None) -> None:
        super().__init__(reserve, kept)
        self.index, self.shelf = index, shelf

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        own_keys, own_values = super().update(key_states, value_states, *args, **kwargs)
        packed = self.shelf.tokens
        if not packed:
            return own_keys, own_values
        keys, values = (
            own.new_empty((1, own.shape[1], packed + own.shape[2], own.shape[3]))
            for own in (own_keys, own_values)
        )
        self.shelf.read(self.index, keys[0], values[0])
        keys[:, :, packed:], values[:, :, packed:] = own_keys, own_values
        return keys, values

    def _twin(self) -> ArenaLayer:
        return _PackedLayer(self.index, self._reserve, self.shelf, self._kept)


class PackedMemory(Memory):
    """The full policy with finished blocks compressed. A block is run by itself, so that what the next one
    sees of it does not depend on the chunks."""

    def __init__(self, model: LoadedModel, kind: str, reserve: int = 0) -> None:
        super().__init__(model)
        self._kind = kind
        self._shelf = _Shelf(self.rotary)
        self.cache = ArenaCache(0)
        self.cache.layers = [
            _PackedLayer(i, reserve, self._shelf, self._pairs) for i in range(model.spec.layers)
        ]

    @property
    def tokens(self) -> int:
        return super().tokens + self._shelf.tokens

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values in the compressed blocks."""
        return sum(block.nbytes for block in self._shelf.blocks)

    @property
    def packed_tokens(self) -> int:
        """Tokens in the compressed blocks."""
        return self._shelf.tokens

    def room(self, step: Step) -> int | None:
        return self._block_steps - len(self.trail) % self._block_steps

    def add(self, watched: Sequence[Watched], features: Tensor, vision_means: Tensor, position: int) -> None:
        super().add(watched, features, vision_means, position)
        if len(self.trail) % self._block_steps == 0:
            self._pack()

    def restore(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            self.extend([block])
            self._remember([block])
            if len(block.steps) == self._block_steps:
                self._pack()

    def block(self, number: int) -> Block:
        packed = self._shelf.blocks
        return packed[number].unpack() if number < len(packed) else super().block(number)

    def fork(self) -> Self:
        twin = super().fork()
        twin._shelf = self._shelf.copy()
        for layer in twin.cache.layers:
            layer.shelf = twin._shelf
        return twin

    def _pack(self) -> None:
        """The last block, just finished, leaves the arena for the shelf."""
        end = len(self.trail)
        block = self.cut(end - self._block_steps, end)
        self._shelf.add(PackedBlock.of(block, self._kind), self._base)
        self.cache.drop(self._place, self._place + block.tokens)
        self._first, self._base = end, self.position
