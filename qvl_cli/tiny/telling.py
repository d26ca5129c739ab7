"""What happens in a script or a part of it, in one sentence; and all sentences of the world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qvl_cli.prompts import overview_prompt, section_prompt
from qvl_cli.tiny.phrases import ACTION_WORDS, DOES, FAMILIES, QUESTIONS
from qvl_cli.tiny.pieces import Kind, Look, Piece, Query, enumerate_things, kind_order
from qvl_cli.tiny.questions import LEAST_VISIBLE, NUMBERS, Style, acting, ask_query, locate_query, presence
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import ACTIONS, COLOUR_NAMES, PLACES, SHAPES, WORDS, Script, rng_for

MOST_TOLD = 9  # things of one sentence


def tell(script: Script) -> tuple[Piece, ...]:
    """One sentence of all that shows and what it does first, shape by shape; `and more` where too much."""
    seen = [a for a in script.shown if a.end - a.start >= LEAST_VISIBLE]
    kinds = sorted({a.kind for a in seen}, key=kind_order)
    doing = {a.kind: a.action.kind for a in reversed(seen) if a.action and acting(a)}

    def does(kind: Kind) -> Sequence[Piece]:
        action = doing.get(kind)
        if action is None:
            return (Piece(" appears", Look(*kind)),)
        return (Piece(DOES[action][0].removeprefix("{it}"), Look(*kind, action=action)),)

    if not kinds:
        return (Piece("Nothing happens."),)
    told = enumerate_things(kinds[:MOST_TOLD], " ".join, "Seen:", ".", does)
    if len(kinds) > MOST_TOLD:
        told[-1] = Piece(" and more.")
    return tuple(told)


def section_query(script: Script, start: float, end: float) -> Query:
    part = script.window(start, end)
    proof = presence(part.actors)
    return Query("section", section_prompt(start, end), tell(part), proof, window=(start, end))


def overview_query(script: Script) -> Query:
    return Query("overview", overview_prompt(), tell(script), presence(script.actors))


def sample_sentences(scripts: int = 300) -> Iterator[str]:
    """Sentences of the world for the vocabulary; digits and what dates an order are in it anyway."""
    for seed in range(scripts):
        script, rng = write_script(seed, 40.0), rng_for(seed, "sentences")
        queries = [locate_query(script, rng, unseen=n > 5) for n in range(8)]
        queries += [
            ask_query(script, rng, family, style=Style(dated=False)) for family in FAMILIES for _ in range(3)
        ]
        queries += [section_query(script, 5.0, 20.0), overview_query(script)]
        for query in filter(None, queries):
            yield query.prompt.before + query.prompt.query + query.prompt.after
            yield query.answer
    words = [*COLOUR_NAMES, *SHAPES, *PLACES, *WORDS, *NUMBERS, *ACTIONS]
    words += [word for action in ACTION_WORDS.values() for word in sorted(action)]
    for _ in range(scripts // 3):
        yield from ("user\n", "assistant\n", "<0.5 seconds>", "never", *(f" {word}" for word in words))
        yield from (phrase for bank in QUESTIONS.values() for phrase in bank)
