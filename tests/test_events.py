"""Each event is reported once, when it should be, whatever the looks between say."""

from __future__ import annotations

from fractions import Fraction

import pytest

from qvl_cli.align import ScoredSpan
from qvl_cli.tasks.events import EventTracker, Found
from qvl_cli.timeline import TimeSpan

WINDOW = 60


def span(start: float, end: float) -> TimeSpan:
    return TimeSpan(Fraction(str(start)), Fraction(str(end)))


def follow(tracker: EventTracker, truth: list[tuple[float, float]], upto: int) -> list[tuple[int, Found]]:
    """(second, report) of looks every 2 s at what was on by then, as a perfect aligner sees it."""
    told: list[tuple[int, Found]] = []
    for now in range(2, upto + 1, 2):
        begin = max(now - WINDOW, 0)
        seen = [
            ScoredSpan(span(max(start, begin), min(end, now)), 0.9)
            for start, end in truth
            if start < now and end > begin
        ]
        told += [(now, found) for found in tracker.look(seen, span(begin, now))]
    return told


def test_an_event_is_reported_once_when_it_has_ended() -> None:
    tracker = EventTracker("end", Fraction(2))
    told = follow(tracker, [(5, 11), (30, 33), (34, 41)], 200)
    assert [(now, float(f.span.start), float(f.span.end), f.ongoing, f.number) for now, f in told] == [
        (14, 5, 11, False, 1),
        (36, 30, 33, False, 2),
        (44, 34, 41, False, 3),
    ]
    assert tracker.finish(Fraction(200), sure=True) == [] and tracker.count == 3


def test_an_event_is_reported_at_its_start_and_at_both() -> None:
    told = follow(EventTracker("start", Fraction(2)), [(5, 21)], 100)
    assert [(now, f.ongoing, float(f.span.start)) for now, f in told] == [(8, True, 5)]
    told = follow(EventTracker("both", Fraction(2)), [(5, 21)], 100)
    assert [(now, f.number, f.ongoing, float(f.span.end)) for now, f in told] == [
        (8, 1, True, 8),
        (24, 1, False, 21),
    ]


@pytest.mark.parametrize("when", ["end", "both"])
def test_one_that_outlasts_the_window_is_reported_as_it_leaves_with_its_true_beginning(when: str) -> None:
    tracker = EventTracker(when, Fraction(2))
    told = follow(tracker, [(10, 310)], 400)
    if when == "end":
        assert [(now, f.ongoing, float(f.span.start)) for now, f in told] == [(68, True, 10)]
    else:
        assert [(now, f.ongoing, float(f.span.start), float(f.span.end)) for now, f in told] == [
            (14, True, 10, 14),
            (312, False, 10, 310),
        ]
    assert tracker.count == 1


def test_one_that_is_there_from_the_first_second_waits_for_its_end() -> None:
    told = follow(EventTracker("end", Fraction(2)), [(0, 9)], 40)
    assert [(now, f.ongoing, float(f.span.end)) for now, f in told] == [(12, False, 9)]


def test_a_flicker_is_no_event_and_ends_that_differ_are_no_second_one() -> None:
    tracker = EventTracker("end", Fraction(2))
    looks: dict[int, list[tuple[float, float]]] = {
        10: [(4, 6)],
        12: [],
        20: [(13, 17)],
        22: [(13.2, 16.4)],
        24: [(12.8, 19)],
        26: [(13, 15), (15.5, 17)],
    }
    told = []
    for now, spans in looks.items():
        told += tracker.look([ScoredSpan(span(*each), 0.8) for each in spans], span(0, now))
    assert [(float(f.span.start), float(f.span.end)) for f in told] == [(13.2, 16.4)]


def test_two_that_a_look_takes_for_one_stay_two() -> None:
    tracker = EventTracker("end", Fraction(2))
    told = []
    for now, spans in (
        (18, [(10, 15)]),
        (20, [(10, 15)]),
        (22, [(10, 21)]),
        (24, [(10, 15), (16, 21)]),
        (26, [(16, 21)]),
    ):
        told += tracker.look([ScoredSpan(span(*each), 0.8) for each in spans], span(0, now))
    assert [(f.number, float(f.span.start)) for f in told] == [(1, 10), (2, 16)]


def test_what_is_on_when_the_stream_ends_is_reported_then() -> None:
    tracker = EventTracker("end", Fraction(2))
    follow(tracker, [(5, 60)], 20)
    assert [(f.ongoing, float(f.span.end)) for f in tracker.finish(Fraction(20), sure=True)] == [(True, 20)]
    assert tracker.finish(Fraction(20), sure=True) == []
    once = EventTracker("end", Fraction(2))
    once.look([ScoredSpan(span(1, 2), 0.8)], span(0, 2))
    assert once.finish(Fraction(2), sure=False) == []


def test_what_was_seen_in_the_kept_beginning_is_no_news() -> None:
    tracker = EventTracker("end", Fraction(2))
    for now in (200, 202, 204):
        assert tracker.look([ScoredSpan(span(0, 3), 0.9)], span(now - 60, now)) == []
