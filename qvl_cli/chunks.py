"""Source x plan -> FrameChunks, decoded and resized on a prefetch thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_cli.sampling import Step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FrameChunk:
    """Consecutive steps and their frames, the unit of streaming.

    frames: uint8 RGB [steps, 2, height, width, 3], already at the plan's size.
    """

    steps: tuple[Step, ...]
    frames: npt.NDArray[np.uint8]
