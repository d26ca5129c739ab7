"""Metric code against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from qvl_cli.errors import UsageError
from qvl_cli.evals.calibration import area_under_roc, expected_calibration_error
from qvl_cli.evals.cases import (
    ABSENT,
    LOCATES,
    SHORTEST_GAP,
    bridged,
    write_case,
    write_needles,
)
from qvl_cli.evals.choices import chosen_letter, option_texts
from qvl_cli.evals.drawn_figures import most_frequent
from qvl_cli.evals.figures import Figure, calibration, document_parts, means, median
from qvl_cli.evals.interval import mean_intervals, statistic_interval
from qvl_cli.evals.spans import iou, top_iou
from qvl_cli.evals.texts import f1, is_right, named, things_named
from qvl_cli.prompts import locate_prompt
from qvl_cli.tiny.phrases import FAMILIES
from qvl_cli.tiny.pieces import Query
from qvl_cli.tiny.questions import presence
from qvl_cli.tiny.world import SHAPES


def test_iou_by_hand() -> None:
    assert iou((0, 10), (5, 15)) == pytest.approx(5 / 15)
    assert iou((0, 10), (10, 20)) == 0
    assert iou((3, 3), (3, 3)) == 0
    assert top_iou([(0, 4), (5, 15)], [(5, 15), (0, 8)]) == 0.5
    assert top_iou([], [(0, 1)]) == 0


@pytest.mark.parametrize(
    ("family", "said", "expected", "right"),
    [
        ("what", "A ring!", "It is a ring.", True),
        ("what", "It is a ring or a star.", "It is a ring.", False),
        ("what", "", "It is a ring.", False),
        ("colour", "red", "It is red.", True),
        ("which", "The blue heart.", "The blue heart.", True),
        ("which", "The blue moon.", "The blue heart.", False),
        ("count", "There are 3.", "Three.", True),
        ("count", "No red shapes.", "None.", True),
        ("count", "Two", "Three.", False),
    ],
)
def test_answers_are_judged_by_what_they_name(family: str, said: str, expected: str, right: bool) -> None:
    assert is_right(family, said, expected) is right


def test_words_inside_words_do_not_count() -> None:
    assert named("a stargazer encircled it", SHAPES) == set()


def test_intervals_hold_the_mean_and_narrow_with_n() -> None:
    few, many = [1.0, 0.0] * 2, [1.0, 0.0] * 200
    wide, narrow = (mean_intervals(np.array(v)[:, None], range(len(v)))[0] for v in (few, many))
    assert wide[0] < 0.5 < wide[1]
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 3


def test_one_video_says_nothing_of_others() -> None:
    figures = means({"a": np.array([1.0, 0.0, 1.0])}, ["v"] * 3)
    assert (figures["a"].value, figures["a"].n, figures["a"].ci) == (pytest.approx(2 / 3), 3, None)
    assert median("a", np.array([1.0, 2.0]), ["v", "v"])["a"].ci is None
    assert median("a", np.array([1.0, 2.0]), ["v", "w"])["a"].ci == (1.0, 2.0)


def test_a_table_of_figures_is_resampled_like_each_of_them() -> None:
    groups = [[1.0, 0.0], [0.0], [1.0], [1.0, 1.0, 0.0], [0.0, 0.0]]
    values = np.array([[v, 2 * v, np.nan] for group in groups for v in group])
    values[2, 1] = np.nan  # one video without a value in one figure
    owners = [video for video, group in enumerate(groups) for _ in group]
    ends = mean_intervals(values, owners)
    alone = [mean_intervals(values[:, [at]], owners)[0] for at in (0, 1)]
    assert np.array_equal(ends[0], alone[0]) and np.array_equal(ends[1], alone[1])
    rng, draws = np.random.default_rng(0), []
    for _ in range(2000):  # by plain drawing of whole videos
        drawn = [v for video in rng.integers(0, len(groups), len(groups)) for v in groups[video]]
        draws.append(sum(drawn) / len(drawn))
    assert ends[0] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.06)
    assert np.isnan(ends[2]).all()


def test_resampling_draws_whole_videos() -> None:
    # One video of a hundred equal rows and one other: a draw is all of the one, all of the other, or both.
    values = np.array([1.0] * 100 + [0.0])
    seen = set()
    statistic_interval(lambda rows: seen.add(round(float(values[rows].mean()), 6)) or 0.0, [0] * 100 + [1])
    assert seen == {0.0, 1.0, round(100 / 101, 6)}
    assert statistic_interval(lambda rows: 0.0, []) is None


def test_figures_know_what_they_rest_on() -> None:
    columns = {"a": np.array([1.0, np.nan, 0.0]), "by/x": np.array([1.0, 1.0, 1.0]), "b": np.full(3, np.nan)}
    figures = means(columns, ["v", "v", "w"]) | median("c", np.array([3.0, 1.0, 2.0]), ["v", "v", "w"])
    assert (figures["a"].value, figures["a"].n) == (0.5, 2) and figures["b"] == Figure(None, 0)
    results, counts, intervals = document_parts(figures)
    assert results == {"a": 0.5, "by": {"x": 1.0}, "b": None, "c": 2.0}
    assert counts == {"a": 2, "by": {"x": 3}, "b": 0, "c": 3}
    assert intervals["by"] == {"x": [1.0, 1.0]} and "b" not in intervals


def test_calibration_by_hand() -> None:
    scores, hits = np.array([0.95, 1.0, 0.05, 0.0]), np.array([True, True, False, True])
    # Upper bin: 0.975 said, 1 hit; lowest bin: 0.025 said, 0.5 hit; half the scores each.
    assert expected_calibration_error(scores, hits) == pytest.approx((0.025 + 0.475) / 2)
    assert area_under_roc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])) == 0.75
    assert area_under_roc(np.full(4, 0.5), np.array([True, False, True, False])) == 0.5
    assert np.isnan(area_under_roc(scores, np.ones(4, bool)))
    assert calibration(scores, np.ones(4, bool), list("abcd"))["score_auroc"].value is None


def test_calibration_equals_plain_counting() -> None:
    rng = np.random.default_rng(1)
    scores = np.round(rng.uniform(size=300), 2)
    hits = rng.uniform(size=300) < scores
    pairs = [(a > b) + (a == b) / 2 for a in scores[hits] for b in scores[~hits]]
    assert area_under_roc(scores, hits) == pytest.approx(float(np.mean(pairs)))
    error = 0.0
    for low in range(10):
        mine = [at for at in range(300) if low <= scores[at] * 10 < low + 1 or (low == 9 and scores[at] == 1)]
        if mine:
            error += len(mine) / 300 * abs(float(np.mean(scores[mine]) - np.mean(hits[mine])))
    assert expected_calibration_error(scores, hits) == pytest.approx(error)


def test_sections_are_judged_by_the_things_they_name() -> None:
    named_things = things_named("A red circle moves left, a blue star and a red blue circle.")
    assert named_things == {("red", "circle"), ("blue", "star"), ("blue", "circle")}
    assert f1({("red", "circle")}, {("red", "circle"), ("blue", "star")}) == pytest.approx(2 / 3)
    assert f1(set(), set()) == 1.0 and f1(set(), {("red", "star")}) == 0.0


def test_chance_of_a_count_is_that_of_the_most_frequent_one() -> None:
    assert most_frequent(["one", "two", "one"]) == 2 / 3
    assert most_frequent([]) == 0.0


OPTIONS = ("A. Apples.", "B. A red car.", "C. Cars", "D. None of the above")


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("B. A red car.", "B"),
        ("**D**", "D"),
        ("The best answer is: C", "C"),
        ("The answer is B because A is wrong.", "B"),
        ("Answer: (a)", None),
        ("A red car.", "B"),
        ("I think it shows apples", "A"),
        ("It is C", "C"),
        ("A or B", None),
        ("A dog runs.", None),
        ("Option A, no: option B", None),
        ("E", None),
        ("", None),
        ("B. A red car.\n\nOption A is wrong, because nothing grows.", "B"),
        ("B\n\nExplanation: option A is wrong, and option C never appears.", "B"),
        ("(C), because option A is wrong", "C"),
        ("A car is shown: the answer is B", "B"),
    ],
)
def test_letters_are_read_from_words(said: str, letter: str | None) -> None:
    assert chosen_letter(said, OPTIONS) == letter


def test_labels_are_taken_off_only_where_they_are_labels() -> None:
    assert option_texts(OPTIONS) == ("Apples.", "A red car.", "Cars", "None of the above")
    assert option_texts(("(A) one", "(B) two")) == ("one", "two")
    assert option_texts(("C. elegans", "D. melanogaster")) == ("C. elegans", "D. melanogaster")


def test_spans_with_less_than_a_frame_between_them_are_one() -> None:
    spans = ((1.0, 2.0), (2.05, 3.0), (3.06, 4.0), (4.11, 5.0), (6.0, 7.0))
    drawn = Query("locate", locate_prompt("it"), (), spans)
    assert bridged(drawn) == replace(drawn, spans=((1.0, 4.0), (4.11, 5.0), (6.0, 7.0)))
    assert bridged(replace(drawn, spans=())).spans == ()


def test_no_case_asks_for_two_spans_that_nobody_sees_apart() -> None:
    case = write_case(7_000_038)  # one purple shape leaves 3 ms before another one comes
    script = case.script
    purple = presence([actor for actor in script.shown if actor.colour == "purple"])
    assert 0 < min(after - before for (_, before), (after, _) in pairwise(purple)) < SHORTEST_GAP
    for kind in ("locates", "asks", "many", "unseen"):
        for query in case.queries(kind):
            assert all(query.windows[1:, 0] - query.windows[:-1, 1] >= SHORTEST_GAP)


def test_cases_follow_from_their_seed_and_never_from_training() -> None:
    case = write_case(1_000_123)
    assert case == write_case(1_000_123)
    assert len(case.locates) == LOCATES and len(case.absent) == ABSENT
    assert {q.family for q in case.asks} <= set(FAMILIES)
    assert all(q.spans for q in case.locates) and not any(q.spans for q in case.absent)
    assert all(len(q.spans) > 1 for q in case.many)
    asked = case.queries("locates")
    assert [q.windows.tolist() for q in asked] == [[list(span) for span in q.spans] for q in case.locates]
    assert len({q.qid for kind in ("locates", "absent", "many") for q in case.queries(kind)}) >= LOCATES
    needles = write_needles(1_000_123, 90.0)
    assert len({q.prompt.query for q in needles.locates}) == len(needles.locates) > 4
    assert all(len(q.spans) == 1 for q in needles.locates) and needles.script.duration == 90.0
    with pytest.raises(UsageError, match="belongs to training"):
        write_case(999_999)
