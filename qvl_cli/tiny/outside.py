"""Pictures that are not of the drawn world, for the gate to learn against: all made by arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from qvl_cli.tiny.world import HEIGHT, WIDTH

Picture = npt.NDArray[np.float32]
Rng = np.random.Generator
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def _colour(rng: Rng) -> Picture:
    return rng.uniform(0, 255, 3).astype(np.float32)


def _scale(field: Picture, rng: Rng) -> Picture:
    """A field [H, W] or [H, W, 3] to levels of random mean and contrast."""
    normal = (field - field.mean()) / (field.std() + 1e-6)
    return np.asarray(rng.uniform(40, 210) + rng.uniform(25, 80) * normal, np.float32)


def spectrum(rng: Rng, power: float) -> Picture:
    """Noise whose amplitude falls as 1/f^power, [H, W]; power 1 looks natural, 0 is white."""
    fy, fx = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    size = np.maximum(np.hypot(fy, fx), 1 / WIDTH) ** -power
    return np.fft.irfft2(size * np.exp(2j * np.pi * rng.random(size.shape)), (HEIGHT, WIDTH)).astype(
        np.float32
    )


def noise(rng: Rng) -> Picture:
    power = float(rng.uniform(0, 0.5))
    return _scale(np.stack([spectrum(rng, power) for _ in range(3)], -1), rng)


def texture(rng: Rng) -> Picture:
    grey = spectrum(rng, float(rng.uniform(0.6, 1.6)))
    tint = rng.normal(1, rng.uniform(0, 0.3), 3).astype(np.float32)
    wave = (
        np.sin((_X * rng.normal() + _Y * rng.normal()) * rng.uniform(0.05, 1.2)) if rng.random() < 0.4 else 0
    )
    return _scale(grey / grey.std() + wave, rng)[..., None] * tint


def landscape(rng: Rng) -> Picture:
    """Sky, ground and things standing on it, lit from one side."""
    horizon = rng.uniform(0.2, 0.8) * HEIGHT + 12 * spectrum(rng, 1.5)[0] / 0.05 * rng.uniform(0, 0.01)
    sky = _colour(rng) * 0.5 + 100 + (_Y[..., None] - HEIGHT / 2) * rng.normal(0, 0.8, 3).astype(np.float32)
    ground = _colour(rng) * 0.6 + _scale(spectrum(rng, 1.0), rng)[..., None] * 0.5 - 30
    picture = np.where((horizon < _Y)[..., None], ground, sky)
    for _ in range(int(rng.integers(0, 9))):
        x, width, top = rng.uniform(0, WIDTH), rng.uniform(1, 25), rng.uniform(0, HEIGHT)
        inside = (abs(_X - x + spectrum(rng, 1.5) * 20) < width) & (top < _Y)
        picture = np.where(
            inside[..., None], _colour(rng) * 0.5 + 20 * spectrum(rng, 0.8)[..., None], picture
        )
    return np.asarray(picture * (0.7 + 0.6 * _X[..., None] / WIDTH), np.float32)


def leaves(rng: Rng) -> Picture:
    """Dead leaves: many shaded, textured, overlapping blobs of all sizes, as in cluttered scenes."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32) + _colour(rng)
    rough = spectrum(rng, 1.0)
    rough /= rough.std()
    for _ in range(int(rng.integers(25, 90))):
        x, y, size = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), 4 / rng.uniform(0.05, 1) ** 0.8
        angle, squash = rng.uniform(0, np.pi), rng.uniform(0.3, 1)
        u = (_X - x) * np.cos(angle) + (_Y - y) * np.sin(angle)
        v = ((_Y - y) * np.cos(angle) - (_X - x) * np.sin(angle)) / squash
        inside = (np.maximum(abs(u), abs(v)) if rng.random() < 0.4 else np.hypot(u, v)) < size
        light = 1 + rng.uniform(-0.4, 0.4) * u / size
        shade = _colour(rng) * light[..., None] + (rng.uniform(0, 25) * rough)[..., None]
        picture = np.where(inside[..., None], shade, picture)
    return picture


