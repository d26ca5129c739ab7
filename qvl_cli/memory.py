"""How much of what was watched is kept: full, window or retrieve. Settings and counts only, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.errors import UsageError
from qvl_cli.sampling import Step

POLICIES = ("auto", "full", "window", "retrieve")
POSITIONS = ("append", "shrink")
# What finished blocks take against what they would in the model's own dtype `none`: bytes for a number, the
# scales included (a scale for each channel of a block, and for each token and head).
KV_BYTES = {"none": None, "bf16": 2.0, "int8": 1.04, "int4": 0.6}
# Positions the gap behind the sinks may reach under `shrink` before everything moves down.
REBASE = 8_192


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """policy: full keeps everything; window keeps the first `sinks` steps and the last `window` seconds;
    retrieve watches like window, and a question sees the sinks and the blocks it needs; auto is full where
    that fits, else retrieve (`budget.choose_memory`).

    positions: what eviction does to the survivors' positions: `append` leaves them, `shrink` closes the gap
    and so stays within bounds for ever; retrieve always shrinks. share, fewest, most: of n blocks a question
    sees share * n, `fewest` at least, and no more than `most`, where the model's positions end there. kv:
    finished blocks are kept in the model's dtype (none), or compressed.
    """

    policy: str = "auto"
    sinks: int = 4
    window: Fraction = Fraction(120)
    positions: str = "shrink"
    share: Fraction = Fraction(1, 10)
    fewest: int = 8
    most: int | None = None
    kv: str = "none"

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UsageError(f"no memory is called {self.policy!r}", f"choose from {', '.join(POLICIES)}")
        if self.kv not in KV_BYTES:
            raise UsageError(f"no kv is called {self.kv!r}", f"choose from {', '.join(KV_BYTES)}")
        if self.positions not in POSITIONS:
            raise UsageError(f"no positions {self.positions!r}", f"choose from {', '.join(POSITIONS)}")
        if (
            self.sinks < 0
            or self.window <= 0
            or not 0 < self.share <= 1
            or min(self.fewest, self.most or 1) < 1
        ):
            raise UsageError(
                "a window of no time or a choice of no blocks keeps nothing", "give numbers above 0"
            )

    def picked(self, blocks: int) -> int:
        """How many of `blocks` blocks a question sees under retrieve."""
        wanted = min(blocks, max(self.fewest, math.ceil(self.share * blocks)))
        return wanted if self.most is None else min(wanted, self.most)


AUTO = MemorySettings()


def what_is_lost(
    steps: Sequence[Step], settings: MemorySettings, block_steps: int, head: bool
) -> tuple[str, ...]:
    """What a question will not see of a plan, or not as it was, in sentences; none where nothing is lost.

    head: the blocks are chosen by an alignment head.
    """
    unseen = _unseen(steps, settings, block_steps, head)
    notes = [] if unseen is None else [unseen]
    if settings.kv != "none" and settings.policy == "window":
        notes.append(f"kv {settings.kv} changes nothing: the window is kept as it is")
    elif settings.kv != "none":
        notes.append(f"kv {settings.kv}: finished blocks are compressed, answers may differ")
    return tuple(notes)


def _unseen(steps: Sequence[Step], settings: MemorySettings, block_steps: int, head: bool) -> str | None:
    if settings.policy not in ("window", "retrieve"):
        return None
    blocks = -(-len(steps) // block_steps)
    shown = settings.picked(blocks) if settings.policy == "retrieve" else blocks
    if most_held(steps, settings, block_steps) == len(steps) and shown == blocks:
        return None
    seconds = f"{float(settings.window):g} s"
    if settings.policy == "window":
        return f"memory window: a question sees the first {settings.sinks} steps and the last {seconds}"
    watched = f"memory retrieve: watched through a window of {seconds}"
    if shown == blocks:
        return watched
    chosen = "the alignment head" if head else "the likeness of keys"
    return f"{watched}; a question sees {shown} of {blocks} blocks, chosen by {chosen}"


def most_held(steps: Sequence[Step], settings: MemorySettings, block_steps: int) -> int:
    """The most steps of a plan that the window ever holds at once, sinks included."""
    first = most = 0  # `first`: of the window
    for number in range(0, len(steps), block_steps):
        oldest = steps[number].interval.start - settings.window
        while first + block_steps <= number and steps[first + block_steps - 1].interval.end <= oldest:
            first += block_steps
        held = min(number + block_steps, len(steps)) - first
        most = max(most, min(settings.sinks, first) + held)
    return most


def stretches(whole: range, size: int, stride: int) -> list[range]:
    """`whole` in ranges of `size`, each `stride` behind the one before; the last ends where `whole` does, and
    may be shorter. Empty for an empty one."""
    last = max(whole.stop - size, whole.start)  # one that begins at or behind it has the end in it
    starts = range(whole.start, last + stride if whole else whole.start, stride)
    return [range(first, min(first + size, whole.stop)) for first in starts]
