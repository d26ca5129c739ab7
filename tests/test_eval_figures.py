"""Metric code against values worked out by hand."""

from __future__ import annotations

import pytest

from qvl_cli.errors import UsageError
from qvl_cli.evals.drawn import ABSENT, FAMILIES, LOCATES, write_case
from qvl_cli.evals.interval import bootstrap, mean
from qvl_cli.evals.spans import iou, random_ious, top_iou, whole_iou
from qvl_cli.evals.texts import is_right, named
from qvl_cli.tiny.world import SHAPES


def test_iou_by_hand() -> None:
    assert iou((0, 10), (5, 15)) == pytest.approx(5 / 15)
    assert iou((0, 10), (10, 20)) == 0
    assert iou((3, 3), (3, 3)) == 0
    assert top_iou([(0, 4), (5, 15)], [(5, 15), (0, 8)]) == 0.5
    assert top_iou([], [(0, 1)]) == 0
    assert whole_iou(40, [(10, 20)]) == 0.25


def test_random_spans_score_what_they_should() -> None:
    # Two uniform ends in [0, 1] against the whole: IoU is their distance, P(distance >= 0.5) = 1/4.
    values = random_ious(1.0, [(0.0, 1.0)], 20_000, seed=3)
    assert sum(v >= 0.5 for v in values) / len(values) == pytest.approx(0.25, abs=0.015)


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
    few, many = [[1.0], [0.0], [1.0], [0.0]], [[1.0], [0.0]] * 200
    assert mean(few) == mean(many) == 0.5
    wide, narrow = bootstrap(few), bootstrap(many)
    assert wide and narrow and wide[0] < 0.5 < wide[1]
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 3
    assert mean([]) is None and bootstrap([[], []]) is None


def test_cases_follow_from_their_seed_and_never_from_training() -> None:
    case = write_case(1_000_123)
    assert case == write_case(1_000_123)
    assert len(case.locates) == LOCATES and len(case.absent) == ABSENT
    assert {q.family for q in case.asks} <= set(FAMILIES)
    assert all(q.spans for q in case.locates) and not any(q.spans for q in case.absent)
    with pytest.raises(UsageError, match="belongs to training"):
        write_case(999_999)
