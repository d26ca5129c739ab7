"""Cue: a text and when it is shown. What the formats share: order, and telling what was left out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from qvl_cli.timeline import TimeSpan


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle: one line of plain text, and its times from the start of presentation."""

    span: TimeSpan
    text: str


@dataclass(frozen=True, slots=True)
class Track:
    """Cues in the order of their starts. faults: one line for each cue that could not be read, saying where;
    backward: how many end before they start (they are read as if they had no length); notes: what else a
    user should know of how they were read."""

    cues: tuple[Cue, ...]
    faults: tuple[str, ...] = ()
    backward: int = 0
    notes: tuple[str, ...] = ()

    def earlier(self, seconds: Fraction) -> Track:
        """The same cues so much earlier."""
        moved = (Cue(TimeSpan(c.span.start - seconds, c.span.end - seconds), c.text) for c in self.cues)
        return replace(self, cues=tuple(moved)) if seconds else self

    def told(self, name: str) -> tuple[str, ...]:
        """All that went wrong, as notes about the source `name`."""
        lines = list(self.notes)
        if self.faults:
            lines.append(
                f"{name}: {_cues(len(self.faults))} cannot be read and left out: {'; '.join(self.faults[:3])}"
                + (" ..." if len(self.faults) > 3 else "")
            )
        if self.backward:
            lines.append(f"{name}: cues that end before they start, read as instants: {self.backward}")
        return tuple(lines)


def make_track(
    raw: Iterable[tuple[Fraction, Fraction, str]], faults: Iterable[str] = (), notes: Iterable[str] = ()
) -> Track:
    """(start, end, plain text) of each cue -> a Track: texts on one line, sorted, each text once.

    A cue without any text has nothing to say and is not kept. Equal texts whose times touch or overlap, as
    layers and frame-by-frame effects leave them, become one cue. Rolling captions show the last lines again
    above a new one: a cue that touches the one before says only its new lines, and where it has none, the
    cue that said them lasts longer.
    """
    cues: list[Cue] = []
    latest: dict[str, int] = {}  # text -> its last cue
    backward = 0
    shown: list[str] = []  # the lines of the cue before, until when, and the cue that says the last of them
    until, saying = Fraction(0), 0
    for start, end, text in sorted(raw, key=lambda each: each[0]):
        lines = [line for part in re.split(r"[\r\n]", text) if (line := one_line(part))]
        if not lines:
            continue
        backward += end < start
        span = TimeSpan(start, max(start, end))
        new = lines[_repeated(shown, lines) :] if start <= until else lines
        text = " ".join(new)
        at = latest.get(text) if new else saying
        if at is not None and start <= cues[at].span.end:
            before = cues[at]
            cues[at] = Cue(TimeSpan(before.span.start, max(before.span.end, span.end)), before.text)
        else:
            latest[text] = at = len(cues)
            cues.append(Cue(span, text))
        shown, until, saying = lines, span.end, at
    return Track(tuple(cues), tuple(faults), backward, tuple(notes))


def _repeated(before: Sequence[str], lines: Sequence[str]) -> int:
    """How many of the first `lines` are the last ones of `before`, at most."""
    most = min(len(before), len(lines))
    return next((n for n in range(most, 0, -1) if before[-n:] == lines[:n]), 0)


def one_line(text: str) -> str:
    """Without control characters and line breaks; runs of white space become one space."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def _cues(count: int) -> str:
    return f"{count} cue" if count == 1 else f"{count} cues"
