"""Every frame of a video, small: one number a cell and plane, in one pass and bounded memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from qvl_cli.media.container import mapped
from qvl_cli.media.source import VideoSource

if TYPE_CHECKING:
    import numpy.typing as npt

    from qvl_cli.media.info import Source

_CELL = 8  # pixels; means over less than a transform block pulse with every keyframe of a coarse encoding
_CELLS = 160  # along the longer side


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """planes: uint8 [3, rows, columns], means of Y, Cb and Cr over cells of at least 8x8 pixels, as stored
    (rotation and sample aspect not applied)."""

    time: Fraction
    planes: npt.NDArray[np.uint8]


def thumbnails(video: Source, start: Fraction, end: Fraction) -> Iterator[Thumbnail]:
    """The frame on screen at `start` and every later one that begins before `end`, small.

    Decodes with a decoder of its own, so that `video.frames` may run in between. Frames that cannot be
    decoded are left out, and `video.lost` learns of them.
    """
    info, reformatter = video.info, VideoReformatter()
    cell = max(_CELL, -(-max(info.coded_width, info.coded_height) // _CELLS))
    columns, rows = max(info.coded_width // cell, 2), max(info.coded_height // cell, 2)
    for time, picture in _pictures(video, start, end):
        with mapped(info.path):
            small = reformatter.reformat(
                picture, columns, rows, format="yuv444p", interpolation=Interpolation.AREA
            )
        yield Thumbnail(time, np.asarray(small.to_ndarray(), dtype=np.uint8).reshape(3, rows, columns))


def _pictures(video: Source, start: Fraction, end: Fraction) -> Iterator[tuple[Fraction, VideoFrame]]:
    if isinstance(video, VideoSource):
        yield from video.pictures(start, end)
        return
    times = video.info.frame_times
    shown = times[max(bisect_right(times, start) - 1, 0) : bisect_left(times, end)]
    for frame in video.frames(shown):
        yield frame.time, VideoFrame.from_ndarray(frame.pixels, format="rgb24")
