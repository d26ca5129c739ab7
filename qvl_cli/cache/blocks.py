"""Blocks: the relocatable pieces a watched video is made of, the unit of keeping, moving and storing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from qvl_cli.cache.trail import Watched
from qvl_cli.sampling import Step
from qvl_cli.timeline import TimeSpan


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """`spec.block_steps` consecutive steps (fewer only at the end of a video), as the model has read them.

    Self-contained: a video is the template's prefix and its blocks in order, and a block may be put at any
    position. Tensors may be on any device, or views of a memory-mapped file.

    first: number of its first step among all watched; a multiple of `spec.block_steps`.
    steps: with exact Fraction times. lengths: tokens of each step; visions: of these, those of its picture.
    keys, values: [layers, kv_heads, tokens, key_dim] and [..., head_dim] in the model's dtype; keys without
    rotation.
    positions: int32 [3, tokens] (T, H, W), from the block's base. advance: positions the block takes; the
    base of what follows is so much further. advances: the same for each step, `advance` is their sum.
    features: float32 [steps, regions + 1, hidden], vision_means: float32 [steps, hidden], as `StreamSession`
    has them.
    """

    first: int
    steps: tuple[Step, ...]
    lengths: tuple[int, ...]
    advances: tuple[int, ...]
    visions: tuple[int, ...]
    keys: Tensor
    values: Tensor
    positions: Tensor
    features: Tensor
    vision_means: Tensor

    @property
    def span(self) -> TimeSpan:
        """From the start of the first step's interval to the end of the last one's."""
        return TimeSpan(self.steps[0].interval.start, self.steps[-1].interval.end)

    @property
    def advance(self) -> int:
        return sum(self.advances)

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    def mapped(self, put: Callable[[Tensor], Tensor]) -> Block:
        """The same with its keys and values where `put` puts them."""
        return replace(self, keys=put(self.keys), values=put(self.values))

    def on_cpu(self) -> Block:
        """The same with every tensor in the main memory."""
        names = ("keys", "values", "positions", "features", "vision_means")
        return replace(self, **{name: getattr(self, name).cpu() for name in names})

    def watched(self) -> Iterator[Watched]:
        """Its steps as the trail has them."""
        bases = torch.tensor([0, *accumulate(self.advances)][:-1], dtype=torch.int32)
        own = self.positions.to("cpu", torch.int32) - bases.repeat_interleave(torch.tensor(self.lengths))
        positions = torch.split(own, list(self.lengths), dim=1)
        yield from map(Watched, self.steps, positions, self.advances, self.visions)

    def part(self, first: int, last: int) -> Block:
        """Its steps [first, last) (numbers within the block) as a block of their own."""
        places = [0, *accumulate(self.lengths)]
        bases = [0, *accumulate(self.advances)]
        tokens = slice(places[first], places[last])
        return Block(
            first=self.first + first,
            steps=self.steps[first:last],
            lengths=self.lengths[first:last],
            advances=self.advances[first:last],
            visions=self.visions[first:last],
            keys=self.keys[:, :, tokens],
            values=self.values[:, :, tokens],
            positions=self.positions[:, tokens] - bases[first],
            features=self.features[first:last],
            vision_means=self.vision_means[first:last],
        )
