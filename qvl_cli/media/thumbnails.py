"""Every frame of a video, small: one number a cell and plane, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from qvl_cli.media.container import mapped
from qvl_cli.media.decoder import Decoder

if TYPE_CHECKING:
    import numpy.typing as npt

    from qvl_cli.media.source import VideoSource

_CELL = 8  # pixels; means over less than a transform block pulse with every keyframe of a coarse encoding
_CELLS = 160  # along the longer side


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """planes: uint8 [3, rows, columns], means of Y, Cb and Cr over cells of at least 8x8 pixels, as stored
    (rotation and sample aspect not applied)."""

    time: Fraction
    planes: npt.NDArray[np.uint8]


def thumbnails(video: VideoSource, start: Fraction, end: Fraction) -> Iterator[Thumbnail]:
    """The frame on screen at `start` and every later one that begins before `end`, small.

    Decodes with a decoder of its own, so that `video.frames` may run in between. Frames that cannot be
    decoded are left out; `video.lost` learns of them when they are wanted in full.
    """
    file, info = video._file, video.info
    scan = file.packets
    cell = max(_CELL, -(-max(info.coded_width, info.coded_height) // _CELLS))
    columns, rows = max(info.coded_width // cell, 2), max(info.coded_height // cell, 2)
    reformatter = VideoReformatter()
    decoder = Decoder(info.path, file.stream_index, scan)
    try:
        for at in range(scan.index((start + info.start) // scan.time_base), len(scan.pts)):
            if (time := info.frame_times[at]) >= end:
                return
            with mapped(info.path):
                decoder.approach(scan.pts[at])
                picture = decoder.run_to(scan.pts[at])
                if picture is None:
                    continue
                small = reformatter.reformat(
                    picture, columns, rows, format="yuv444p", interpolation=Interpolation.AREA
                )
            yield Thumbnail(time, np.asarray(small.to_ndarray(), dtype=np.uint8).reshape(3, rows, columns))
    finally:
        decoder.close()
