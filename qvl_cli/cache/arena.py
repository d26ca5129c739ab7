"""Keys and values as the model reads them: appended in place, shared by forks, closed up where some leave.

transformers' DynamicCache concatenates, copying the whole past for every chunk. Here each layer owns a buffer
with room to spare. A fork is a second layer object on the same buffer: whoever reaches furthest may append in
place; anyone who would overwrite what another still reads gets a copy of its own first. Letting a fork go
gives its tail back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from transformers import Cache, CacheLayerMixin

from qvl_cli.model.attention import narrowed

_MIN_ROOM = 256


class _Buffer:
    """Room for [1, kv_heads, capacity, ...] keys and values, and the layers that read from it."""

    __slots__ = ("keys", "readers", "values")

    def __init__(self, keys: Tensor, values: Tensor, capacity: int) -> None:
        """An empty buffer for states like `keys` and `values` [1, kv_heads, n, ...]."""
        self.keys, self.values = (
            each.new_empty((*each.shape[:2], capacity, each.shape[3])) for each in (keys, values)
        )
        self.readers: WeakSet[ArenaLayer] = WeakSet()

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]


class ArenaLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values: the first `length` places of a buffer that may be shared.

    kept: rotary pairs that cached keys have; None: all of them.
    """

    is_sliding = False
    is_croppable = True
    keys: Tensor | None
    values: Tensor | None

    def __init__(self, reserve: int = 0, kept: range | None = None) -> None:
        super().__init__()
        self.length = 0
        self._reserve, self._kept = reserve, kept
        self._buffer: _Buffer | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self._adopt(_Buffer(key_states, value_states, max(self._reserve, _MIN_ROOM, key_states.shape[2])))

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append what the network gives, [1, kv_heads, n, head_dim], keys without their dropped pairs."""
        if self._kept is not None:
            key_states = narrowed(key_states, self._kept)
        return self.append(key_states, value_states)

    def append(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys [1, kv_heads, n, key_dim] and values [1, kv_heads, n, head_dim]; returns views of all
        so far."""
        if self._buffer is None:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        buffer = self._room_for(end)
        buffer.keys[:, :, self.length : end] = key_states
        buffer.values[:, :, self.length : end] = value_states
        self._set_length(end)
        return buffer.keys[:, :, :end], buffer.values[:, :, :end]

    def fork(self) -> ArenaLayer:
        """A layer with the same past and a future of its own."""
        twin = self._twin()
        if self._buffer is not None:
            twin.dtype, twin.device = self.dtype, self.device
            twin.length = self.length
            twin._adopt(self._buffer)
        return twin

    def _twin(self) -> ArenaLayer:
        """An empty layer of the same kind."""
        return ArenaLayer(self._reserve, self._kept)

    def release(self) -> None:
        """Let the past go; the others may write where only this layer had written."""
        if self._buffer is not None:
            self._buffer.readers.discard(self)
        self._buffer = None
        self.keys = self.values = None
        self.length = 0
        self.is_initialized = False

    def shorten(self, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        if self._buffer is not None and length < self.length:
            self._set_length(length)

    def drop(self, first: int, last: int) -> None:
        """Forget tokens [first, last); those behind them close up. In place where nobody else reads them."""
        buffer, gap = self._private(), last - first
        # Pieces no longer than the gap never overlap the place they go to: no copy beside the buffer is made.
        for start in range(last, self.length, gap):
            end = min(start + gap, self.length)
            buffer.keys[:, :, start - gap : end - gap] = buffer.keys[:, :, start:end]
            buffer.values[:, :, start - gap : end - gap] = buffer.values[:, :, start:end]
        self._set_length(self.length - gap)

    def write_keys(self, place: int, keys: Tensor) -> None:
        """Put keys [kv_heads, n, key_dim] in the place of those of n tokens from `place` on."""
        self._private().keys[0, :, place : place + keys.shape[1]] = keys

    def crop(self, tokens_to_remove: int) -> None:
        """transformers' name for it: forget the last `-tokens_to_remove` tokens (a number <= 0)."""
        self.shorten(max(self.length - abs(tokens_to_remove), 0))

    def reset(self) -> None:
        self.release()

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        return -1

    @property
    def capacity(self) -> int:
        """Tokens the present buffer has room for."""
        return self._buffer.capacity if self._buffer is not None else 0

    def _room_for(self, end: int) -> _Buffer:
        """A buffer with places up to `end` that nobody else reads beyond this layer's length."""
        buffer = self._buffer
        assert buffer is not None
        if end <= buffer.capacity and all(
            one.length <= self.length for one in buffer.readers if one is not self
        ):
            return buffer
        # A quarter more: copying stays linear in the end, and a fork that copies a long video takes little
        # more than the video.
        return self._copied(end + max(_MIN_ROOM, end // 4))

    def _private(self) -> _Buffer:
        """The buffer, where nobody else reads it, else a copy."""
        assert self._buffer is not None
        return self._buffer if len(self._buffer.readers) == 1 else self._copied(self._buffer.capacity)

    def _copied(self, capacity: int) -> _Buffer:
        """What is held, in a fresh buffer that is this layer's own from now on."""
        buffer = self._buffer
        assert buffer is not None
        fresh = _Buffer(buffer.keys, buffer.values, capacity)
        fresh.keys[:, :, : self.length] = buffer.keys[:, :, : self.length]
        fresh.values[:, :, : self.length] = buffer.values[:, :, : self.length]
        buffer.readers.discard(self)
        self._adopt(fresh)
        return fresh

    def _adopt(self, buffer: _Buffer) -> None:
        self._buffer = buffer
        buffer.readers.add(self)
        self.is_initialized = True
        self._set_length(self.length)

    def _set_length(self, length: int) -> None:
        assert self._buffer is not None
        self.length = length
        self.keys = self._buffer.keys[:, :, :length]
        self.values = self._buffer.values[:, :, :length]


class ArenaCache(Cache):  # type: ignore[misc]
    """The full policy for a whole model: one ArenaLayer per decoder layer.

    reserve: tokens to make room for at once, where the plan's total is known; more still fits, by copying
    into a quarter more than is needed. kept: rotary pairs that cached keys have; None: all of them.
    """

    def __init__(self, layers: int, reserve: int = 0, kept: range | None = None) -> None:
        super().__init__(layers=[ArenaLayer(reserve, kept) for _ in range(layers)])

    @property
    def length(self) -> int:
        """Tokens held."""
        return int(self.layers[0].length)

    @property
    def nbytes(self) -> int:
        """Bytes the buffers take, shared ones counted in full."""
        return sum(
            tensor.untyped_storage().nbytes()
            for layer in self.layers
            for tensor in (layer.keys, layer.values)
            if tensor is not None
        )

    def states(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Copies of the keys and values of tokens [first, last): [layers, kv_heads, tokens, key_dim] and
        [layers, kv_heads, tokens, head_dim]."""
        keys = torch.stack([layer.keys[0, :, first:last] for layer in self.layers])
        values = torch.stack([layer.values[0, :, first:last] for layer in self.layers])
        return keys, values

    def extend(self, keys: Tensor, values: Tensor) -> None:
        """Append to every layer what `states` gave."""
        for layer, own_keys, own_values in zip(self.layers, keys, values, strict=True):
            layer.append(own_keys[None], own_values[None])

    def change_last(self, place: int, change: Callable[[Tensor], object]) -> None:
        """Change the keys from token `place` on in place, layer by layer, [kv_heads, tokens, key_dim]: those
        that this cache has just appended, and that no fork has yet."""
        for layer in self.layers:
            change(layer.keys[0, :, place:])

    def drop(self, first: int, last: int) -> None:
        """Forget tokens [first, last) in every layer."""
        for layer in self.layers:
            layer.drop(first, last)

    def change_keys(self, place: int, change: Callable[[Tensor], Tensor]) -> None:
        """Replace the keys from token `place` on, layer by layer: [kv_heads, tokens, key_dim] -> the same."""
        for layer in self.layers:
            layer.write_keys(place, change(layer.keys[0, :, place:]))

    def write_keys(self, place: int, keys: Tensor) -> None:
        """Replace the keys from token `place` on: [layers, kv_heads, tokens, key_dim]."""
        for layer, own in zip(self.layers, keys, strict=True):
            layer.write_keys(place, own)

    def fork(self) -> ArenaCache:
        """A cache with the same past, sharing its memory, and a future of its own."""
        twin = ArenaCache(0)
        twin.layers = [layer.fork() for layer in self.layers]
        return twin

    def shorten(self, length: int) -> None:
        """Forget everything after the first `length` tokens, in every layer."""
        for layer in self.layers:
            layer.shorten(length)

    def release(self) -> None:
        """Let everything go; where this was the longest fork its tail becomes free again."""
        for layer in self.layers:
            layer.release()
