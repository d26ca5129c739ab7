"""Script -> what can be asked about it: queries with their spans, questions with answers and evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qvl_cli.prompts import Prompt, ask_prompt, locate_prompt
from qvl_cli.tiny.phrases import (
    APPEARS,
    DOES,
    LEADS,
    MOMENTS,
    MORE_QUESTIONS,
    QUESTIONS,
    WORD_SHOWS,
    article,
    pick,
    plural,
)
from qvl_cli.tiny.pieces import Look, Piece, Query, Span, enumerate_things, kind_order
from qvl_cli.tiny.world import (
    ACTIONS,
    COLOUR_NAMES,
    PLACES,
    SHAPES,
    UNSEEN_KINDS,
    WORDS,
    Actor,
    Script,
    third,
)

NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LEAST_VISIBLE = 1.0  # seconds; whatever shows for less is neither asked for nor counted on
APART = 2.5  # seconds between two things of which one comes first
# Of events drawn: words, actions, things, shapes, the rest colours. Each counts what stands before it, too.
EVENTS = (0.1, 0.55, 0.88, 0.94)


@dataclass(frozen=True, slots=True)
class Style:
    """How questions and answers are put. dated: an order is told with the times it follows from; ranked: and
    with which of these is the earlier; more: questions come in words of MORE_QUESTIONS, too; led: with words
    in front, too; early: a thing that turns another colour is looked for while it has its own."""

    dated: bool = True
    ranked: bool = True
    more: bool = False
    led: bool = False
    early: bool = False


PLAIN = Style()


@dataclass(frozen=True, slots=True)
class Asking:
    """What a question is drawn from. unseen: ask in words kept from training."""

    script: Script
    shown: tuple[Actor, ...]
    actor: Actor
    rng: np.random.Generator
    unseen: bool
    style: Style = PLAIN

    def wording(self, family: str, **words: str) -> Prompt:
        bank = (*MORE_QUESTIONS[family], *QUESTIONS[family]) if self.style.more else QUESTIONS[family]
        question = pick(bank, self.rng, self.unseen).format(**words)
        if self.style.led and self.rng.random() < 0.35:
            question = str(self.rng.choice(LEADS)) + question[0].lower() + question[1:]
        return ask_prompt(question)

    def alike(self, actor: Actor) -> list[Actor]:
        return [a for a in self.shown if a.kind == actor.kind]


def name(actor: Actor) -> str:
    return f"{actor.colour} {actor.shape}"


def union(spans: Sequence[Span]) -> tuple[Span, ...]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def presence(actors: Sequence[Actor]) -> tuple[Span, ...]:
    return union([(a.start, a.end) for a in actors])


def acting(actor: Actor) -> Span | None:
    """When the actor's action shows, cut to the time it is on screen."""
    action = actor.action
    if action is None:
        return None
    end = action.end if action.kind == "turns" else min(actor.end, action.end)
    span = max(actor.start, action.start), end
    return span if span[1] - span[0] >= 2 * LEAST_VISIBLE else None


def _marginal(script: Script) -> bool:
    spans = [(each.start, each.end) for each in script.shown] + [(c.start, c.end) for c in script.captions]
    return any(end - start < LEAST_VISIBLE for start, end in spans)


def locate_query(
    script: Script,
    rng: np.random.Generator,
    absent: float = 0.15,
    unseen: bool = False,
    events: Sequence[float] = EVENTS,
    mistaken: float = 0.0,
) -> Query | None:
    """An event and all its spans; with probability `absent` one that never happens. events: as EVENTS;
    mistaken: of the latter, the share in which a thing that is there does what it never does."""
    shown = script.shown
    if not shown or _marginal(script):
        return None
    ask = Asking(script, shown, shown[int(rng.integers(len(shown)))], rng, unseen)
    kind, lacking = rng.random(), rng.random() < absent
    words, actions, things, shapes = events
    if kind < words:
        return _word_event(ask, lacking)
    if lacking and mistaken and rng.random() < mistaken:
        return _mistaken_event(ask)
    if lacking:
        return _absent_event(ask)
    if kind < actions and ask.actor.action:
        return _action_event(ask)
    if kind < things:
        return _event(ask, APPEARS, name(ask.actor), presence(ask.alike(ask.actor)))
    if kind < shapes:
        same = [a for a in shown if a.shape == ask.actor.shape]
        return _event(ask, APPEARS, ask.actor.shape, presence(same))
    same = [a for a in shown if a.colour == ask.actor.colour]
    return _event(ask, APPEARS, f"{ask.actor.colour} shape", presence(same))


