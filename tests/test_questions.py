"""Answers and spans of the world's questions, checked against the script by plain search over time."""

from __future__ import annotations

import numpy as np
import pytest

from qvl_cli.tiny.questions import (
    DOES,
    NUMBERS,
    Query,
    ask_query,
    locate_query,
    overview_query,
    section_query,
    spans_text,
    tell,
)
from qvl_cli.tiny.vocabulary import SPECIALS, VOCABULARY_SIZE, special_ids, world_tokenizer
from qvl_cli.tiny.world import COLOUR_NAMES, SHAPES, Actor, Script, rng_for, write_script


def queries(family: str) -> list[tuple[Script, Query]]:
    found = []
    for seed in range(120):
        script, rng = write_script(seed, 40.0), rng_for(seed, "test")
        query = locate_query(script, rng, 0.3) if family == "locate" else ask_query(script, rng, family)
        if query:
            found.append((script, query))
    assert len(found) > 30
    return found


def matching(script: Script, text: str) -> list[Actor]:
    words = text.replace("?", "").split()
    colours = [c for c in COLOUR_NAMES if c in words]
    shapes = [s for s in SHAPES if s in words or s + "s" in words or s + "es" in words]
    return [
        a for a in script.actors if (not colours or a.colour in colours) and (not shapes or a.shape in shapes)
    ]


def action_in(text: str) -> str | None:
    for kind, phrases in DOES.items():
        if any(phrase.removeprefix("{it} ") in text for phrase in phrases):
            return kind
    return None


def test_locate_spans_are_when_it_is_so() -> None:
    for script, query in queries("locate"):
        text, kind = query.prompt.query, action_in(query.prompt.query)
        actors = matching(script, text)
        for time in np.arange(0.05, script.duration, 0.37):
            if kind:
                truth = any(
                    a.action and a.action.kind == kind and a.start <= time < a.end
                    and a.action.start <= time < a.action.end
                    for a in actors
                )  # fmt: skip
            else:
                truth = any(a.start <= time < a.end for a in actors)
            assert truth == any(start <= time < end for start, end in query.spans), (text, time)


@pytest.mark.parametrize("family", ["what", "colour", "which", "count"])
def test_answers_are_right_and_the_only_ones(family: str) -> None:
    for script, query in queries(family):
        text, actors = query.prompt.query, matching(script, query.prompt.query)
        if family == "what":
            assert {f"The {a.colour} shape is a {a.shape}." for a in actors} == {query.answer}
        elif family == "colour":
            assert {f"The {a.shape} is {a.colour}." for a in actors} == {query.answer}
        elif family == "which":
            doing = [a for a in actors if a.action and a.action.kind == action_in(text)]
            assert {a.kind for a in doing} == {tuple(query.answer.rstrip(".").split()[-2:])}
        else:
            kinds = {a.kind for a in actors}
            assert query.answer.endswith(f" {NUMBERS[len(kinds)]}.")
            assert [(piece.look.colour, piece.look.shape) for piece in query.said if piece.look] == sorted(
                kinds, key=lambda kind: (COLOUR_NAMES.index(kind[0]), SHAPES.index(kind[1]))
            )


@pytest.mark.parametrize("family", ["what", "colour", "which", "count"])
def test_what_tells_an_answer_is_where_it_should_look(family: str) -> None:
    for script, query in queries(family):
        told = [piece for piece in query.said if piece.look]
        assert told or query.answer.endswith(" none.")
        for piece in told:
            shown = [
                a
                for a in script.actors
                if (piece.look.colour in (None, a.colour))
                and (piece.look.shape in (None, a.shape))
                and (piece.look.action is None or (a.action and a.action.kind == piece.look.action))
            ]
            assert shown
            assert all(set(piece.text.split()) <= {a.colour, a.shape} for a in shown), (query.answer, piece)


def test_sections_tell_only_what_happens_in_them() -> None:
    script = write_script(7, 60.0)
    middle = section_query(script, 20.0, 40.0)
    for actor in script.actors:
        if actor.end <= 20.0 or actor.start >= 40.0:
            assert f"{actor.colour} {actor.shape}" not in middle.answer or any(
                a.kind == actor.kind and a.end > 20.0 and a.start < 40.0 for a in script.actors
            )
    assert overview_query(script).said == tell(script)
    assert [piece.text for piece in tell(script.window(0.0, 0.0))] == ["Nothing happens."]


def test_times_as_text() -> None:
    assert spans_text(()) == "never"
    assert spans_text(((1.04, 2.0), (10.0, 12.25))) == "1.0 - 2.0\n10.0 - 12.2"


def test_vocabulary_keeps_digits_single_and_every_text_whole() -> None:
    tokenizer = world_tokenizer()
    assert tokenizer.get_vocab_size() <= VOCABULARY_SIZE
    ids = special_ids()
    assert len(set(ids.values())) == len(SPECIALS)
    for text in ("<123.5 seconds>", "Où est le cercle rouge ? 圆 🙂", "a red circle moves left"):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(tokens.ids, skip_special_tokens=False) == text
        assert all(len(t) == 1 for t in tokens.tokens if any(c.isdigit() for c in t))
