"""Material for the `decode` benchmark: 1080p as x264 writes it by default, of any length, made once.

A few seconds are encoded (preset medium: B-frames, B-pyramid, weighted P), then their packets are repeated at
later times: what a decoder has to do for a GOP does not depend on what came before.

python -m qvl_cli.bench.footage FILE ONCE SECONDS GOP [CLIP]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np

from qvl_cli.media.container import mapped

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.video.stream import VideoStream

WIDTH, HEIGHT, RATE = 1920, 1080, 25
_SEED = 5


def write_footage(path: Path, once: Path, seconds: int, gop: int, clip: str) -> None:
    """An MP4 of whole GOPs, at least `seconds` long, of what `clip` shows, or of a drawn scene.

    once: where its first seconds are, or will be after this.
    """
    # Under other names first: a file appears whole or not at all.
    part = path.with_name(f"part-{os.getpid()}.mp4")
    if not once.exists():
        with closing(_shown_in(clip) if clip else _drawn()) as pictures:
            _encode(part, islice(pictures, gop * max(RATE * 8 // gop, 1)), gop)
        part.rename(once)
    _repeat(once, part, seconds)
    part.rename(path)


def _encode(path: Path, pictures: Iterator[av.VideoFrame], gop: int) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(
            "libx264", rate=RATE, options={"preset": "medium", "crf": "23", "g": str(gop)}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, picture in enumerate(pictures):
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            picture.pict_type = 0  # the encoder's choice, not the clip's
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def _repeat(once: Path, path: Path, seconds: int) -> None:
    with av.open(str(once)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size]
        base = cast(Fraction, stream.time_base)
        length = len(packets) * round(1 / (RATE * base))
        copy: VideoStream = out.add_stream_from_template(stream)
        for turn in range(-(-seconds * RATE // len(packets))):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts = cast(int, packet.pts) + turn * length
                again.dts = cast(int, packet.dts) + turn * length
                again.duration, again.time_base = packet.duration, base
                again.is_keyframe, again.stream = packet.is_keyframe, copy
                out.mux(again)


def _shown_in(clip: str) -> Generator[av.VideoFrame, None, None]:
    while True:
        with mapped(Path(clip)), av.open(clip) as source:
            for frame in source.decode(video=0):
                yield frame.reformat(WIDTH, HEIGHT, "yuv420p", interpolation="BICUBIC")


def _drawn() -> Generator[av.VideoFrame, None, None]:
    """One shot: a slow pan over a rough ground with camera noise, and discs that cross it."""
    chance = np.random.default_rng(_SEED)
    ground = _rough(chance, HEIGHT + 256, WIDTH + 1024)
    noise = chance.normal(0, 1.5, (4, HEIGHT, WIDTH)).astype(np.float32)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    number = 0
    while True:
        turn = 2 * np.pi * number / (20 * RATE)
        y, x = round(128 + 100 * np.sin(turn)), round(512 + 400 * np.sin(turn / 2))
        luma = ground[y : y + HEIGHT, x : x + WIDTH] + noise[number % 4]
        for disc in range(3):
            middle = (number * (5 + 3 * disc)) % WIDTH
            inside = (rows - 250 - 290 * disc) ** 2 + (columns - middle) ** 2 < (60 + 20 * disc) ** 2
            luma[inside] = 40 + 70 * disc
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        planes[:HEIGHT] = luma.clip(0, 255)
        yield av.VideoFrame.from_ndarray(planes, format="yuv420p")
        number += 1


def _rough(chance: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Luma with as much power in every octave, as photographs have about. float32 [height, width]."""
    ground = np.full((height, width), 120, np.float32)
    for step in (4, 8, 16, 32, 64):
        coarse = chance.normal(0, 12, (-(-height // step), -(-width // step))).astype(np.float32)
        ground += np.kron(coarse, np.ones((step, step), np.float32))[:height, :width]
    return ground


if __name__ == "__main__":
    file, once, seconds, gop, *clip = sys.argv[1:]
    write_footage(Path(file), Path(once), int(seconds), int(gop), "".join(clip))