def _event(ask: Asking, phrases: tuple[str, ...], words: str, spans: tuple[Span, ...]) -> Query:
    it = article(words) if ask.rng.random() < 0.6 else f"the {words}"
    event = pick(phrases, ask.rng, ask.unseen).format(it=it)
    event = str(ask.rng.choice(MOMENTS)).format(event=event)
    unseen = ask.unseen or tuple(words.split()) in UNSEEN_KINDS
    return Query("locate", locate_prompt(event), written_spans(spans), spans, unseen=unseen)


def written_spans(spans: Sequence[Span]) -> tuple[Piece, ...]:
    """How time ranges are written as text, one line a range."""
    said: list[Piece] = []
    for start, end in spans:
        said += [Piece("\n")] if said else []
        said += [
            Piece(f"{start:.1f}", moment=start),
            Piece(" - "),
            Piece(f"{end:.1f}", moment=end, first=False),
        ]
    return tuple(said) or (Piece("never"),)


def _word_event(ask: Asking, lacking: bool) -> Query | None:
    words = {caption.word for caption in ask.script.captions}
    candidates = [word for word in WORDS if (word in words) != lacking]
    if not candidates:
        return None
    word = str(ask.rng.choice(candidates))
    spans = union([(c.start, c.end) for c in ask.script.captions if c.word == word])
    return _event(ask, tuple(p.replace("{word}", word) for p in WORD_SHOWS), word, spans)


def _action_event(ask: Asking) -> Query | None:
    assert ask.actor.action is not None
    kind = ask.actor.action.kind
    spans = [acting(a) for a in ask.alike(ask.actor) if a.action and a.action.kind == kind]
    if not all(spans):
        return None
    return _event(ask, DOES[kind], name(ask.actor), union([span for span in spans if span]))


def _mistaken_event(ask: Asking) -> Query:
    """Half of the time it does what another thing does."""
    rng, done = ask.rng, {a.action.kind for a in ask.alike(ask.actor) if a.action}
    of_others = sorted({a.action.kind for a in ask.shown if a.action} - done)
    undone = [a for a in ACTIONS if a not in done]
    action = str(rng.choice(of_others if of_others and rng.random() < 0.5 else undone))
    return _event(ask, DOES[action], name(ask.actor), ())


def _absent_event(ask: Asking) -> Query | None:
    seen, rng, way = {a.kind for a in ask.shown}, ask.rng, ask.rng.random()
    if way < 0.35:  # the right thing doing something else
        done = {a.action.kind for a in ask.alike(ask.actor) if a.action}
        action = str(rng.choice([a for a in ACTIONS if a not in done]))
        return _event(ask, DOES[action], name(ask.actor), ())
    colour, shape = str(rng.choice(COLOUR_NAMES)), str(rng.choice(SHAPES))
    if way < 0.6:
        colour = ask.actor.colour
    elif way < 0.85:
        shape = ask.actor.shape
    if (colour, shape) in seen or (not ask.unseen and (colour, shape) in UNSEEN_KINDS):
        return None
    return _event(ask, APPEARS, f"{colour} {shape}", ())


def ask_query(
    script: Script,
    rng: np.random.Generator,
    family: str,
    unseen: bool = False,
    style: Style = PLAIN,
) -> Query | None:
    """A question of a family with one right answer, or None where this draw found none. unseen: see
    `Asking`."""
    shown = script.shown
    if family not in _DRAWN:
        raise ValueError(f"no such family: {family}")
    if not shown or _marginal(script):
        return None
    ask = Asking(script, shown, shown[int(rng.integers(len(shown)))], rng, unseen, style)
    return _DRAWN[family](ask)


