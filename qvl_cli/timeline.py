"""Exact times: half-open spans in Fractions of a second, and how times are read and printed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class TimeSpan:
    """Half-open time range [start, end) in exact seconds from the start of presentation."""

    start: Fraction
    end: Fraction

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"span ends before it starts: [{self.start}, {self.end})")

    @property
    def duration(self) -> Fraction:
        return self.end - self.start

    def intersection(self, other: TimeSpan) -> TimeSpan | None:
        """The common part, or None where the spans share no time."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return TimeSpan(start, end) if start < end else None

    def iou(self, other: TimeSpan) -> float:
        """Intersection over union; 0.0 where both are empty."""
        common = self.intersection(other)
        shared = common.duration if common else Fraction(0)
        union = self.duration + other.duration - shared
        return float(shared / union) if union else 0.0

    def __contains__(self, time: Fraction) -> bool:
        return self.start <= time < self.end


def merge(spans: Iterable[TimeSpan]) -> list[TimeSpan]:
    """Sorted union of spans: overlapping and touching ones become one; empty ones vanish."""
    merged: list[TimeSpan] = []
    for span in sorted(s for s in spans if s.duration):
        if merged and span.start <= merged[-1].end:
            merged[-1] = TimeSpan(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def subtract(whole: TimeSpan, holes: Iterable[TimeSpan]) -> list[TimeSpan]:
    """What is left of `whole` without `holes`."""
    left: list[TimeSpan] = []
    cursor = whole.start
    for hole in merge(holes):
        if hole.start > cursor:
            left.append(TimeSpan(cursor, min(hole.start, whole.end)))
        cursor = max(cursor, hole.end)
        if cursor >= whole.end:
            break
    if cursor < whole.end:
        left.append(TimeSpan(cursor, whole.end))
    return [span for span in left if span.duration]


_NUMBER = r"(\d+(?:\.\d+)?)"
_UNITS = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")
# The last number may stand without its unit: that is the next smaller one, as in `1h30`.
_BARE = re.compile(r"(?:.*(?P<unit>[hm]))?(?P<number>\d+(?:\.\d+)?)")
_NEXT = {"h": "m", "m": "s", None: "s"}
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)")


_LONGEST_TIME = 64  # characters: Python itself refuses to read numbers of thousands of digits


def parse_time(text: str) -> Fraction:
    """Seconds from `90`, `12.5s`, `1m30s`, `2h`, `1:30`, `01:02:03.5` or `01:02:03,5`.

    A number behind a unit is of the next smaller one and below 60: `1h30` is an hour and 30 minutes, `1m30` a
    minute and 30 seconds. Raises UsageError where the text is none of these.
    """
    value = text.strip().lower()
    if len(value) > _LONGEST_TIME:
        raise UsageError(
            f"cannot read {len(value)} characters ({value[:12]!r}...) as a time", "write 90, 1m30s or 1:30"
        )
    if clock := _CLOCK.fullmatch(value):
        hours, minutes, seconds = clock.groups()
        if int(minutes) < 60 or hours is None:
            rest = Fraction(seconds.replace(",", "."))
            if rest < 60:
                return int(hours or 0) * 3600 + int(minutes) * 60 + rest
    bare = _BARE.fullmatch(value)
    if bare and (bare["unit"] is None or Fraction(bare["number"]) < 60):
        value += _NEXT[bare["unit"]]
    if value and (units := _UNITS.fullmatch(value)):
        return sum(
            (
                Fraction(part) * scale
                for part, scale in zip(units.groups(), (3600, 60, 1), strict=True)
                if part
            ),
            Fraction(0),
        )
    raise UsageError(f"cannot read {text!r} as a time", "write 90, 12.5s, 1m30s, 1:30 or 01:02:03.5")


def format_clock(time: Fraction | float, decimal: str = ".", always_hours: bool = True) -> str:
    """`01:02:03.500` (milliseconds, rounded half up); hours may be left out below one hour."""
    total = int(Fraction(time) * 1000 + Fraction(1, 2))
    hours, rest = divmod(total, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds, millis = divmod(rest, 1000)
    clock = f"{minutes:02d}:{seconds:02d}{decimal}{millis:03d}"
    return f"{hours:02d}:{clock}" if hours or always_hours else clock


def format_pages(start: float, end: float) -> str:
    """`page 3` or `pages 3 - 5`: those of [start, end)."""
    first, last = math.floor(start), max(math.ceil(end) - 1, math.floor(start))
    return f"page {first}" if first == last else f"pages {first} - {last}"


def prompt_seconds(t0: Fraction, t1: Fraction) -> str:
    """The text of a step's time, `12.5`: the mean of its two frames to 0.1 s, as Qwen3-VL was trained."""
    return f"{float((t0 + t1) / 2):.1f}"
