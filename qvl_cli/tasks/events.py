"""Spans found again and again in a moving window -> events, each reported once. No model here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.align import ScoredSpan
from qvl_cli.timeline import TimeSpan

WHEN = ("end", "start", "both")
LOOKS_AGREE = 2  # looks in a row that must agree, so that a flicker is no event


@dataclass(frozen=True, slots=True)
class Found:
    """One report of an event. number: from 1, in the order of first reports. ongoing: it had not ended yet;
    `span` then ends with what was watched."""

    number: int
    span: TimeSpan
    score: float
    ongoing: bool


@dataclass(slots=True, eq=False)
class _Event:
    span: TimeSpan
    score: float
    looks: int = 1
    number: int = 0  # 0: not reported yet
    closed: bool = False  # nothing more is to be said of it
    told: TimeSpan | None = None  # as last reported

    def is_seen_as(self, span: TimeSpan) -> bool:
        """Whether `span` of a later look is this event: half of the shorter of the two is common, or half of
        `span` has been reported with it."""
        if _common(self.span, span) * 2 >= min(self.span.duration, span.duration):
            return True
        return self.told is not None and _common(self.told, span) * 2 >= span.duration


def _common(one: TimeSpan, other: TimeSpan) -> Fraction:
    common = one.intersection(other)
    return common.duration if common else Fraction(0)


class EventTracker:
    """Which of the spans of each look are news.

    when: report an event when it has `end`ed, at its `start`, or at `both`. An event has ended once `settle`
    seconds behind it were watched. One whose beginning leaves the window is reported at once, whatever
    `when` says: later looks cannot know when it began.

    Spans of two looks are the same event where they have half of the shorter one in common; the later look
    is believed on its ends.
    """

    def __init__(self, when: str, settle: Fraction) -> None:
        assert when in WHEN
        self._when, self._settle = when, settle
        self._events: list[_Event] = []
        self._count = 0

    @property
    def count(self) -> int:
        """Events reported so far."""
        return self._count

    def look(self, spans: Sequence[ScoredSpan], view: TimeSpan) -> list[Found]:
        """What is to be reported after a look at `view`, of which all up to its end was watched."""
        self._match(spans, view)
        news: list[Found] = []
        for event in self._events:
            if event.closed or event.looks < LOOKS_AGREE:
                continue
            ended = event.span.end <= view.end - self._settle
            leaving = event.span.start <= view.start + self._settle and view.start > 0
            if ended:
                if event.number == 0 or self._when == "both":
                    news.append(self._report(event, ongoing=False))
                event.closed = True
            elif event.number == 0 and (self._when != "end" or leaving):
                news.append(self._report(event, ongoing=True))
        return news

    def finish(self, watched: Fraction, sure: bool) -> list[Found]:
        """What is still to be reported when no more will be watched. sure: a single look is enough."""
        news = []
        for event in self._events:
            open_ended = event.number == 0 or self._when == "both"
            if not event.closed and open_ended and (sure or event.looks >= LOOKS_AGREE):
                news.append(self._report(event, ongoing=event.span.end > watched - self._settle))
                event.closed = True
        return news

    def _match(self, spans: Sequence[ScoredSpan], view: TimeSpan) -> None:
        seen: list[_Event] = []
        for scored in sorted(spans, key=lambda each: each.span.start):
            if scored.span.end <= view.start or not scored.span.duration:
                continue  # in the steps that are kept from the very beginning
            event = next((each for each in self._events if each.is_seen_as(scored.span)), None)
            if event is None:
                event = _Event(scored.span, scored.score)
                self._events.append(event)
            elif event in seen:  # the second part of what was one event before: it is one still
                event.span = TimeSpan(event.span.start, max(event.span.end, scored.span.end))
                continue
            else:
                # What has left the window cannot be seen to begin: what was seen of it then holds.
                start = event.span.start if event.span.start < view.start else scored.span.start
                event.span, event.score = TimeSpan(start, scored.span.end), scored.score
                event.looks += 1
            seen.append(event)
        self._events = [
            event for event in self._events if event.span.end > view.start and (event in seen or event.number)
        ]

    def _report(self, event: _Event, ongoing: bool) -> Found:
        if event.number == 0:
            self._count += 1
            event.number = self._count
        event.told = event.span
        return Found(event.number, event.span, event.score, ongoing)