def _query(ask: Asking, family: str, prompt: Prompt, said: Sequence[Piece], proof: Sequence[Actor]) -> Query:
    unseen = ask.unseen or any(a.kind in UNSEEN_KINDS for a in proof)
    return Query(family, prompt, tuple(said), presence(proof), unseen=unseen)


def _what(ask: Asking) -> Query | None:
    actor, same = ask.actor, [a for a in ask.shown if a.colour == ask.actor.colour]
    if len({a.shape for a in same}) > 1:
        return None
    said = Piece(f"The {actor.colour} shape is a"), Piece(f" {actor.shape}", Look(actor.colour)), Piece(".")
    return _query(ask, "what", ask.wording("what", colour=actor.colour), said, same)


def _colour(ask: Asking) -> Query | None:
    actor, same = ask.actor, [a for a in ask.shown if a.shape == ask.actor.shape]
    if len({a.colour for a in same}) > 1:
        return None
    said = Piece(f"The {actor.shape} is"), Piece(f" {actor.colour}", Look(shape=actor.shape)), Piece(".")
    return _query(ask, "colour", ask.wording("colour", shape=actor.shape), said, same)


def _which(ask: Asking) -> Query | None:
    if ask.actor.action is None:
        return None
    kind = ask.actor.action.kind
    same = [a for a in ask.shown if a.action and a.action.kind == kind]
    spans = [acting(a) for a in same]
    if not all(spans) or len({a.kind for a in same}) > 1:
        return None
    does = pick(DOES[kind], ask.rng).removeprefix("{it} ")
    own = _own_colour(ask.actor) if ask.style.early and len(same) == 1 else None
    look = Look(action=kind, span=own)
    said = Piece(f"What {does}: the"), Piece(f" {name(ask.actor)}", look), Piece(".")
    query = _query(ask, "which", ask.wording("which", does=does), said, same)
    return Query("which", query.prompt, said, union([s for s in spans if s]), unseen=query.unseen)


def _own_colour(actor: Actor) -> Span | None:
    """Of a thing that turns, the part of its turn in which it is called by its own colour."""
    if actor.action is None or actor.action.kind != "turns":
        return None
    return actor.action.start, actor.end


def _where(ask: Asking) -> Query | None:
    """Asked only of what stays in one third of the picture."""
    actor, same = ask.actor, ask.alike(ask.actor)
    times = [
        (a, a.start + share * (a.end - a.start)) for a in same for share in (0.0, 0.25, 0.5, 0.75, 0.999)
    ]
    thirds = {third(place[0]) for place in (a.at(t) for a, t in times) if place}
    if len(thirds) != 1 or None in thirds:
        return None
    place, look = PLACES[min(t for t in thirds if t is not None)], Look(actor.colour, actor.shape)
    side, closing = (" in the", ".") if place == "middle" else (" on the", " side.")
    said = Piece(f"The {name(actor)} is"), Piece(side, look), Piece(f" {place}", look), Piece(closing)
    return _query(ask, "where", ask.wording("where", it=name(actor)), said, same)


def _order(ask: Asking) -> Query | None:
    """Two things that come once each, one clearly before the other."""
    once = [a for a in ask.shown if len(ask.alike(a)) == 1 and abs(a.start - ask.actor.start) >= APART]
    if not once or len(ask.alike(ask.actor)) > 1:
        return None
    other = once[int(ask.rng.integers(len(once)))]
    first, second = sorted((ask.actor, other), key=lambda a: a.start)
    looks = [Look(a.colour, a.shape, span=_opening(a)) for a in (first, second)]
    said = [*_appears(ask.actor), *_appears(other, ", the"), Piece(":")] if ask.style.dated else []
    if ask.style.dated and ask.style.ranked:
        said += earlier(1 if first is ask.actor else 2)
    else:
        said.append(Piece(" first the" if said else "First the", looks[0]))
    said += in_order(*(Piece(f" {name(a)}", look) for a, look in zip((first, second), looks, strict=True)))
    words = ask.wording("order", it=name(ask.actor), other=name(other))
    return _query(ask, "order", words, said, (first, second))


