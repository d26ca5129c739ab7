"""Script -> what can be asked about it: queries with their spans, questions with answers and evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qvl_cli.prompts import Prompt, ask_prompt, locate_prompt, overview_prompt, section_prompt
from qvl_cli.tiny.world import ACTIONS, COLOUR_NAMES, SHAPES, Actor, Script, rng_for, write_script

NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LEAST_VISIBLE = 1.0  # seconds; whatever shows for less is neither asked for nor counted on

APPEARS = (
    "{it} appears",
    "{it} is visible",
    "{it} is on screen",
    "there is {it}",
    "{it} can be seen",
    "{it}",
)
DOES = {
    **{way: (f"{{it}} moves {way}", f"{{it}} is moving {way}") for way in ("left", "right", "up", "down")},
    "grows": ("{it} grows", "{it} gets bigger"),
    "shrinks": ("{it} shrinks", "{it} gets smaller"),
    "blinks": ("{it} blinks", "{it} flashes"),
}
WHAT = ("What shape is {colour}?", "Which shape is {colour}?", "What is the {colour} thing?")
COLOUR = ("What colour is the {shape}?", "What color is the {shape}?", "Which colour does the {shape} have?")
WHICH = ("Which shape {does}?", "What {does}?", "What is it that {does}?")
COUNT = ("How many {things} are there?", "How many {things} appear?", "How many {things} can be seen?")

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """What covers the vision tokens that prove a piece of an answer: all that is named must hold."""

    colour: str | None = None
    shape: str | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of whole words of an answer, and where to look for what it says; None: no place tells it."""

    text: str
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One thing asked of a script.

    family: locate, what, colour, which, count, section or overview. said: the answer, piece by piece (empty
    for locate: it is the spans); it says again what was asked before it says what was found. spans: the
    seconds that prove it, sorted; empty for what never happens. window: the part of the video a section
    question is about.
    """

    family: str
    prompt: Prompt
    said: tuple[Piece, ...]
    spans: tuple[Span, ...]
    window: Span | None = None

    @property
    def answer(self) -> str:
        return "".join(piece.text for piece in self.said)


def article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def name(actor: Actor) -> str:
    return f"{actor.colour} {actor.shape}"


def union(spans: list[Span]) -> tuple[Span, ...]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def presence(actors: list[Actor]) -> tuple[Span, ...]:
    return union([(a.start, a.end) for a in actors])


def acting(actor: Actor) -> Span | None:
    """When the actor's action shows, cut to the time it is on screen."""
    if actor.action is None:
        return None
    span = max(actor.start, actor.action.start), min(actor.end, actor.action.end)
    return span if span[1] - span[0] >= 2 * LEAST_VISIBLE else None


def _marginal(script: Script) -> bool:
    return any(a.end - a.start < LEAST_VISIBLE for a in script.actors)


def locate_query(script: Script, rng: np.random.Generator, absent: float = 0.15) -> Query | None:
    """An event and all its spans; with probability `absent` one that never happens."""
    if not script.actors or _marginal(script):
        return None
    actor = script.actors[int(rng.integers(len(script.actors)))]
    kind = rng.random()
    if rng.random() < absent:
        return _absent_query(script, rng)
    if kind < 0.42 and actor.action:
        return _action_query(script, actor, rng)
    if kind < 0.86:
        words, same = name(actor), [a for a in script.actors if a.kind == actor.kind]
    elif kind < 0.93:
        words, same = actor.shape, [a for a in script.actors if a.shape == actor.shape]
    else:
        words, same = f"{actor.colour} shape", [a for a in script.actors if a.colour == actor.colour]
    return Query("locate", _event(rng, APPEARS, words), (), presence(same))


def _event(rng: np.random.Generator, phrases: tuple[str, ...], words: str) -> Prompt:
    it = article(words) if rng.random() < 0.6 else f"the {words}"
    return locate_prompt(str(rng.choice(phrases)).format(it=it))


def _action_query(script: Script, actor: Actor, rng: np.random.Generator) -> Query | None:
    assert actor.action is not None
    same = [
        a for a in script.actors if a.kind == actor.kind and a.action and a.action.kind == actor.action.kind
    ]
    spans = [acting(a) for a in same]
    if not all(spans):
        return None
    return Query(
        "locate", _event(rng, DOES[actor.action.kind], name(actor)), (), union([s for s in spans if s])
    )


def _absent_query(script: Script, rng: np.random.Generator) -> Query | None:
    seen = {a.kind for a in script.actors}
    actor = script.actors[int(rng.integers(len(script.actors)))]
    way = rng.random()
    if way < 0.35:  # the right thing doing something else
        done = {a.action.kind for a in script.actors if a.kind == actor.kind and a.action}
        action = str(rng.choice([a for a in ACTIONS if a not in done]))
        return Query("locate", _event(rng, DOES[action], name(actor)), (), ())
    colour, shape = str(rng.choice(COLOUR_NAMES)), str(rng.choice(SHAPES))
    if way < 0.6:
        colour = actor.colour
    elif way < 0.85:
        shape = actor.shape
    if (colour, shape) in seen:
        return None
    return Query("locate", _event(rng, APPEARS, f"{colour} {shape}"), (), ())


