"""Writes small videos whose every frame carries its own number, as ten black or white blocks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, BLOCK = 160, 64, 32


def numbered(number: int) -> npt.NDArray[np.uint8]:
    """The picture [64, 160, 3] that says `number` (0..1023): ten blocks, the highest bit first."""
    bits = np.array([number >> bit & 1 for bit in range(9, -1, -1)], np.uint8).reshape(2, 5)
    return np.repeat((bits * 220 + 16).repeat(BLOCK, 0).repeat(BLOCK, 1)[:, :, None], 3, 2)


def read_number(pixels: npt.NDArray[np.uint8]) -> int:
    """The number an upright picture says."""
    assert pixels.shape == (HEIGHT, WIDTH, 3), pixels.shape
    means = pixels.mean(2).reshape(2, BLOCK, 5, BLOCK).mean((1, 3)).ravel()
    return int("".join("1" if mean > 126 else "0" for mean in means), 2)


def damage(path: Path) -> Path:
    """Zero the bytes between a third and a half of a file."""
    data = bytearray(path.read_bytes())
    third, half = len(data) // 3, len(data) // 2
    data[third:half] = bytes(half - third)
    path.write_bytes(data)
    return path


def write_clip(
    path: Path,
    pts: Sequence[int],
    time_base: Fraction = Fraction(1, 1000),
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    mux: dict[str, str] | None = None,
    container: str | None = None,
    turned: tuple[float, bool, bool] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """A video whose frame n says n and is shown at pts[n] * time_base.

    turned: (degrees counterclockwise, hflip, vflip) for the display matrix; the pictures are stored so
    that they are numbered upright once that is undone.
    """
    with av.open(str(path), "w", format=container, options=mux or {}) as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, av.VideoStream)
        picture = stored(0, turned)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if turned is not None:
            stream.set_display_rotation(turned[0], hflip=turned[1], vflip=turned[2])
        for number, tick in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored(number, turned)), format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def stored(number: int, turned: tuple[float, bool, bool] | None) -> npt.NDArray[np.uint8]:
    """The numbered picture as a camera held that way stores it."""
    picture = numbered(number)
    if turned is None:
        return picture
    degrees, hflip, vflip = turned
    picture = picture[:: -1 if vflip else 1, :: -1 if hflip else 1]
    return np.rot90(picture, -round(degrees / 90))


def x264(bframes: int = 3, keyint: int = 12, extra: str = "") -> dict[str, str]:
    """Options that fix the order of pictures: a keyframe every `keyint`, `bframes` between the others."""
    parameters = (
        f"bframes={bframes}:keyint={keyint}:min-keyint={keyint}:scenecut=0:b-adapt=0:threads=1{extra}"
    )
    return {"preset": "ultrafast", "bf": str(bframes), "x264-params": parameters}
