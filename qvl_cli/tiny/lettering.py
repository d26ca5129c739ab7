"""Captions of the drawn world: large capital letters, stamped into a picture."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from qvl_cli.tiny.world import HEIGHT, WIDTH, Caption

Mask = npt.NDArray[np.float32]
# (letters, rim or box) in RGB levels, and whether the second fills a box
STYLES = (
    ((250, 250, 250), (15, 15, 15), False),
    ((15, 15, 15), (240, 240, 240), False),
    ((250, 230, 60), (20, 20, 20), False),
    ((250, 250, 250), (25, 25, 30), True),
)


@functools.lru_cache(512)
def letters(word: str, pixels: int, boxed: bool) -> tuple[Mask, Mask]:
    """(letters, what lies under them): coverage 0 to 1, both [height, width], cut to what is drawn."""
    font, rim = ImageFont.load_default(size=pixels), max(1, round(pixels / 13))
    left, top, right, bottom = font.getbbox(word.upper(), stroke_width=rim)
    size = int(right - left) + 2 * rim, int(bottom - top) + 2 * rim
    place = rim - left, rim - top
    upper, lower = Image.new("L", size), Image.new("L", size, 255 if boxed else 0)
    ImageDraw.Draw(upper).text(place, word.upper(), 255, font)
    if not boxed:
        ImageDraw.Draw(lower).text(place, word.upper(), 255, font, stroke_width=rim)
    first, second = (np.asarray(mask, np.float32) / np.float32(255) for mask in (upper, lower))
    return first, second


def caption_box(caption: Caption, scale: int) -> tuple[slice, slice, tuple[Mask, Mask]]:
    """(rows, columns, masks) that a caption takes in a picture of 160 x 96 times `scale`."""
    masks = letters(caption.word, round(caption.size * scale), STYLES[caption.style][2])
    height, width = masks[0].shape
    top = round(np.clip(caption.y * scale - height / 2, 0, HEIGHT * scale - height))
    left = round(np.clip(caption.x * scale - width / 2, 0, max(0, WIDTH * scale - width)))
    shown = min(width, WIDTH * scale - left)
    return slice(top, top + height), slice(left, left + shown), (masks[0][:, :shown], masks[1][:, :shown])


def stamp(picture: npt.NDArray[np.float32], caption: Caption, scale: int) -> None:
    """Draw a caption into float RGB levels [96 * scale, 160 * scale, 3], in place."""
    rows, cols, (upper, lower) = caption_box(caption, scale)
    ink, under, _ = STYLES[caption.style]
    region = picture[rows, cols]
    for mask, colour in ((lower, under), (upper, ink)):
        region += mask[..., None] * (np.array(colour, np.float32) - region)
