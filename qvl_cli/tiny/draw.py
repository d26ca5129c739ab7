"""Script -> frames. Shapes come from signed distance tables, antialiased at every size and position."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qvl_cli.tiny.lettering import stamp
from qvl_cli.tiny.world import COLOURS, HEIGHT, WIDTH, Scene, Script, rng_for

Pixels = npt.NDArray[np.uint8]
_TABLE = 257  # samples across [-_REACH, _REACH] of the unit shape
_REACH = 1.25
VARIANTS = (0.0, -1.0, 1.0)  # every shape is drawn in three proportions


def _polygon(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Signed distance table of a closed polygon [n, 2] given in units of the radius (negative inside)."""
    axis = np.linspace(-_REACH, _REACH, _TABLE)
    x, y = np.meshgrid(axis, axis)
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * ex, y - ay - along * ey))
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ex * (y - ay) / ey + ax)
    return np.where(inside, -nearest, nearest).astype(np.float32)


def _ray(angles: npt.NDArray[np.float64], radius: npt.ArrayLike = 1.0) -> npt.NDArray[np.float64]:
    return np.stack([np.sin(angles) * radius, -np.cos(angles) * radius], axis=1)


@functools.cache
def distance_table(shape: str, variant: float = 0.0) -> npt.NDArray[np.float32]:
    """Signed distances of the unit shape, [257, 257] over [-1.25, 1.25] radii; variant: -1 to 1, slimmer or
    fuller than usual."""
    turn = 2 * np.pi
    if shape == "circle":
        return _polygon(_ray(np.linspace(0, turn, 64, endpoint=False), 1 + 0.04 * variant))
    if shape == "ring":
        axis = np.linspace(-_REACH, _REACH, _TABLE)
        x, y = np.meshgrid(axis, axis)
        return np.asarray(np.abs(np.hypot(x, y) - 0.78) - 0.22 - 0.04 * variant, dtype=np.float32)
    if shape == "square":
        a = 0.85 + 0.05 * variant
        return _polygon(np.array([[-a, -a], [a, -a], [a, a], [-a, a]]))
    if shape == "triangle":
        return _polygon(np.array([[0.0, -1.0 - 0.1 * variant], [1.0, 0.85], [-1.0, 0.85]]))
    if shape == "star":
        return _polygon(
            _ray(np.arange(10) * turn / 10, np.where(np.arange(10) % 2, 0.45 + 0.06 * variant, 1.1))
        )
    if shape == "cross":
        a, b = 0.32 + 0.05 * variant, 1.0
        points = [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a)]
        return _polygon(np.array([*points, (-b, -a), (-a, -a)]))
    if shape == "heart":
        t = np.linspace(0, turn, 64, endpoint=False)
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return _polygon(np.stack([np.sin(t) ** 3 * (1 + 0.06 * variant), -(y + 2.5) / 15], axis=1))
    if shape == "moon":
        outer = _ray(np.linspace(0.05, 0.95, 40) * np.pi * 2 - 2.2)
        tips = outer[0], outer[-1]
        middle = (tips[0] + tips[1]) / 2
        away = np.arctan2(middle[0], -middle[1])
        centre = _ray(np.array([away]), 0.45 - 0.05 * variant)[0]
        reach = float(np.hypot(*(tips[0] - centre)))
        first = np.arctan2(tips[1][0] - centre[0], -(tips[1][1] - centre[1]))
        last = np.arctan2(tips[0][0] - centre[0], -(tips[0][1] - centre[1]))
        sweep = -((first - last) % turn)
        inner = centre + _ray(np.linspace(first, first + sweep, 30)[1:-1], reach)
        return _polygon(np.concatenate([outer, inner]))
    raise ValueError(f"no such shape: {shape}")


def background(seed: int, scene: Scene, scale: int) -> npt.NDArray[np.float32]:
    """The still backdrop of a scene, float RGB levels [HEIGHT * scale, WIDTH * scale, 3]."""
    rng = rng_for(seed, f"background {scene.number}")
    y, x = np.mgrid[0 : HEIGHT * scale, 0 : WIDTH * scale].astype(np.float32) / scale
    base = rng.uniform(35, 135) + rng.uniform(-14, 14, 3)
    depth, angle, period = rng.uniform(8, 22), rng.uniform(0, np.pi), rng.uniform(10, 26)
    along = x * np.cos(angle) + y * np.sin(angle)
    match scene.background:
        case "plain":
            wave = np.zeros_like(x)
        case "gradient":
            wave = 2 * (along - along.min()) / (along.max() - along.min()) - 1
        case "stripes":
            wave = np.sign(np.sin(2 * np.pi * along / period))
        case "checks":
            wave = np.sign(np.sin(np.pi * x / period + 0.3) * np.sin(np.pi * y / period + 0.3))
        case "dots":
            wave = np.where(
                np.hypot(x % period - period / 2, y % period - period / 2) < period / 4, 1.0, -0.3
            )
        case _:
            wave = np.zeros_like(x)
            for _ in range(6):
                fx, fy, phase = *rng.uniform(-0.08, 0.08, 2), rng.uniform(0, 6.3)
                wave += np.sin(2 * np.pi * (fx * x + fy * y) + phase) / 3
    return np.asarray(base + depth * wave[..., None], dtype=np.float32)


