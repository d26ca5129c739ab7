"""The drawn world: coloured shapes that appear, move, change and leave. A script is all that happens."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
CHANGES = ("grows", "shrinks", "blinks")
ACTIONS = (*MOVES, *CHANGES)

WIDTH, HEIGHT = 160, 96  # world units; one unit is one pixel at scale 1
TRAINING_SEEDS = 1_000_000  # scripts below are for training, at or above for evaluation
BLINK_PERIOD = 1.0  # seconds; dark in the second half
SIZE_CHANGE = 1.8  # ratio of radii before and after growing


@dataclass(frozen=True, slots=True)
class Action:
    """What an actor does during [start, end) seconds; still before, and as it ended after."""

    kind: str
    start: float
    end: float
    travel: float = 0.0  # world units along the direction of a move


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

    def at(self, time: float) -> tuple[float, float, float] | None:
        """(x, y, radius) at a time, or None while it cannot be seen."""
        if not self.start <= time < self.end:
            return None
        x, y, radius, action = self.x, self.y, self.radius, self.action
        if action is None or time < action.start:
            return x, y, radius
        done = min(1.0, (time - action.start) / (action.end - action.start))
        if action.kind in MOVES:
            dx, dy = MOVES[action.kind]
            return x + dx * action.travel * done, y + dy * action.travel * done, radius
        if action.kind == "blinks":
            dark = done < 1.0 and (time - action.start) % BLINK_PERIOD >= BLINK_PERIOD / 2
            return None if dark else (x, y, radius)
        ratio = SIZE_CHANGE if action.kind == "grows" else 1 / SIZE_CHANGE
        return x, y, radius * ratio**done


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that happens in one video of `duration` seconds."""

    seed: int
    duration: float
    background: str
    actors: tuple[Actor, ...]
    noise: float  # standard deviation of camera noise, 8-bit levels

    def window(self, start: float, end: float) -> Script:
        """The same script seen only during [start, end), on the original clock."""
        kept = []
        for actor in self.actors:
            begin, finish = max(actor.start, start), min(actor.end, end)
            if begin < finish:
                kept.append(replace(actor, start=begin, end=finish))
        return replace(self, actors=tuple(kept))


def rng_for(seed: int, purpose: str) -> np.random.Generator:
    """Independent random streams of one seed, by purpose."""
    return np.random.default_rng([seed, *purpose.encode()])


def check_training_seed(seed: int) -> None:
    """Training never sees an evaluation script: raises ValueError at or above TRAINING_SEEDS."""
    if not 0 <= seed < TRAINING_SEEDS:
        raise ValueError(f"seed {seed} is kept for evaluation; training uses seeds below {TRAINING_SEEDS}")


def write_script(seed: int, duration: float, *, density: float = 1.0) -> Script:
    """Draw a script from a seed. density: actors relative to one about every nine seconds."""
    rng = rng_for(seed, "script")
    wanted = max(2, round(duration / 9.0 * density * rng.uniform(0.7, 1.3)))
    actors: list[Actor] = []
    for _ in range(wanted * 4):
        if len(actors) == wanted:
            break
        actor = _draw_actor(rng, duration, actors)
        if _fits(actor, actors):
            actors.append(actor)
    return Script(
        seed,
        duration,
        str(rng.choice(BACKGROUNDS)),
        tuple(sorted(actors, key=lambda a: a.start)),
        float(rng.choice([0.0, 2.0, 5.0])),
    )


def _draw_actor(rng: np.random.Generator, duration: float, others: list[Actor]) -> Actor:
    shape, colour = str(rng.choice(SHAPES)), str(rng.choice(COLOUR_NAMES))
    if others and (draw := rng.random()) < 0.5:  # distractors share something with an earlier actor
        twin = others[int(rng.integers(len(others)))]
        if draw < 0.12:
            shape, colour = twin.shape, twin.colour
        elif draw < 0.31:
            shape = twin.shape
        else:
            colour = twin.colour
    stay = min(float(rng.uniform(5.0, 16.0)), duration)
    start = float(rng.uniform(0.0, duration - stay))
    end = start + stay
    radius = float(rng.uniform(12.0, 18.0))
    action, dx, dy = None, 0.0, 0.0
    if rng.random() < 0.75:
        kind = str(rng.choice(ACTIONS))
        length = float(rng.uniform(3.5, min(8.0, stay)))
        begin = start + float(rng.uniform(0.0, stay - length))
        if kind in MOVES:
            room = 0.95 * ((WIDTH if kind in ("left", "right") else HEIGHT) - 2 * radius)
            travel = min(room, length * float(rng.uniform(8.0, 18.0)))
            dx, dy = MOVES[kind][0] * travel, MOVES[kind][1] * travel
            action = Action(kind, begin, begin + length, travel)
        else:
            action = Action(kind, begin, begin + length)
            radius = 11.0 if kind == "grows" else 20.0 if kind == "shrinks" else radius
    reach = radius * SIZE_CHANGE if action and action.kind == "grows" else radius
    x = float(rng.uniform(reach - min(dx, 0.0), WIDTH - reach - max(dx, 0.0)))
    y = float(rng.uniform(reach - min(dy, 0.0), HEIGHT - reach - max(dy, 0.0)))
    return Actor(shape, colour, start, end, x, y, radius, action)


def _fits(actor: Actor, others: list[Actor]) -> bool:
    """No twin near it in time, at most three on screen, and no shape hides another."""
    for other in others:
        if other.kind == actor.kind and actor.start < other.end + 3.0 and other.start < actor.end + 3.0:
            return False
    for time in np.arange(actor.start, actor.end, 0.5):
        place = actor.at(float(time))
        present = [o for o in others if o.start <= time < o.end]
        if len(present) >= 3:
            return False
        for there in filter(None, (o.at(float(time)) for o in present)):
            if place and np.hypot(place[0] - there[0], place[1] - there[1]) < 0.9 * (place[2] + there[2]):
                return False
    return True