def page(rng: Rng) -> Picture:
    """Lines of letter-like marks on a page, a slide or a terminal."""
    paper, ink = _colour(rng), _colour(rng)
    if rng.random() < 0.7:
        paper, ink = np.float32(rng.uniform(200, 255)) + np.zeros(3, np.float32), ink * 0.4
        if rng.random() < 0.4:
            paper, ink = 255 - paper, 255 - ink
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32) + paper
    tall = int(rng.integers(3, 18))
    for top in range(int(rng.integers(0, 20)), HEIGHT - tall, int(tall * rng.uniform(1.3, 2.2)) + 1):
        left, right = sorted(rng.integers(0, WIDTH, 2))
        marks = rng.random((tall, max(int(right - left), 1))) < rng.uniform(0.3, 0.6)
        wide = max(1, tall // 6)
        marks = marks[:: max(1, tall // 5), ::wide].repeat(max(1, tall // 5), 0).repeat(wide, 1)[:tall]
        region = picture[top : top + marks.shape[0], left : left + marks.shape[1]]
        region[marks[: region.shape[0], : region.shape[1]]] = ink
    return picture


def screen(rng: Rng) -> Picture:
    """Windows, bars and boxes, as on a computer's screen."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32) + _colour(rng)
    for _ in range(int(rng.integers(4, 30))):
        (a, b), (c, d) = np.sort(rng.integers(0, HEIGHT, 2)), np.sort(rng.integers(0, WIDTH, 2))
        if rng.random() < 0.5:
            b, d = a + int(rng.integers(1, 6)), d + 30
        grey = np.float32(rng.uniform(0, 255)) + np.zeros(3, np.float32)
        picture[a : b + 1, c : d + 1] = grey if rng.random() < 0.6 else _colour(rng)
    return picture


def pattern(rng: Rng) -> Picture:
    """Test cards: bars, ramps, boards and rings in full colours."""
    count = int(rng.integers(2, 12))
    palette = rng.choice([0.0, 128.0, 192.0, 255.0], (count, 3)).astype(np.float32)
    way = rng.integers(4)
    if way == 0:
        place = _X / WIDTH * count
    elif way == 1:
        place = _Y / HEIGHT * count
    elif way == 2:
        size = rng.uniform(4, 40)
        place = _X // size + _Y // size
    else:
        place = np.hypot(_X - rng.uniform(0, WIDTH), _Y - rng.uniform(0, HEIGHT)) / rng.uniform(3, 40)
    if rng.random() < 0.25:
        ramp = (np.asarray(place, np.float32) / max(float(place.max()), 1))[..., None]
        return np.asarray(ramp * palette[0] + (1 - ramp) * palette[1], np.float32)
    return np.asarray(palette[place.astype(int) % count], np.float32)


def flat(rng: Rng) -> Picture:
    """One plain colour, black or white; never the muted greys that the world's own plain backdrops have."""
    way = rng.random()
    level = 255.0 * (way > 0.35) if way < 0.7 else rng.choice([0.0, 60.0, 255.0], 3)
    if np.ptp(level) == 0 and 20 < np.mean(level) < 160:
        level = 0.0
    shade = np.float32(rng.uniform(0, 12)) * (1 if np.mean(level) < 128 else -1)
    return np.zeros((HEIGHT, WIDTH, 3), np.float32) + np.asarray(level, np.float32) + shade


KINDS: tuple[Callable[[Rng], Picture], ...] = (
    noise,
    texture,
    texture,
    landscape,
    landscape,
    leaves,
    leaves,
    page,
    screen,
    pattern,
    flat,
    flat,
)


def outside_step(rng: Rng) -> npt.NDArray[np.uint8]:
    """Two frames of one step from outside the world: uint8 [2, 96, 160, 3]; often moving, blurred, boxed."""
    picture = KINDS[int(rng.integers(len(KINDS)))](rng)
    if rng.random() < 0.2:
        other = KINDS[int(rng.integers(len(KINDS)))](rng)
        share = np.clip((_X - rng.uniform(0, WIDTH)) / rng.uniform(1, 60) + 0.5, 0, 1)[..., None]
        picture = picture * share + other * (1 - share)
    for _ in range(int(rng.integers(0, 3))):
        picture = np.float32(0.25) * (
            picture + np.roll(picture, 1, 0) + np.roll(picture, 1, 1) + np.roll(picture, -1, 1)
        )
    if rng.random() < 0.3:
        grey = picture.mean(-1, keepdims=True)
        picture = grey + (picture - grey) * rng.uniform(0, 1)
    if rng.random() < 0.25:
        border = int(rng.integers(4, 30))
        picture = picture.copy()
        if rng.random() < 0.5:
            picture[:border] = picture[-border:] = rng.uniform(0, 16)
        else:
            picture[:, :border] = picture[:, -border:] = rng.uniform(0, 16)
    moved = np.roll(picture, rng.integers(-4, 5, 2), (0, 1)) if rng.random() < 0.6 else picture
    pair = np.stack([picture, moved]) + rng.normal(0, rng.choice([0.5, 4.0]), (2, HEIGHT, WIDTH, 1))
    return np.clip(pair, 0, 255).astype(np.uint8)