def ask_query(script: Script, rng: np.random.Generator, family: str) -> Query | None:
    """A what, colour, which or count question with one right answer, or None where the script has none."""
    actors = list(script.actors)
    if not actors or _marginal(script):
        return None
    actor = actors[int(rng.integers(len(actors)))]
    if family == "what":
        same = [a for a in actors if a.colour == actor.colour]
        question = str(rng.choice(WHAT)).format(colour=actor.colour)
        unique, said = {a.shape for a in same}, (Piece(f"The {actor.colour} shape is a"), _seen_shape(actor))
    elif family == "colour":
        same = [a for a in actors if a.shape == actor.shape]
        question = str(rng.choice(COLOUR)).format(shape=actor.shape)
        unique, said = {a.colour for a in same}, (Piece(f"The {actor.shape} is"), _seen_colour(actor))
    elif family == "which":
        return _which_query(actors, actor, rng)
    elif family == "count":
        return _count_query(actors, actor, rng)
    else:
        raise ValueError(f"no such family: {family}")
    if len(unique) > 1:
        return None
    return Query(family, ask_prompt(question), (*said, Piece(".")), presence(same))


def _seen_shape(actor: Actor) -> Piece:
    return Piece(f" {actor.shape}", Look(colour=actor.colour))


def _seen_colour(actor: Actor) -> Piece:
    return Piece(f" {actor.colour}", Look(shape=actor.shape))


def _which_query(actors: list[Actor], actor: Actor, rng: np.random.Generator) -> Query | None:
    if actor.action is None:
        return None
    kind = actor.action.kind
    same = [a for a in actors if a.action and a.action.kind == kind]
    spans = [acting(a) for a in same]
    if not all(spans) or len({name(a) for a in same}) > 1:
        return None
    does = str(rng.choice(DOES[kind])).removeprefix("{it} ")
    question = str(rng.choice(WHICH)).format(does=does)
    said = Piece(f"What {does}: the"), Piece(f" {name(actor)}", Look(action=kind)), Piece(".")
    return Query("which", ask_prompt(question), said, union([span for span in spans if span]))


def _count_query(actors: list[Actor], actor: Actor, rng: np.random.Generator) -> Query | None:
    """Counts different things, one by one in the order of their names: one that comes back counts once."""
    way = rng.random()
    if way < 0.4:
        colour = actor.colour if rng.random() < 0.85 else str(rng.choice(COLOUR_NAMES))
        things, counted = f"{colour} shapes", [a for a in actors if a.colour == colour]
    elif way < 0.8:
        shape = actor.shape if rng.random() < 0.85 else str(rng.choice(SHAPES))
        things, counted = plural(shape), [a for a in actors if a.shape == shape]
    else:
        things, counted = "different shapes", actors
    kinds = sorted({a.kind for a in counted}, key=lambda k: (COLOUR_NAMES.index(k[0]), SHAPES.index(k[1])))
    if len(kinds) >= len(NUMBERS):
        return None
    said = [Piece(f"The {things}:")]
    for colour, shape in kinds:
        told = shape if way < 0.4 else colour if way < 0.8 else f"{colour} {shape}"
        said += [Piece(f" {told}", Look(colour, shape)), Piece("," if (colour, shape) != kinds[-1] else ":")]
    question = str(rng.choice(COUNT)).format(things=things)
    said.append(Piece(f" {NUMBERS[len(kinds)]}."))
    return Query("count", ask_prompt(question), tuple(said), presence(counted))


def plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")


def tell(script: Script, most: int = 4) -> tuple[Piece, ...]:
    """One sentence of what happens, in order of appearance."""
    parts: list[tuple[Piece, ...]] = []
    for actor in script.actors:
        action = actor.action.kind if actor.action and acting(actor) else None
        does = DOES[action][0].removeprefix("{it}") if action else " appears"
        seen = Look(actor.colour, actor.shape)
        told = article(name(actor)).split()[0]
        part = Piece(f" {told}"), Piece(f" {name(actor)}", seen), Piece(does, seen)
        if actor.end - actor.start >= LEAST_VISIBLE and part not in parts:
            parts.append(part)
    if not parts:
        return (Piece("Nothing happens."),)
    (opening, *rest), *others = parts[:most]
    said = [Piece(opening.text.strip().capitalize()), *rest]
    for other in others:
        said += [Piece(" and" if other is others[-1] else ","), *other]
    return (*said, Piece("."))


def section_query(script: Script, start: float, end: float) -> Query:
    part = script.window(start, end)
    return Query(
        "section", section_prompt(start, end), tell(part), presence(list(part.actors)), window=(start, end)
    )


def overview_query(script: Script) -> Query:
    return Query("overview", overview_prompt(), tell(script), presence(list(script.actors)))


def spans_text(spans: tuple[Span, ...]) -> str:
    """How a time range is written as text, one line a range."""
    return "\n".join(f"{start:.1f} - {end:.1f}" for start, end in spans) or "never"


def sample_sentences(scripts: int = 300) -> Iterator[str]:
    """Every kind of sentence of the world, for the vocabulary."""
    families = ("what", "colour", "which", "count")
    for seed in range(scripts):
        script, rng = write_script(seed, 40.0), rng_for(seed, "sentences")
        queries = [locate_query(script, rng) for _ in range(8)]
        queries += [ask_query(script, rng, family) for family in families for _ in range(3)]
        queries += [section_query(script, 5.0, 20.0), overview_query(script)]
        for query in filter(None, queries):
            yield query.prompt.before + query.prompt.query + query.prompt.after
            yield query.answer or spans_text(query.spans)
    yield from ("user\n", "assistant\n", "<0.5 seconds>") * scripts
