"""Rotary positions of keys: put on, taken off, moved. What makes a cache block relocatable.

The network rotates keys itself while it runs (transformers' Qwen3VLTextRotaryEmbedding); this is the same
rotation for keys that are already in the cache. Angles are float64: at position 250,000 a float32 angle is
0.03 off. YaRN's attention scale is a factor in the keys and stays there; rotations that depend on the length
of the sequence are refused where a checkpoint is read (`registry.LENGTH_DEPENDENT_ROPE`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qvl_cli.model.load import LoadedModel

_CPU_AT_ONCE, _GPU_AT_ONCE = 2**20, 2**24  # numbers: as many as a cache holds; as many as are worth a launch


def _interleaved(sections: Sequence[int]) -> list[int]:
    """Qwen3-VL: T everywhere, but H on 1, 4, 7... and W on 2, 5, 8... as far as their sections go."""
    axes = [0] * sum(sections)
    for axis in (1, 2):
        for place in range(axis, 3 * sections[axis], 3):
            axes[place] = axis
    return axes


def _chunked(sections: Sequence[int]) -> list[int]:
    """Qwen2-VL: all of T, then all of H, then all of W."""
    return [axis for axis, count in enumerate(sections) for _ in range(count)]


def _six_segment(sections: Sequence[int]) -> list[int]:
    """T, H, W, T, H, W: each axis gets half of its section in the upper and half in the lower frequencies."""
    halves = [count // 2 for count in sections]
    rest = [count - half for count, half in zip(sections, halves, strict=True)]
    return _chunked(rest) + _chunked(halves)


# Which axis (0 T, 1 H, 2 W) each frequency follows, from `mrope_section`. Released weights: `interleaved`.
LAYOUTS: dict[str, Callable[[Sequence[int]], list[int]]] = {
    "interleaved": _interleaved,
    "chunked": _chunked,
    "six-segment": _six_segment,
}


@dataclass(frozen=True, slots=True)
class Rotary:
    """frequencies: float64 [key_dim / 2], radians per position; axes: int64 [key_dim / 2], see LAYOUTS.
    Of the pairs that cached keys have (`ModelSpec.key_dim`), the highest frequency first.
    """

    frequencies: Tensor
    axes: Tensor

    @staticmethod
    def of(model: LoadedModel, layout: str = "interleaved") -> Rotary:
        """The rotation of a loaded checkpoint."""
        rotary = model.network.model.language_model.rotary_emb
        axes = torch.tensor(LAYOUTS[layout](rotary.mrope_section))
        kept = model.spec.rope.kept(len(axes))
        pairs = slice(kept.start, kept.stop)
        return Rotary(rotary.inv_freq.double()[pairs].to(model.device), axes[pairs].to(model.device))

    def rotate(self, keys: Tensor, positions: Tensor) -> Tensor:
        """keys [..., n, key_dim] without rotation -> at positions [3, n], in place.

        `rotate(keys, -positions)` takes the rotation off again.
        """
        return turn(keys, *self.turns(positions))

    def shift(self, keys: Tensor, by: int) -> Tensor:
        """Rotated keys [..., n, key_dim] -> all moved by `by` positions: one angle for each frequency."""
        angles = (self.frequencies * by).expand(keys.shape[-2], -1)
        return turn(keys.clone(), angles.cos().float(), angles.sin().float())

    def turns(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the angles at positions [3, n], float32 [n, key_dim / 2], for `turn`."""
        angles = positions.to(self.axes.device).double()[self.axes].T * self.frequencies
        return angles.cos().float(), angles.sin().float()


def turn(keys: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs (i, i + key_dim / 2) of keys [..., n, key_dim] turned in place, in float32, by angles [n, key_dim
    / 2]; so much at once that what is held beside the keys stays small."""
    count, half = keys.shape[-2], keys.shape[-1] // 2
    at_once = _CPU_AT_ONCE if keys.device.type == "cpu" else _GPU_AT_ONCE
    stride = max(at_once * count // max(keys.numel(), 1), 1)
    for piece in (slice(first, first + stride) for first in range(0, count, stride)):
        own = keys[..., piece, :]
        (low, high), c, s = own.float().chunk(2, dim=-1), cos[piece], sin[piece]
        lower, upper = (low * c).sub_(high * s), (high * c).add_(low * s)
        own[..., :half], own[..., half:] = lower, upper
    return keys
