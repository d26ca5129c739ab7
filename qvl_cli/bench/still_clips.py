"""Drawn still footage with known changes: a screen being recorded, and a fixed camera with noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
WIDTH, HEIGHT, RATE, SECONDS = 640, 360, 10, 120

# Seconds at which something changes for good; the cursor of the screen blinks twice a second all the time.
SCREEN_CHANGES = (Fraction(203, 10), Fraction(417, 10), Fraction(60), Fraction(866, 10))
CAMERA_CHANGES = (Fraction(252, 10), Fraction(289, 10), Fraction(713, 10))


def screen() -> Iterator[Picture]:
    """A page of text: a caption changes, a small mark appears, the page turns, the mark goes."""
    rng = np.random.default_rng(3)
    pages = [_page(rng), _page(rng)]
    captions = [_words(rng, 14, 180), _words(rng, 14, 180)]
    for frame in range(SECONDS * RATE):
        now = Fraction(frame, RATE)
        picture = pages[now >= SCREEN_CHANGES[2]].copy()
        picture[330:344, 40:220] = captions[now >= SCREEN_CHANGES[0]][..., None]
        if SCREEN_CHANGES[1] <= now < SCREEN_CHANGES[3]:
            picture[20:30, 600:610] = 200, 40, 40
        if frame % 10 < 5:
            picture[170:182, 300:302] = 20
        yield picture


def camera() -> Iterator[Picture]:
    """A wall with texture under sensor noise: someone crosses the view, later a lamp goes on in a corner."""
    rng = np.random.default_rng(5)
    coarse = rng.normal(0, 14, (HEIGHT // 12, WIDTH // 16)).repeat(12, 0).repeat(16, 1)
    wall = 110 + coarse + rng.normal(0, 6, (HEIGHT, WIDTH))
    for frame in range(SECONDS * RATE):
        now = Fraction(frame, RATE)
        view = wall.copy()
        if CAMERA_CHANGES[0] <= now < CAMERA_CHANGES[1]:
            at = int((now - CAMERA_CHANGES[0]) / (CAMERA_CHANGES[1] - CAMERA_CHANGES[0]) * (WIDTH - 60))
            view[140:320, at : at + 60] = 40
        if now >= CAMERA_CHANGES[2]:
            view[20:60, 560:620] += 70
        noisy = view + 6 * rng.standard_normal(view.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)


CLIPS: dict[str, tuple[Callable[[], Iterator[Picture]], tuple[Fraction, ...], str]] = {
    "screen": (screen, SCREEN_CHANGES, "23"),
    "camera": (camera, CAMERA_CHANGES, "28"),
}


def write_clip(pictures: Iterator[Picture], path: Path, crf: str) -> None:
    """H.264 with a keyframe every five seconds."""
    with av.open(str(path), "w", format="mp4") as container:
        options = {"crf": crf, "preset": "veryfast", "g": str(5 * RATE)}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.thread_count = 1
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _page(rng: np.random.Generator) -> Picture:
    page = np.full((HEIGHT, WIDTH, 3), 245, np.uint8)
    for top in range(40, 310, 20):
        length = int(rng.integers(200, 540))
        page[top : top + 10, 40 : 40 + length] = _words(rng, 10, length)[..., None]
    return page


def _words(rng: np.random.Generator, height: int, length: int) -> Picture:
    """Grey levels [height, length] that look like a line of letters."""
    letters = rng.random((height // 2, -(-length // 3))) < 0.45
    return np.where(letters.repeat(2, 0).repeat(3, 1)[:, :length], 30, 245).astype(np.uint8)
