"""Answers and spans of the world's questions, checked against the script by plain search over time."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from qvl_cli.evals.texts import things_told
from qvl_cli.tiny import recipe
from qvl_cli.tiny.clips import make_clip
from qvl_cli.tiny.drills import order_drill
from qvl_cli.tiny.perception import IGNORE
from qvl_cli.tiny.phrases import (
    ACTION_WORDS,
    APPEARS,
    DOES,
    FAMILIES,
    LEADS,
    MORE_QUESTIONS,
    QUESTIONS,
    UNSEEN,
    WORD_SHOWS,
    pick,
    plural,
)
from qvl_cli.tiny.pieces import NOWHERE, Query, kind_order
from qvl_cli.tiny.questions import APART, NUMBERS, Style, ask_query, locate_query
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.telling import overview_query, section_query, tell
from qvl_cli.tiny.vocabulary import SPECIALS, VOCABULARY_SIZE, special_ids, world_tokenizer
from qvl_cli.tiny.world import (
    COLOUR_NAMES,
    PLACES,
    SHAPES,
    TRAINING_SEEDS,
    UNSEEN_KINDS,
    WIDTH,
    WORDS,
    Actor,
    Script,
    rng_for,
)


def queries(family: str, first: int = 0) -> list[tuple[Script, Query]]:
    found = []
    for seed in range(first, first + 160):
        script, rng = write_script(seed, 40.0), rng_for(seed, "test")
        query = locate_query(script, rng, 0.3) if family == "locate" else ask_query(script, rng, family)
        if query:
            found.append((script, query))
    assert len(found) > 25, family
    return found


def matching(script: Script, text: str) -> list[Actor]:
    words = re.findall(r"[a-z]+", text.lower())
    colours = [c for c in COLOUR_NAMES if c in words]
    shapes = [s for s in SHAPES if s in words or plural(s) in words]
    return [
        a for a in script.shown if (not colours or a.colour in colours) and (not shapes or a.shape in shapes)
    ]


def action_in(text: str) -> str | None:
    """The action of the longest phrase that stands in a text."""
    told = [(p.removeprefix("{it} "), kind) for kind, phrases in DOES.items() for p in phrases]
    found = [(len(phrase), kind) for phrase, kind in told if re.search(rf"\b{phrase}\b", text)]
    return max(found)[1] if found else None


def test_locate_spans_are_when_it_is_so() -> None:
    kinds = set()
    for script, query in queries("locate"):
        text, kind = query.prompt.query, action_in(query.prompt.query)
        word = next((w for w in WORDS if re.search(rf"\b{w}\b", text)), None)
        actors = matching(script, text)
        kinds.add("word" if word else kind)
        for time in np.arange(0.05, script.duration, 0.37):
            if word:
                truth = any(c.word == word and c.start <= time < c.end for c in script.captions)
            elif kind:
                turning = kind == "turns"  # seen until its end, when the thing has another name already
                truth = any(
                    a.action and a.action.kind == kind and a.start <= time
                    and (turning or time < a.end) and a.action.start <= time < a.action.end
                    for a in actors
                )  # fmt: skip
            else:
                truth = any(a.start <= time < a.end for a in actors)
            assert truth == any(start <= time < end for start, end in query.spans), (text, time)
    assert len(kinds) > 9 and {"word", None, "turns", "enters"} <= kinds


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_right_and_the_only_ones(family: str) -> None:
    for script, query in queries(family):
        text, answer = query.prompt.query, query.answer
        actors = matching(script, text)
        if family == "what":
            assert {f"The {a.colour} shape is a {a.shape}." for a in actors} == {answer}
        elif family == "colour":
            assert {f"The {a.shape} is {a.colour}." for a in actors} == {answer}
        elif family == "which":
            doing = [a for a in script.shown if a.action and a.action.kind == action_in(text)]
            assert {a.kind for a in doing} == {tuple(answer.rstrip(".").split()[-2:])}
        elif family == "where":
            where = {
                PLACES[min(max(int(place[0] // (WIDTH / 3)), 0), 2)]
                for a in actors
                for time in np.arange(a.start, a.end, 0.3)
                if (place := a.at(float(time)))
            }
            assert len(where) == 1 and where.pop() in answer
        elif family == "count":
            kinds = sorted({a.kind for a in actors}, key=kind_order)
            assert answer.endswith(f" {NUMBERS[len(kinds)]}.")
            named = [p.look for p in query.said if p.look and p.text.strip() not in ("", ",", "and", ":")]
            assert [(look.colour, look.shape) for look in named] == kinds
        elif family == "order":
            *given, a, b = things_told(answer)
            starts = {x.kind: x.start for x in script.shown if x.kind in (a, b)}
            assert starts[a] + APART <= starts[b] and given == things_told(text)
            times = [float(time) for time in re.findall(r"\d+\.\d", answer)]
            assert times == [pytest.approx(starts[kind], abs=0.051) for kind in given]
        elif family == "written":
            assert {f"The word is {c.word}." for c in script.captions} == {answer}
        elif family == "after":
            (asked,) = actors
            later = [a for a in script.shown if a.start > asked.start]
            assert things_told(answer) == [asked.kind, min(later, key=lambda a: a.start).kind]
        else:
            (asked,) = actors
            assert answer == f"The {asked.colour} {asked.shape} appears at {asked.start:.1f} seconds."


@pytest.mark.parametrize("family", ["what", "colour", "which", "where", "count", "order", "after"])
def test_what_tells_an_answer_is_where_it_should_look(family: str) -> None:
    for script, query in queries(family):
        told = [p for p in query.said if p.look and p.look is not NOWHERE and p.text.strip(" ,:")]
        assert told or query.answer.endswith(" none.")
        for piece in told:
            assert piece.look
            shown = [
                a
                for a in script.shown
                if (piece.look.colour in (None, a.colour))
                and (piece.look.shape in (None, a.shape))
                and (piece.look.action is None or (a.action and a.action.kind == piece.look.action))
                and (piece.look.span is None or a.start == piece.look.span[0])
            ]
            assert shown
            said = set(piece.text.split()) & {*COLOUR_NAMES, *SHAPES}
            assert all(said <= {a.colour, a.shape} for a in shown), (query.answer, piece)


def test_an_enumeration_knows_what_comes_next() -> None:
    for _, query in queries("count"):
        marks = [p for p in query.said if p.text in (",", " and", ":")]
        for place, mark in enumerate(marks):
            assert mark.look is not None and mark.group is not None and mark.same is not None
            assert (mark.text == " and") == (mark.same is not NOWHERE)
            if place == len(marks) - 1:
                assert mark.text == ":" and mark.look is NOWHERE and mark.group is NOWHERE
            elif mark.text == ",":
                assert mark.group.shape == mark.look.shape


def test_sections_tell_only_what_happens_in_them() -> None:
    script = write_script(7, 60.0)
    middle = section_query(script, 20.0, 40.0)
    there = {a.kind for a in script.shown if min(a.end, 40.0) - max(a.start, 20.0) >= 1.0}
    assert set(things_told(middle.answer)) == there and there
    assert overview_query(script).said == tell(script)
    assert [piece.text for piece in tell(script.window(0.0, 0.0))] == ["Nothing happens."]


def test_training_meets_neither_unseen_things_nor_unseen_words() -> None:
    banks = [APPEARS, WORD_SHOWS, *DOES.values(), *QUESTIONS.values()]
    kept = {phrase for bank in banks for phrase in bank[-UNSEEN:]}
    rng = np.random.default_rng(0)
    for bank in banks:
        assert {pick(bank, rng) for _ in range(200)} == set(bank) - kept
        assert {pick(bank, rng, unseen=True) for _ in range(20)} == set(bank[-UNSEEN:])
    for family, bank in QUESTIONS.items():
        assert len(bank) - UNSEEN >= 5
        assert not set(MORE_QUESTIONS[family]) & set(bank)
        script = next(s for s, _ in queries(family))
        asked = (ask_query(script, rng_for(n, "more"), family, style=Style(more=True)) for n in range(600))
        texts = {query.prompt.query for query in asked if query}
        for phrases, wanted in (
            (MORE_QUESTIONS[family], True),
            (bank[:-UNSEEN], True),
            (bank[-UNSEEN:], False),
        ):
            for phrase in phrases:
                pattern = re.sub(r"\\{\w+\\}", ".+", re.escape(phrase))
                assert any(re.fullmatch(pattern, text) for text in texts) == wanted, phrase
    shown = [
        {a.kind for s in range(200) for a in write_script(f + s, 40.0).shown} for f in (0, TRAINING_SEEDS)
    ]
    assert not shown[0] & UNSEEN_KINDS and shown[1] >= UNSEEN_KINDS
    for family in FAMILIES:
        assert not any(query.unseen for _, query in queries(family))
        assert any(query.unseen for _, query in queries(family, TRAINING_SEEDS)) or family == "written"


def test_what_turns_is_looked_for_while_it_has_its_own_colour() -> None:
    turned = 0
    for seed in range(60):
        script = write_script(seed, 40.0)
        for n in range(10):
            plain, early = (
                ask_query(script, rng_for(n, "early"), "which", style=Style(early=flag))
                for flag in (False, True)
            )
            assert (plain and plain.answer) == (early and early.answer)
            look = early and early.said[1].look
            if not early or look is None or look.span is None:
                assert early == plain
                continue
            (actor,) = (a for a in script.actors if a.action and look.action == "turns" == a.action.kind)
            assert actor.action and early.answer.endswith(f"the {actor.colour} {actor.shape}.")
            start, end = look.span
            assert start == actor.action.start and actor.turned(end - 0.01) <= 0.5
            turned += 1
    assert turned > 20


def test_words_in_front_of_a_question_leave_it_the_same() -> None:
    script, led = write_script(5, 40.0), 0
    for seed in range(60):
        plain, asked = (
            [ask_query(script, rng_for(seed, "led"), family, style=Style(led=flag)) for family in FAMILIES]
            for flag in (False, True)
        )
        for query in filter(None, asked):
            lead = next((each for each in LEADS if query.prompt.query.startswith(each)), "")
            rest = query.prompt.query.removeprefix(lead)
            led += bool(lead)
            wordings = [re.sub(r"\\{\w+\\}", ".+", re.escape(w)) for w in QUESTIONS[query.family][:-UNSEEN]]
            assert any(re.fullmatch(w, rest[0].upper() + rest[1:]) for w in wordings), query.prompt.query
            assert rest[0].islower() == bool(lead)
        assert not any(q and q.prompt.query.startswith(LEADS) for q in plain)
    assert led > 60


def test_a_drilled_order_follows_from_the_times_it_is_given() -> None:
    script = write_script(5, 40.0)
    swapped = 0
    for seed in range(80):
        query = order_drill(script, rng_for(seed, "drill"))
        given = [piece.given for piece in query.said]
        assert given == sorted(given, reverse=True) and any(given)
        *asked, first, second = things_told(query.answer)
        assert asked == things_told(query.prompt.query) and {first, second} == set(asked)
        at = dict(zip(asked, map(float, re.findall(r"\d+\.\d", query.answer)), strict=True))
        assert at[first] + APART <= at[second] + 0.11
        rank = ("first", "second")[asked.index(first)]
        assert f" seconds: the {rank} comes first: the {' '.join(first)}, then the" in query.answer
        assert not set(asked) & UNSEEN_KINDS and first != second
        swapped += asked != [first, second]
    assert 20 < swapped < 60
    orders = replace(recipe.RANK_MIX, locates=2, asks=("order",), section=0.0, overview=0.0)
    clip = make_clip(50, 12, orders)
    text = [world_tokenizer().decode([t], skip_special_tokens=False) for t in clip.sequence.ids]
    blocks, targets = clip.sequence.block, clip.sequence.targets
    learned = [(text[i + 1], blocks[i + 1]) for i, target in enumerate(targets) if target != IGNORE]
    drilled = range(max(blocks) - orders.drills + 1, max(blocks) + 1)
    for block in drilled:
        said = "".join(t for t, b in learned if b == block)
        told = r" the (first|second) comes first: the \w+ \w+, then the \w+ \w+\.<\|im_end\|>"
        assert re.fullmatch(told, said), said
    assert any(re.search(r"\d", t) for t, block in learned if block not in drilled)


def test_every_action_has_words_of_its_own() -> None:
    for kind, phrases in DOES.items():
        for phrase in phrases:
            told = [k for k, words in ACTION_WORDS.items() if words & set(phrase.split())]
            assert told == [kind], phrase


def test_times_as_text() -> None:
    script = Script(1, 20.0, (), (Actor("ring", "blue", 1.04, 2.5, 80.0, 48.0, 15.0),), 0.0)
    query = next(q for s in range(20) if (q := locate_query(script, rng_for(s, "t"), 0.0)))
    assert query.answer == "1.0 - 2.5"
    absent = next(q for s in range(20) if (q := locate_query(script, rng_for(s, "t"), 1.0)))
    assert absent.answer == "never" and absent.spans == ()


def test_vocabulary_keeps_digits_single_words_whole_and_every_text_as_it_is() -> None:
    tokenizer = world_tokenizer()
    assert tokenizer.get_vocab_size() <= VOCABULARY_SIZE
    ids = special_ids()
    assert len(set(ids.values())) == len(SPECIALS)
    for text in ("<123.5 seconds>", "Où est le cercle rouge ? 圆 🙂", "a red circle moves left"):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(tokens.ids, skip_special_tokens=False) == text
        assert all(len(t) == 1 for t in tokens.tokens if any(c.isdigit() for c in t))
    for word in (*COLOUR_NAMES, *SHAPES, *map(plural, SHAPES), *PLACES, *WORDS, *NUMBERS):
        assert len(tokenizer.encode(f" {word}", add_special_tokens=False).ids) == 1
