"""The window policy: the first steps and the last seconds; blocks between them leave the cache.

A sliding window with attention sinks (StreamingLLM, arXiv 2309.17453), by whole blocks, and by time: while a
block is watched, the model sees the template's prefix, the sinks and every block that ended less than the
window before this one began. So what it sees depends on the steps alone, never on the chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

from torch import Tensor

from qvl_cli.cache.blocks import Block
from qvl_cli.cache.full import Memory
from qvl_cli.memory import REBASE, MemorySettings
from qvl_cli.model.load import LoadedModel
from qvl_cli.sampling import Step


class WindowMemory(Memory):
    """`append` leaves every position as it was: the distance to the sinks grows.

    `shrink` keeps the sinks right in front of the window: they are moved up to it from where they first were,
    one rotation of a few keys, and everything moves down every REBASE positions. Only distances matter to
    attention, and no key is rotated once for each eviction: rounding would add up.
    """

    def __init__(
        self, model: LoadedModel, settings: MemorySettings, reserve: int = 0, filed: bool = False
    ) -> None:
        super().__init__(model, reserve, filed)
        self._settings = settings
        self._shrinks = settings.positions == "shrink"
        self._gap = 0  # positions the sinks have moved up
        self._sinks: Tensor | None = None  # keys of prefix and sinks where they first were

    @property
    def shown_sinks(self) -> range:
        return range(min(self._settings.sinks, self._first))

    @property
    def origin(self) -> int:
        return self._gap

    def room(self, step: Step) -> int | None:
        filled = len(self.trail) % self._block_steps
        if filled == 0:
            self._evict(step.interval.start)
        return self._block_steps - filled

    def restore(self, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        self._remember(blocks)
        sinks, size = self._settings.sinks, self._block_steps
        first = self._kept_from(blocks[-1].steps[0].interval.start)
        if first > sinks:
            shown = blocks[: -(-sinks // size)]
            self.extend(each.part(0, min(sinks - each.first, len(each.steps))) for each in shown)
            if self._shrinks:
                self._sinks = self.cache.states(0, self.cache.length)[0]
            else:
                self.position += self.trail.advance(sinks, first)
            self._first, self._place, self._base = first, self.cache.length, self.position
        self.extend(blocks[self._first // size :])

    def views(self, overlap: bool = False) -> list[range]:
        return [range(self._first, len(self.trail))]

    def forget(self) -> None:
        """Forget the times and features of steps that have left the cache, so that an endless video takes no
        more than its window. Whole blocks go, those of the sinks stay: blocks begin where they began."""
        size = self._block_steps
        kept = min(-(-self._settings.sinks // size) * size, self._first)
        if kept < self._first:
            self.trail.cut(kept, self._first)
            self._first = kept

    def _kept_from(self, now: Fraction) -> int:
        """The first step that a block which begins at `now` may see, sinks aside."""
        first, size, steps = self._first, self._block_steps, self.trail.steps
        oldest = now - self._settings.window
        while first + size <= len(steps) and steps[first + size - 1].interval.end <= oldest:
            first += size
        return first

    def _evict(self, now: Fraction) -> None:
        first, gone = self._kept_from(now), max(self._first, self._settings.sinks)
        if first <= gone:
            return
        trail = self.trail
        place = self._place + trail.tokens(self._first, gone)
        if self._shrinks and self._sinks is None:
            self._sinks = self.cache.states(0, place)[0]
        self.cache.drop(place, place + trail.tokens(gone, first))
        self._base += trail.advance(self._first, first)
        self._first, self._place = first, place
        if self._sinks is None:
            return
        self._gap += trail.advance(gone, first)
        if self._gap > REBASE:
            self.cache.change_keys(place, partial(self.rotary.shift, by=-self._gap))
            self._base -= self._gap
            self.position -= self._gap
            self._gap = 0
        self.cache.write_keys(0, self.rotary.shift(self._sinks, self._gap))
