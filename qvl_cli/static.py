"""`--drop-static`: which patches of a step show something that the model has not been shown yet.

What is compared is what the model gets: the pair of frames of each vision token at the plan's size, against
the pair that was last kept at that place. So slow changes add up until they are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# Means over a quarter of a token's side (8 of 32 pixels): noise of 10 levels a pixel moves them by 2 at most,
# codecs that redraw a still picture at a keyframe by 3 or so.
_CELLS = 4
THRESHOLD = 8  # levels of 255


class StaticPatches:
    """Goes over the steps of a video in order.

    Every `every`-th step is kept whole, counted over all that were watched: the first of each cache block. A
    block can then be read without the others, which may have left the cache, and watching can go on after
    any of them.
    """

    def __init__(self, side: int, every: int, watched: int = 0) -> None:
        """side: pixels of a token; every: steps of a block; watched: steps before the first one here."""
        self._side, self._every, self._number = side, every, watched
        self._kept: npt.NDArray[np.float32] | None = None  # cells of each place, as last kept

    def keep(self, pair: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """bool [rows, columns] of the next step's tokens; pair: uint8 [2, height, width, 3] at the plan's
        size."""
        cells = _cell_means(pair, self._side // _CELLS)
        whole = self._kept is None or self._number % self._every == 0
        self._number += 1
        _, height, width, _ = cells.shape
        grid = height // _CELLS, width // _CELLS
        if self._kept is None or whole:
            self._kept = cells
            return np.ones(grid, bool)
        apart = np.abs(cells - self._kept).max(axis=(0, 3))
        most = apart.reshape(grid[0], _CELLS, grid[1], _CELLS).max(axis=(1, 3))
        changed: npt.NDArray[np.bool_] = most >= THRESHOLD
        renewed = changed.repeat(_CELLS, axis=0).repeat(_CELLS, axis=1)
        self._kept[:, renewed] = cells[:, renewed]
        return changed


def _cell_means(pair: npt.NDArray[np.uint8], cell: int) -> npt.NDArray[np.float32]:
    """float32 [2, height / cell, width / cell, 3]: means over squares of `cell` pixels."""
    frames, height, width, channels = pair.shape
    squares = pair.reshape(frames, height // cell, cell, width // cell, cell, channels)
    means: npt.NDArray[np.float32] = squares.mean(axis=(2, 4), dtype=np.float32)
    return means
