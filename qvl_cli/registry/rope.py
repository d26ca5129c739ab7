"""What a run may change of a checkpoint's rotary positions: stretch them, or drop some of their pairs."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.errors import UsageError

ENDS = ("low", "high")
# Of a checkpoint's own rotations: angles must not depend on the length of the sequence (the cache is carried
# while it grows), and these do.
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")


@dataclass(frozen=True, slots=True)
class RopeSettings:
    """yarn: how many times as many positions as the checkpoint was trained for, by YaRN (arXiv 2309.00071);
    None: no more. prune: share of the rotary pairs that queries and cached keys lose; 0: none. end: of the
    pairs with the lowest frequencies (they hardly turn over a whole video) or the highest (they tell near
    positions apart)."""

    yarn: Fraction | None = None
    prune: Fraction = Fraction(0)
    end: str = "low"

    def __post_init__(self) -> None:
        if self.yarn is not None and self.yarn <= 1:
            raise UsageError(
                f"--yarn {float(self.yarn):g} stretches nothing", "give a number above 1, like 3"
            )
        if not 0 <= self.prune < 1:
            raise UsageError(
                f"--rope-prune {float(self.prune):g} leaves no rotary pair", "give a share from 0 to below 1"
            )
        if self.end not in ENDS:
            raise UsageError(
                f"no end of the frequencies is called {self.end!r}", f"choose from {', '.join(ENDS)}"
            )

    def kept(self, pairs: int) -> range:
        """Which of `pairs` rotary pairs stay, the highest frequency first. At least one goes where any shall,
        and at least one stays."""
        if not self.prune:
            return range(pairs)
        gone = min(max(round(self.prune * pairs), 1), pairs - 1)
        return range(gone, pairs) if self.end == "high" else range(pairs - gone)

    @property
    def text(self) -> str:
        """What of this changes what is computed, for the key of a saved index; empty where nothing does."""
        parts = [f"yarn {self.yarn}"] if self.yarn else []
        return " ".join([*parts, f"prune {self.prune} {self.end}"] if self.prune else parts)


PLAIN_ROPE = RopeSettings()
