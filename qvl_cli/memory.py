"""How much of what was watched is kept: full, window or retrieve. Settings only, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.errors import UsageError

POLICIES = ("full", "window", "retrieve")
POSITIONS = ("append", "shrink")


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """policy: full keeps everything; window keeps the first `sinks` steps and the last `window` seconds;
    retrieve watches like window, and a question sees the sinks and the blocks it needs.

    positions: what eviction does to the survivors' positions: `append` leaves them, `shrink` closes the gap
    and so stays within bounds for ever. share, fewest: of n blocks a question sees share * n, `fewest` at
    least.
    """

    policy: str = "full"
    sinks: int = 4
    window: Fraction = Fraction(120)
    positions: str = "shrink"
    share: Fraction = Fraction(1, 10)
    fewest: int = 8

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UsageError(f"no memory is called {self.policy!r}", f"choose from {', '.join(POLICIES)}")
        if self.positions not in POSITIONS:
            raise UsageError(f"no positions {self.positions!r}", f"choose from {', '.join(POSITIONS)}")
        if self.sinks < 0 or self.window <= 0 or not 0 < self.share <= 1 or self.fewest < 1:
            raise UsageError(
                "a window of no time or a choice of no blocks keeps nothing", "give numbers above 0"
            )

    def picked(self, blocks: int) -> int:
        """How many of `blocks` blocks a question sees under retrieve."""
        return min(blocks, max(self.fewest, math.ceil(self.share * blocks)))
