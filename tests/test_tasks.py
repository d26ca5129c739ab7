"""The parts of the tasks that need no model."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from qvl_cli.generate import DecodeSettings
from qvl_cli.sampling import Step
from qvl_cli.tasks.ask import split_sentences
from qvl_cli.tasks.sections import Sections
from qvl_cli.tasks.summarize import novelty, section_lengths, section_starts
from qvl_cli.timeline import TimeSpan


def _pieces(text: str) -> list[str]:
    """Pieces like a tokenizer's: spaces lead words, digits stand alone."""
    pieces: list[str] = []
    for character in text:
        if pieces and character.isalpha() and (pieces[-1][-1:].isalpha() or pieces[-1] == " "):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A circle.", ["A circle."]),
        ("A circle appears. It leaves at 12.5 s.", ["A circle appears.", "It leaves at 12.5 s."]),
        ("Dr. Who enters. Why?", ["Dr. Who enters.", "Why?"]),
        ('He said "stop." Then left!', ['He said "stop."', "Then left!"]),
        ("1. First\n2. Second", ["1. First", "2. Second"]),
        ("no end", ["no end"]),
        ("  Lead. \n\n Next.  ", ["Lead.", "Next."]),
        ("红色圆出现。然后消失。", ["红色圆出现。", "然后消失。"]),
        ("", []),
        (" \n ", []),
        ("Wait... what? No!", ["Wait...", "what?", "No!"]),
        ("No. The circle stays.", ["No.", "The circle stays."]),
        ("Player No. 3 enters. No.\n5 leave.", ["Player No. 3 enters.", "No.", "5 leave."]),
    ],
)
def test_sentences_and_their_exact_tokens(text: str, sentences: list[str]) -> None:
    pieces = _pieces(text)
    split = split_sentences(pieces, [True] * len(pieces))
    assert [each.text for each in split] == sentences
    for each in split:
        assert "".join(pieces[slice(*each.tokens)]).strip() == each.text
    ranges = [each.tokens for each in split]
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))


def test_thoughts_are_no_sentences_but_keep_their_places() -> None:
    pieces = ["", "Hm. Perhaps.", "", "A", " circle.", " Red", "."]
    spoken = [False, False, False, True, True, True, True]
    split = split_sentences(pieces, spoken)
    assert [(each.text, each.tokens) for each in split] == [("A circle.", (3, 5)), ("Red.", (5, 7))]


def test_a_character_split_over_tokens_stays_in_its_sentence() -> None:
    split = split_sentences(["Gr", "", "ö", "ße.", " ", "Ja."], [True] * 6)
    assert [(each.text, each.tokens) for each in split] == [("Größe.", (0, 4)), ("Ja.", (5, 6))]


def _steps(count: int, seconds: Fraction = Fraction(1)) -> list[Step]:
    return [
        Step(seconds * i, seconds * i + seconds / 2, TimeSpan(seconds * i, seconds * (i + 1)))
        for i in range(count)
    ]


def _scenes(lengths: list[int], noise: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(7)
    rows = [np.tile(random.normal(size=32), (length, 1)) for length in lengths]
    return np.vstack(rows) + noise * random.normal(size=(sum(lengths), 32))


@pytest.mark.parametrize("lengths", [[20, 15, 25], [10, 30, 12, 8], [30, 30]])
def test_planted_scene_changes_are_found(lengths: list[int]) -> None:
    planted = {int(cut) for cut in np.cumsum(lengths)[:-1]}
    found = section_starts(_scenes(lengths), _steps(sum(lengths)))
    assert planted <= set(found)
    assert found[0] == 0
    assert found == sorted(set(found))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 60, 400])
def test_sections_keep_within_their_lengths(count: int) -> None:
    random = np.random.default_rng(count)
    steps = _steps(count)
    shortest, longest = section_lengths(Fraction(count))
    cuts = section_starts(random.normal(size=(count, 8)), steps)
    lengths = np.diff([*cuts, count])
    assert len(lengths) == 1 or lengths.min() >= shortest
    # Only where no place is left that keeps both sides long enough may a section be longer.
    assert lengths.max() <= max(longest, 2 * shortest)


def test_a_still_picture_is_cut_only_by_length() -> None:
    assert section_starts(np.ones((10, 4)), _steps(10)) == [0]
    assert len(section_starts(np.ones((100, 4)), _steps(100))) > 1


def test_uneven_steps_are_measured_in_seconds() -> None:
    # One step of a minute beside many of a second: it is long enough alone.
    spans = [TimeSpan(Fraction(0), Fraction(60))]
    spans += [TimeSpan(Fraction(60 + i), Fraction(61 + i)) for i in range(60)]
    steps = [Step(span.start, span.start, span) for span in spans]
    features = np.vstack([_scenes([1], 0), _scenes([60, 1], 0)[:60] * -1])
    assert 1 in section_starts(features, steps)


def test_no_section_goes_on_over_a_hole_and_every_one_over_pages_left_out() -> None:
    settings = DecodeSettings(max_new_tokens=9)
    begins = [Fraction(at + 10 * (at // 20)) for at in range(60)]
    steps = [Step(begin, begin, TimeSpan(begin, begin + 1)) for begin in begins]
    videos, pages = Sections(settings), Sections(settings, gapless=True)
    assert videos.forced(steps) == [20, 40] and pages.forced(steps) == []
    cuts = section_starts(_scenes([30, 30]), steps, videos.forced(steps))
    assert {0, 20, 40} <= set(cuts)
    for first, last in zip(cuts, [*cuts[1:], 60], strict=True):
        own = steps[first:last]
        assert sum(step.interval.duration for step in own) == own[-1].interval.end - own[0].interval.start


def test_sections_are_deterministic() -> None:
    features = _scenes([20, 15, 25])
    assert section_starts(features, _steps(60)) == section_starts(features.copy(), _steps(60))
    assert section_starts(np.zeros((0, 4)), []) == []


def test_novelty_peaks_where_the_scene_changes() -> None:
    change = novelty(_scenes([20, 20], 0.05), 5)
    assert int(change.argmax()) == 20
    assert change[0] == 0
