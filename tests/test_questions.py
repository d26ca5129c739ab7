"""Answers and spans of the world's questions, checked against the script by plain search over time."""

from __future__ import annotations

import numpy as np
import pytest

from qvl_cli.evals.texts import is_right
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
            assert {f"It is a {a.shape}." for a in actors} == {query.short}
        elif family == "colour":
            assert {f"It is {a.colour}." for a in actors} == {query.short}
        elif family == "which":
            doing = [a for a in actors if a.action and a.action.kind == action_in(text)]
            assert {f"The {a.colour} {a.shape}." for a in doing} == {query.short}
        else:
            assert NUMBERS[len({a.kind for a in actors})].capitalize() + "." == query.short


@pytest.mark.parametrize("family", ["what", "colour", "which", "count"])
def test_whole_sentences_say_the_same_as_short_answers(family: str) -> None:
    for _, query in queries(family):
        assert is_right(family, query.answer, query.short) and is_right(family, query.short, query.answer)


def test_sections_tell_only_what_happens_in_them() -> None:
    script = write_script(7, 60.0)
    middle = section_query(script, 20.0, 40.0)
    for actor in script.actors:
        if actor.end <= 20.0 or actor.start >= 40.0:
            assert f"{actor.colour} {actor.shape}" not in middle.answer or any(
                a.kind == actor.kind and a.end > 20.0 and a.start < 40.0 for a in script.actors
            )
    assert overview_query(script).answer == tell(script)
    assert tell(script.window(0.0, 0.0)) == "Nothing happens."


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
