"""When the steps of a training clip are: evenly spaced, or where something happens, as if adaptive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from qvl_cli.media.thumbnails import Thumbnail
from qvl_cli.sampling.choice import Grid, choose_active
from qvl_cli.sampling.grid import on_screen
from qvl_cli.scan import ScanSettings, find_changes
from qvl_cli.tiny.draw import Pixels, draw
from qvl_cli.tiny.perception import FRAME_GAP
from qvl_cli.tiny.pieces import Span
from qvl_cli.tiny.world import Script

Floats = npt.NDArray[np.float64]
STRETCH = 2.5  # seconds that an uneven clip may take for each step
GAPS = (10.0, 7.0, 5.0, 3.5, 2.5, 1.5, 1.0)  # seconds between two steps at most, where nothing happens
NEAREST = 0.5  # seconds between two steps at least
QUIET = 0.2  # share of what else happens that is left, at least, where steps are planned
_CELL = 4  # pixels of a drawing at scale 1
_AT_ONCE = 256  # frames
_YUV = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])


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
    script: Script, begin: float, end: float, count: int, rate: float, gaps: Sequence[float]
) -> Floats:
    """Where `count` steps between two moments begin: at each change, one before it, every second while
    something acts, and rarely where nothing happens: the first of `gaps` seconds that makes enough steps.
    Times are those of frames at `rate` a second."""
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
    for gap in gaps:
        kept, last = [], -np.inf
        for time, want in zip(times, wanted, strict=True):
            if want or time - last >= gap:
                kept.append(time)
                last = time
        if len(kept) >= count:
            break
    return np.array(kept[:count])


def planned_frames(
    script: Script, begin: float, end: float, count: int, rate: float, gaps: Sequence[float]
) -> Floats:
    """The first `count` steps that adaptive sampling keeps between two moments of the script, drawn at `rate`
    frames a second: times of their two frames [count, 2]. gaps: as for `uneven_starts`."""
    every, apart = 1 / Fraction(rate), Fraction(FRAME_GAP)
    times = [n * every for n in range(math.ceil(begin * rate), math.floor(end * rate))]
    seconds = range(math.ceil(times[0]), math.floor(times[-1]))
    pairs = [(on_screen(times, Fraction(t)), on_screen(times, t + apart)) for t in seconds]
    found = [
        each for each in find_changes(small_frames(script, times), ScanSettings()) if each.time > pairs[0][0]
    ]
    for gap in gaps:
        room = len(pairs)
        grid = Grid(pairs, times, times[-1] + every, 1 / apart, room, Fraction(gap), room)
        kept = choose_active(grid, found).pairs
        if len(kept) >= count:
            break
    return np.array(kept[:count], float)


def small_frames(script: Script, times: Sequence[Fraction]) -> Iterator[Thumbnail]:
    """What a scan would see of the drawn script at ascending times, but for camera noise, which to it is no
    change: a frame is drawn only where it differs from the one before."""
    script = replace(script, noise=0.0)
    moments, (instants, stretches) = np.array(times, float), changes(script)
    differs = np.zeros(len(times) + 1, bool)
    differs[0] = True
    differs[np.searchsorted(moments, instants)] = True
    for start, end in stretches:
        differs[np.searchsorted(moments, start) : np.searchsorted(moments, end) + 1] = True
    edges = np.append(np.flatnonzero(differs[:-1]), len(times))
    for at in range(0, len(edges) - 1, _AT_ONCE):
        some = edges[at : at + _AT_ONCE + 1]
        for planes, first, end in zip(
            _cells(draw(script, moments[some[:-1]].tolist())), some, some[1:], strict=False
        ):
            yield from (Thumbnail(time, planes) for time in times[first:end])


def _cells(frames: Pixels) -> npt.NDArray[np.uint8]:
    count, height, width, colours = frames.shape
    rows = frames.reshape(count, height // _CELL, _CELL, width * colours).sum(2, dtype=np.uint16)
    cells = rows.reshape(count, height // _CELL, width // _CELL, _CELL, colours).sum(3) / _CELL**2
    planes = (cells @ _YUV.T + (0, 128, 128)).clip(0, 255).transpose(0, 3, 1, 2)
    return np.asarray(planes, np.uint8)


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