@functools.cache
def _noise_bank() -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).standard_normal((3, HEIGHT * 2, WIDTH * 2, 3), dtype=np.float32)


@functools.lru_cache(4096)
def _variants(seed: int, count: int) -> tuple[float, ...]:
    return tuple(VARIANTS[i] for i in rng_for(seed, "variants").integers(len(VARIANTS), size=count))


def coverage(
    script: Script, time: float, scale: int
) -> list[tuple[int, slice, slice, npt.NDArray[np.float32]]]:
    """Which pixels each visible actor covers at a time: (actor index, rows, columns, alpha 0..1)."""
    found = ((index, actor_coverage(script, index, time, scale)) for index in range(len(script.actors)))
    return [(index, *covered) for index, covered in found if covered]


def actor_coverage(
    script: Script, index: int, time: float, scale: int
) -> tuple[slice, slice, npt.NDArray[np.float32]] | None:
    """Which pixels one actor covers at a time, as in `coverage`; None while none of it is in the picture."""
    actor = script.actors[index]
    if (place := actor.at(time)) is None:
        return None
    x, y, radius = (value * scale for value in place)
    reach = radius * _REACH - 1
    top, bottom = max(0, int(y - reach)), min(HEIGHT * scale, int(y + reach) + 1)
    left, right = max(0, int(x - reach)), min(WIDTH * scale, int(x + reach) + 1)
    if top >= bottom or left >= right:
        return None
    steps = (_TABLE - 1) / (2 * _REACH)
    rows = (((np.arange(top, bottom) + 0.5 - y) / radius + _REACH) * steps + 0.5).astype(np.intp)
    cols = (((np.arange(left, right) + 0.5 - x) / radius + _REACH) * steps + 0.5).astype(np.intp)
    rows, cols = rows.clip(0, _TABLE - 1), cols.clip(0, _TABLE - 1)
    table = distance_table(actor.shape, _variants(script.seed, len(script.actors))[index])
    alpha = np.clip(0.5 - table[rows[:, None], cols] * radius, 0, 1)
    return slice(top, bottom), slice(left, right), alpha


def draw(script: Script, times: Sequence[float], scale: int = 1) -> Pixels:
    """Frames of a script at the given seconds: uint8 RGB [times, 96 * scale, 160 * scale, 3]."""
    backdrops = [background(script.seed, scene, scale) for scene in script.scenes]
    tints = rng_for(script.seed, "tint").uniform(-12, 12, (len(script.actors), 3))
    frames = np.empty((len(times), *backdrops[0].shape), np.uint8)
    for i, time in enumerate(times):
        current = sum(scene.start <= time for scene in script.scenes[1:])
        picture = backdrops[current].copy()
        for index, rows, cols, alpha in coverage(script, time, scale):
            region = picture[rows, cols]
            region += alpha[..., None] * (_paint(script, index, time) + tints[index] - region)
        for caption in script.captions:
            if caption.start <= time < caption.end:
                stamp(picture, caption, scale)
        if script.noise:
            picture += script.noise * _grain(script.seed, round(time * 1000), picture.shape[:2])
        frames[i] = np.clip(picture + 0.5, 0, 255)
    return frames


def _paint(script: Script, index: int, time: float) -> npt.NDArray[np.float32]:
    """RGB levels of an actor at a time, before its tint."""
    actor = script.actors[index]
    colour, turned = np.array(COLOURS[actor.colour], np.float32), actor.turned(time)
    if turned and actor.action:
        colour += turned * (np.array(COLOURS[actor.action.colour], np.float32) - colour)
    return colour


def _grain(seed: int, millis: int, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Camera noise of one instant: a shifted cut of a fixed bank, so the same instant is always the same."""
    bank = _noise_bank()
    mixed = (seed * 2_654_435_761 + millis * 40_503) % (1 << 32)
    layer, dy, dx = mixed % 3, (mixed >> 8) % HEIGHT, (mixed >> 16) % WIDTH
    tiles = -(-(size[0] + HEIGHT) // bank.shape[1]), -(-(size[1] + WIDTH) // bank.shape[2])
    grain = np.tile(bank[layer], (*tiles, 1)) if max(tiles) > 1 else bank[layer]
    return grain[dy : dy + size[0], dx : dx + size[1]]
