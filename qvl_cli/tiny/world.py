"""The drawn world: coloured shapes and words that come, move, change and go. A script is all that happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
COLOURS = {
    "red": (214, 40, 40),
    "orange": (244, 140, 20),
    "yellow": (240, 225, 50),
    "green": (40, 170, 70),
    "blue": (45, 85, 225),
    "purple": (130, 50, 180),
    "pink": (245, 145, 195),
    "white": (245, 245, 245),
}
COLOUR_NAMES = tuple(COLOURS)
BACKGROUNDS = ("plain", "gradient", "stripes", "checks", "dots", "clouds")
MOVES = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
CHANGES = ("grows", "shrinks", "blinks", "turns")
PASSAGES = ("enters", "leaves", "crosses")
ACTIONS = (*MOVES, *CHANGES, *PASSAGES)
PLACES = ("lefthand", "middle", "righthand")
WORDS = (
    "open",
    "closed",
    "start",
    "stop",
    "ready",
    "lunch",
    "north",
    "south",
    "hello",
    "goal",
    "sale",
    "exit",
)
# Colour-shape pairs that no training picture shows: what a model says of them it has not learned by heart.
UNSEEN_KINDS = frozenset(
    {
        ("red", "star"),
        ("orange", "moon"),
        ("yellow", "heart"),
        ("green", "ring"),
        ("blue", "triangle"),
        ("white", "cross"),
    }
)

WIDTH, HEIGHT = 160, 96  # world units; one unit is one pixel at scale 1
TRAINING_SEEDS = 1_000_000  # scripts below are for training, at or above for evaluation
BLINK_PERIOD = 1.0  # seconds; dark in the second half
SIZE_CHANGE = 1.8  # ratio of radii before and after growing
NEAR_THIRD = 5.0  # units from the line between two thirds of the picture within which a place is unclear
PEEK = 0.5  # radii that the centre is outside the picture when an actor enters or has left

Place = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Action:
    """What an actor does during [start, end) seconds; still before, and as it ended after.

    travel: world units along `way`, one of MOVES, for moves and passages; colour: what it turns to.
    """

    kind: str
    start: float
    end: float
    travel: float = 0.0
    way: str = ""
    colour: str = ""

    def done(self, time: float) -> float:
        """How much of it is done at a time, 0 to 1."""
        return min(1.0, max(0.0, (time - self.start) / (self.end - self.start)))


@dataclass(frozen=True, slots=True)
class Actor:
    """One shape on screen during [start, end). x, y: centre at its start; radius in world units."""

    shape: str
    colour: str
    start: float
    end: float
    x: float
    y: float
    radius: float
    action: Action | None = None

    @property
    def kind(self) -> tuple[str, str]:
        return self.colour, self.shape

    def at(self, time: float) -> Place | None:
        """(x, y, radius) at a time, or None while it cannot be seen."""
        if not self.start <= time < self.end:
            return None
        x, y, radius, action = self.x, self.y, self.radius, self.action
        if action is None or time < action.start:
            return x, y, radius
        done = action.done(time)
        if action.way:
            dx, dy = MOVES[action.way]
            return x + dx * action.travel * done, y + dy * action.travel * done, radius
        if action.kind == "blinks":
            dark = done < 1.0 and (time - action.start) % BLINK_PERIOD >= BLINK_PERIOD / 2
            return None if dark else (x, y, radius)
        if action.kind == "turns":
            return x, y, radius
        ratio = SIZE_CHANGE if action.kind == "grows" else 1 / SIZE_CHANGE
        return x, y, radius * ratio**done

    def turned(self, time: float) -> float:
        """How far a turning actor has turned to its new colour, 0 to 1."""
        return self.action.done(time) if self.action and self.action.kind == "turns" else 0.0

    def showings(self) -> tuple[Actor, ...]:
        """The actor as things of one colour: one that turns is two, which meet half-way through the turn. The
        first keeps the action, cut to what is on screen."""
        action = self.action
        if action is None or action.kind != "turns":
            return (self,)
        half = (action.start + action.end) / 2
        cut = replace(action, start=max(action.start, self.start), end=min(action.end, self.end))
        before = replace(self, end=min(half, self.end), action=cut)
        after = replace(self, colour=action.colour, start=max(half, self.start), action=None)
        return tuple(each for each in (before, after) if each.start < each.end)


@dataclass(frozen=True, slots=True)
class Caption:
    """A word in large letters on screen during [start, end); x, y: its centre, size: of the letters, in world
    units; style: 0 light, 1 dark, 2 yellow, 3 in a box."""

    word: str
    start: float
    end: float
    x: float
    y: float
    size: float
    style: int


_Shown = TypeVar("_Shown", Actor, Caption)


@dataclass(frozen=True, slots=True)
class Scene:
    """A backdrop from `start` seconds on; number: tells two of one kind apart."""

    start: float
    background: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that happens in one video of `duration` seconds. scenes: in order, the first from 0 on; each
    but the first begins with a cut."""

    seed: int
    duration: float
    scenes: tuple[Scene, ...]
    actors: tuple[Actor, ...]
    noise: float  # standard deviation of camera noise, 8-bit levels
    captions: tuple[Caption, ...] = ()

    @property
    def shown(self) -> tuple[Actor, ...]:
        """All actors as things of one colour, in the order in which they appear."""
        return tuple(sorted((s for a in self.actors for s in a.showings()), key=lambda s: s.start))

    def window(self, start: float, end: float) -> Script:
        """The same script seen only during [start, end), on the original clock."""

        def cut(things: Sequence[_Shown]) -> tuple[_Shown, ...]:
            spans = ((each, max(each.start, start), min(each.end, end)) for each in things)
            return tuple(replace(each, start=a, end=b) for each, a, b in spans if a < b)

        return replace(self, actors=cut(self.actors), captions=cut(self.captions))


def rng_for(seed: int, purpose: str) -> np.random.Generator:
    """Independent random streams of one seed, by purpose."""
    return np.random.default_rng([seed, *purpose.encode()])


def is_training_seed(seed: int) -> bool:
    return 0 <= seed < TRAINING_SEEDS


def check_training_seed(seed: int) -> None:
    """Training never sees an evaluation script: raises ValueError at or above TRAINING_SEEDS."""
    if not is_training_seed(seed):
        raise ValueError(f"seed {seed} is kept for evaluation; training uses seeds below {TRAINING_SEEDS}")


def known_kind(seed: int, colour: str, shape: str) -> bool:
    """Whether a script of this seed may show such a thing."""
    return not (is_training_seed(seed) and (colour, shape) in UNSEEN_KINDS)


def third(x: float) -> int | None:
    """Which of PLACES a centre lies in, or None near the line between two."""
    if any(abs(x - WIDTH * line / len(PLACES)) < NEAR_THIRD for line in range(1, len(PLACES))):
        return None
    return int(np.clip(x * len(PLACES) / WIDTH, 0, len(PLACES) - 1))
