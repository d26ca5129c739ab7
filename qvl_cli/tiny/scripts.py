"""A seed -> a script: who appears when and does what, which words show, where the backdrop changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qvl_cli.tiny.hiding import BANDS, unhide
from qvl_cli.tiny.world import (
    ACTIONS,
    BACKGROUNDS,
    COLOUR_NAMES,
    COLOURS,
    HEIGHT,
    MOVES,
    PEEK,
    SHAPES,
    SIZE_CHANGE,
    WIDTH,
    WORDS,
    Action,
    Actor,
    Caption,
    Scene,
    Script,
    is_training_seed,
    known_kind,
    rng_for,
)

Span = tuple[float, float]
FAR_COLOUR = 110.0  # RGB distance at least between the two colours of a turn


def write_script(seed: int, duration: float, *, density: float = 1.0) -> Script:
    """Draw a script from a seed. density: actors relative to one about every nine seconds.

    Where it is for evaluation no caption hides a thing, so that what is asked about can be seen.
    """
    rng = rng_for(seed, "script")
    wanted = max(2, round(duration / 9.0 * density * rng.uniform(0.7, 1.3)))
    still = _still_stretch(rng, duration)
    actors: list[Actor] = []
    for _ in range(wanted * 4):
        if len(actors) == wanted:
            break
        actor = _draw_actor(rng, seed, duration, actors)
        if actor and _fits(actor, actors, still):
            actors.append(actor)
    script = Script(
        seed,
        duration,
        _draw_scenes(rng, duration),
        tuple(sorted(actors, key=lambda a: a.start)),
        float(rng.choice([0.0, 2.0, 5.0])),
        _draw_captions(rng, duration, actors, density),
    )
    return script if is_training_seed(seed) else unhide(script)


def _still_stretch(rng: np.random.Generator, duration: float) -> Span:
    """In one script of five nobody comes, goes or acts for a third of it or more; else an empty stretch."""
    if rng.random() >= 0.2:
        return 0.0, 0.0
    long = duration * float(rng.uniform(0.33, 0.5))
    begin = float(rng.uniform(0.0, duration - long))
    return begin, begin + long


def _draw_scenes(rng: np.random.Generator, duration: float) -> tuple[Scene, ...]:
    """One backdrop for the whole, or cuts every 20 s or so."""
    scenes = [Scene(0.0, str(rng.choice(BACKGROUNDS)))]
    if rng.random() < 0.4:
        for number in range(1, 1 + max(1, round(duration / float(rng.uniform(12.0, 40.0))))):
            at = float(rng.uniform(0.0, duration))
            scenes.append(Scene(at, str(rng.choice(BACKGROUNDS)), number))
    return tuple(sorted(scenes, key=lambda scene: scene.start))


def _draw_captions(
    rng: np.random.Generator, duration: float, actors: list[Actor], density: float
) -> tuple[Caption, ...]:
    """A word every 25 s or so, never two at once, where it hides least of the actors."""
    captions: list[Caption] = []
    for _ in range(max(1, round(duration / 25.0 * density * float(rng.uniform(0.3, 1.4))))):
        stay = min(float(rng.uniform(4.0, 12.0)), duration)
        start = float(rng.uniform(0.0, duration - stay))
        if any(start < c.end + 2.0 and c.start < start + stay + 2.0 for c in captions):
            continue
        caption = draw_caption(rng, start, start + stay)
        spare = [(_hidden(caption, y, actors), y) for y in BANDS]
        captions.append(replace(caption, y=min(spare)[1]))
    return tuple(sorted(captions, key=lambda c: c.start))


def draw_caption(rng: np.random.Generator, start: float, end: float) -> Caption:
    word, size = str(rng.choice(WORDS)), float(rng.uniform(19.0, 27.0))
    half = 0.36 * size * len(word)
    x = float(rng.uniform(half, WIDTH - half)) if 2 * half < WIDTH else WIDTH / 2
    return Caption(word, start, end, x, float(rng.choice(BANDS)), size, int(rng.integers(4)))


def _hidden(caption: Caption, y: float, actors: list[Actor]) -> int:
    """How many half seconds of actors a caption would cover at this height."""
    times = np.arange(caption.start, caption.end, 0.5)
    places = (actor.at(float(time)) for actor in actors for time in times)
    return sum(abs(place[1] - y) < place[2] + caption.size / 2 for place in places if place)


def draw_kind(rng: np.random.Generator, seed: int, others: list[Actor]) -> tuple[str, str] | None:
    """(colour, shape), half of the time with one or both of an earlier actor's; None where the script may not
    show such a thing."""
    shape, colour = str(rng.choice(SHAPES)), str(rng.choice(COLOUR_NAMES))
    if others and (draw := rng.random()) < 0.5:  # distractors share something with an earlier actor
        twin = others[int(rng.integers(len(others)))]
        if draw < 0.12:
            shape, colour = twin.shape, twin.colour
        elif draw < 0.31:
            shape = twin.shape
        else:
            colour = twin.colour
    return (colour, shape) if known_kind(seed, colour, shape) else None


def draw_turn(rng: np.random.Generator, seed: int, colour: str, shape: str) -> str | None:
    """A colour that a thing can turn to: one that is told apart from its own."""
    new = str(rng.choice(COLOUR_NAMES))
    far = np.linalg.norm(np.subtract(COLOURS[colour], COLOURS[new])) >= FAR_COLOUR
    return new if far and known_kind(seed, new, shape) else None


def _draw_actor(rng: np.random.Generator, seed: int, duration: float, others: list[Actor]) -> Actor | None:
    kind = draw_kind(rng, seed, others)
    stay = min(float(rng.uniform(5.0, 16.0)), duration)
    start = float(rng.uniform(0.0, duration - stay))
    radius = float(rng.uniform(12.0, 18.0))
    doing = str(rng.choice(ACTIONS)) if rng.random() < 0.75 else ""
    if kind is None:
        return None
    colour, shape = kind
    if doing in ("enters", "leaves", "crosses"):
        return _draw_passage(rng, doing, Actor(shape, colour, start, start + stay, 0.0, 0.0, radius))
    action, dx, dy = None, 0.0, 0.0
    if doing:
        length = float(rng.uniform(3.5, min(8.0, stay)))
        begin = start + float(rng.uniform(0.0, stay - length))
        if doing in MOVES:
            room = 0.95 * ((WIDTH if doing in ("left", "right") else HEIGHT) - 2 * radius)
            travel = min(room, length * float(rng.uniform(8.0, 16.0)))
            dx, dy = MOVES[doing][0] * travel, MOVES[doing][1] * travel
            action = Action(doing, begin, begin + length, travel, doing)
        elif doing == "turns":
            new = draw_turn(rng, seed, colour, shape)
            action = Action(doing, begin, begin + min(length, 5.0), colour=new) if new else None
        else:
            action = Action(doing, begin, begin + length)
            radius = 11.0 if doing == "grows" else 20.0 if doing == "shrinks" else radius
    reach = radius * SIZE_CHANGE if action and action.kind == "grows" else radius
    x = float(rng.uniform(reach - min(dx, 0.0), WIDTH - reach - max(dx, 0.0)))
    y = float(rng.uniform(reach - min(dy, 0.0), HEIGHT - reach - max(dy, 0.0)))
    return Actor(shape, colour, start, start + stay, x, y, radius, action)


def _draw_passage(rng: np.random.Generator, doing: str, actor: Actor) -> Actor:
    """Over an edge of the picture, at its start or end or both."""
    way, radius, start, end = str(rng.choice(["left", "right"])), actor.radius, actor.start, actor.end
    y = float(rng.uniform(radius, HEIGHT - radius))
    if doing == "crosses":
        travel = WIDTH + 2 * PEEK * radius
        end = start + travel / float(rng.uniform(19.0, 30.0))
        begin, long = start, end - start
    else:
        travel = radius * float(rng.uniform(1.6, 1.9))
        long = min(end - start, float(rng.uniform(3.5, 5.5)))
        begin = start if doing == "enters" else end - long
    edge = -PEEK * radius if doing != "leaves" else PEEK * radius - travel  # from the edge it comes over
    x = edge if way == "right" else WIDTH - edge
    if doing == "leaves":
        x = WIDTH + edge if way == "right" else -edge
    action = Action(doing, begin, begin + long, travel, way)
    return Actor(actor.shape, actor.colour, start, end, x, y, radius, action)


def _fits(actor: Actor, others: list[Actor], still: Span) -> bool:
    """No twin near it in time, at most three on screen, none hides another, nothing in a still stretch."""
    doing = (actor.action.start, actor.action.end) if actor.action else (actor.start, actor.start)
    for begin, end in ((actor.start, actor.start), (actor.end, actor.end), doing):
        if begin < still[1] and still[0] < end:
            return False
    shown = [showing for other in others for showing in other.showings()]
    for mine in actor.showings():
        for there in shown:
            if there.kind == mine.kind and mine.start < there.end + 3.0 and there.start < mine.end + 3.0:
                return False
    for time in np.arange(actor.start, actor.end, 0.5):
        place = actor.at(float(time))
        present = [o for o in others if o.start <= time < o.end]
        if len(present) >= 3:
            return False
        for x, y, radius in filter(None, (o.at(float(time)) for o in present)):
            if place and np.hypot(place[0] - x, place[1] - y) < 0.9 * (place[2] + radius):
                return False
    return True
