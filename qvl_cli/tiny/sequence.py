"""Tokens with their MRoPE positions, grown piece by piece: what qvl streams, and questions behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qvl_cli.tiny.perception import COLS, IGNORE, ROWS
from qvl_cli.tiny.vocabulary import special_ids, world_tokenizer

PREFIX, SUFFIX = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"


def encode(text: str) -> list[int]:
    return list(world_tokenizer().encode(text, add_special_tokens=False).ids)


@dataclass(slots=True)
class Sequence3D:
    """Per token: id, three positions, target (IGNORE for none) and its weight, block (0 the video, 1.. the
    questions) and step (-1 outside of all)."""

    ids: list[int] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    block: list[int] = field(default_factory=list)
    step: list[int] = field(default_factory=list)

    def text(self, ids: Sequence[int], cursor: int, block: int, learn: float = 0.0, step: int = -1) -> int:
        """Append text; with `learn` > 0 each token is the target of the one before, at that weight. Returns
        the next position."""
        for i, token in enumerate(ids):
            if learn:
                self.targets[-1], self.weights[-1] = token, learn
            self._add(token, (cursor + i,) * 3, block, step)
        return cursor + len(ids)

    def watch(self, step: int, seconds: float, cursor: int) -> tuple[int, int]:
        """Append a step as the engine does; returns the next position and the place of its last token."""
        specials = special_ids()
        cursor = self.text(encode(f"<{seconds:.1f} seconds>"), cursor, 0, step=step)
        cursor = self.text([specials["<|vision_start|>"]], cursor, 0, step=step)
        for row in range(ROWS):
            for col in range(COLS):
                self._add(specials["<|video_pad|>"], (cursor, cursor + row, cursor + col), 0, step)
        cursor = self.text([specials["<|vision_end|>"]], cursor + max(ROWS, COLS), 0, step=step)
        return cursor, len(self.ids) - 1

    def _add(self, token: int, position: tuple[int, int, int], block: int, step: int) -> None:
        self.ids.append(token)
        self.positions.append(position)
        self.targets.append(IGNORE)
        self.weights.append(0.0)
        self.block.append(block)
        self.step.append(step)
