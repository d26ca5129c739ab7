"""When the steps of a training clip are: evenly spaced, or where something happens, as if adaptive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qvl_cli.tiny.pieces import Span
from qvl_cli.tiny.world import Script

Floats = npt.NDArray[np.float64]
STRETCH = 2.5  # seconds that an uneven clip may take for each step
GAPS = (10.0, 7.0, 5.0, 3.5, 2.5, 1.5, 1.0)  # seconds between two steps at most, where nothing happens
NEAREST = 0.5  # seconds between two steps at least


@dataclass(frozen=True, slots=True)
class Timing:
    """When the steps of a clip are, on the clock of its script. frames [steps, 2]: times of the two frames;
    starts, ends [steps]: the intervals; offset: seconds that the clip's printed times are later; beyond: an
    end is told by the first step that no longer shows it, which can know that, instead of by the last that
    does, which cannot."""

    frames: Floats
    starts: Floats
    ends: Floats
    offset: float
    beyond: bool = False

    def printed(self, step: int) -> float:
        return float(self.frames[step].mean()) + self.offset

    def step_of(self, moment: float, first: bool) -> int:
        """The first step that shows what begins at a moment, or the last that shows what ends then."""
        if first:
            return min(int(np.searchsorted(self.frames[:, 1], moment)), len(self.starts) - 1)
        return max(int(np.searchsorted(self.frames[:, 0], moment)) - 1, 0)

    def step_told(self, moment: float, first: bool) -> int:
        """The step whose time is written for a moment."""
        step = self.step_of(moment, first)
        return step if first or not self.beyond else min(step + 1, len(self.starts) - 1)

    def steps_in(self, span: Span) -> tuple[int, int]:
        """[first, last) of the steps with a frame in a span; at least one."""
        first = self.step_of(span[0], first=True)
        return first, max(first, self.step_of(span[1], first=False)) + 1


def uneven_starts(
    script: Script, begin: float, end: float, count: int, rate: float, rng: np.random.Generator
) -> Floats:
    """Where `count` steps between two moments begin: at each change, one before it, every second while
    something acts, and rarely where nothing happens. Times are those of frames at `rate` a second."""
    instants, stretches = changes(script)
    grid = np.arange(begin, end, 1.0)
    sudden = np.array(sorted(t for t in instants if begin < t < end))
    if len(sudden):
        grid = grid[np.abs(grid[:, None] - sudden[None]).min(1) >= NEAREST]
    times = np.unique(np.ceil(np.concatenate([grid, sudden]) * rate) / rate)
    times = np.array(_apart(times))
    busy = np.array(
        [
            any(a - 1.0 <= t < b for a, b in stretches) or any(0 <= t - s < 1.6 for s in instants)
            for t in times
        ]
    )
    wanted = busy | np.append(busy[1:], False)
    for gap in GAPS[int(rng.integers(4)) :]:
        kept, last = [], -np.inf
        for time, want in zip(times, wanted, strict=True):
            if want or time - last >= gap:
                kept.append(time)
                last = time
        if len(kept) >= count:
            break
    return np.array(kept[:count])


def _apart(times: Floats) -> list[float]:
    kept: list[float] = []
    for time in times:
        if not kept or time - kept[-1] >= NEAREST:
            kept.append(float(time))
    return kept


def changes(script: Script) -> tuple[list[float], list[Span]]:
    """Moments at which the picture changes at once, and stretches during which it goes on changing."""
    instants = [moment for each in script.actors for moment in (each.start, each.end)]
    instants += [moment for each in script.captions for moment in (each.start, each.end)]
    instants += [scene.start for scene in script.scenes[1:]]
    return instants, [(a.action.start, a.action.end) for a in script.actors if a.action]