def _appears(actor: Actor, opening: str = "The") -> tuple[Piece, ...]:
    time = Piece(f"{actor.start:.1f}", moment=actor.start)
    return Piece(f"{opening} {name(actor)} appears at "), time, Piece(" seconds", clocked=True)


def earlier(which: int) -> tuple[Piece, ...]:
    """Says which of two times told before, the first or the second, comes first."""
    rank = ("first", "second")[which - 1]
    return Piece(" the"), Piece(f" {rank}", told=True, ranks=True), Piece(" comes first: the")


def in_order(first: Piece, second: Piece) -> tuple[Piece, ...]:
    """How an order ends."""
    return first, Piece(", then the"), second, Piece(".")


def _opening(actor: Actor) -> Span:
    return actor.start, min(actor.end, actor.start + 2.0)


def _after(ask: Asking) -> Query | None:
    """What comes next, where it is clear which that is."""
    actor, later = ask.actor, [a for a in ask.shown if a.start > ask.actor.start]
    near = [a for a in ask.shown if a is not actor and abs(a.start - actor.start) < APART]
    if not later or near or len(ask.alike(actor)) > 1 or later[0].kind == actor.kind:
        return None
    if len(later) > 1 and later[1].start - later[0].start < APART:
        return None
    look = Look(later[0].colour, later[0].shape, span=_opening(later[0]))
    found = Piece(f" {name(later[0])}", look, follows=True)
    said = Piece(f"After the {name(actor)} comes the"), found, Piece(".")
    return _query(ask, "after", ask.wording("after", it=name(actor)), said, later[:1])


def _when(ask: Asking) -> Query | None:
    actor, same = ask.actor, ask.alike(ask.actor)
    said = [*_appears(same[0]), Piece(".")]
    return _query(ask, "when", ask.wording("when", it=name(actor)), said, same) if len(same) == 1 else None


def _written(ask: Asking) -> Query | None:
    words = {caption.word for caption in ask.script.captions}
    if len(words) != 1:
        return None
    (word,) = words
    said = Piece("The word is"), Piece(f" {word}", Look(word=word)), Piece(".")
    spans = union([(c.start, c.end) for c in ask.script.captions])
    return Query("written", ask.wording("written"), said, spans, unseen=ask.unseen)


def _count(ask: Asking) -> Query | None:
    """Counts different things, one by one in the order of `kind_order`: one that comes back counts once."""
    rng, actor, way = ask.rng, ask.actor, ask.rng.random()
    if way < 0.4:
        colour = actor.colour if rng.random() < 0.85 else str(rng.choice(COLOUR_NAMES))
        things, counted = f"{colour} shapes", [a for a in ask.shown if a.colour == colour]
    elif way < 0.8:
        shape = actor.shape if rng.random() < 0.85 else str(rng.choice(SHAPES))
        things, counted = plural(shape), [a for a in ask.shown if a.shape == shape]
    else:
        things, counted = "different shapes", list(ask.shown)
    kinds = sorted({a.kind for a in counted}, key=kind_order)
    if len(kinds) >= len(NUMBERS):
        return None
    prompt = ask.wording("count", things=things)
    told = (lambda k: k[1]) if way < 0.4 else (lambda k: k[0]) if way < 0.8 else " ".join
    said = [Piece(f"The {things}"), *enumerate_things(kinds, told, opening=":", closing=":")]
    return _query(ask, "count", prompt, [*said, Piece(f" {NUMBERS[len(kinds)]}.")], counted)


_DRAWN: dict[str, Callable[[Asking], Query | None]] = {
    "what": _what,
    "colour": _colour,
    "which": _which,
    "where": _where,
    "count": _count,
    "order": _order,
    "written": _written,
    "after": _after,
    "when": _when,
}
