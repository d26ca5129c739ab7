"""Small clips at uneven times whose frames show their numbers: what time did this frame really have?"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

CONTAINERS = {
    "uneven.mp4": Fraction(1, 30_000),
    "uneven.mkv": Fraction(1, 1000),
    "uneven.ts": Fraction(1, 90_000),
}
_BITS, _SIDE = 8, 16
_FRAMES = 200


def uneven_times(base: Fraction) -> list[int]:
    """Ticks of `base`: gaps between 10 ms and over a second, starting at 5 s."""
    chance = Random(7)
    times = [5 / base]
    for _ in range(_FRAMES - 1):
        times.append(times[-1] + chance.choice([10, 33, 40, 41, 500, 1234]) / (1000 * base))
    return [int(time) for time in times]


def write_numbered(path: Path, ticks: Sequence[int], base: Fraction) -> None:
    """H.264 with B-frames, a B-pyramid and open GOPs; frame n shows n in black and white blocks."""
    with av.open(str(path), "w") as out:
        options = {"g": "24", "bf": "3", "x264-params": "open-gop=1:b-pyramid=normal:scenecut=0"}
        stream = out.add_stream("libx264", rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = _BITS * _SIDE, 2 * _SIDE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        for number, tick in enumerate(ticks):
            bits = [255 * (number >> bit & 1) for bit in range(_BITS)]
            row = np.repeat(np.array(bits, np.uint8), _SIDE)
            picture = np.broadcast_to(row[None, :, None], (2 * _SIDE, len(row), 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = tick, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def read_number(pixels: npt.NDArray[np.uint8]) -> int:
    """The number that a frame of `write_numbered` shows."""
    bits = pixels[_SIDE, _SIDE // 2 :: _SIDE, 1] > 127
    return sum(1 << bit for bit in range(_BITS) if bits[bit])
