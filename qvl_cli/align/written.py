"""Times as models write them -> spans. Pure text; no model.

Checkpoints were taught several formats and mix them freely: `12.5 - 20.0`, `<12.5 seconds> to <20 seconds>`,
`00:12.5 --> 00:20`, `{"start": "00:12.50", "end": ...}`, `[[12.5, 20.0]]`, `from 1 min 5 s until 70 s`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

# One time. A bare number has no unit; which one it means is settled by its surroundings (seconds).
_UNIT_S = r"(?:seconds?|secs?|s)\b"
_UNIT_M = r"(?:minutes?|mins?|m)\b"
_TIME = (
    r"(?:"
    r"(?:(?P<{0}h>\d+):)?(?P<{0}m>\d+):(?P<{0}s>\d{{2}}(?:[.,]\d+)?)"  # 1:02:03,5 / 02:03
    rf"|(?P<{{0}}mm>\d+)\s*{_UNIT_M}(?:\s*(?:and\s+)?(?P<{{0}}ms>\d+(?:\.\d+)?)\s*{_UNIT_S})?"  # 1 min 5 s
    rf"|(?P<{{0}}mc>\d+)m(?P<{{0}}sc>\d+(?:\.\d+)?){_UNIT_S}"  # 1m5s
    rf"|(?P<{{0}}n>\d+(?:\.\d+)?)(?:\s*{_UNIT_S})?"
    r")"
)
_OPEN, _CLOSE = r"[<\"'\[(*`]*\s*", r"\s*[>\"'\])*`]*"
# A hyphen also joins words (`2-3 people`), so a bare pair must not be followed by a noun: see _BARE_END.
_BETWEEN = r"(?:-->|->|=>|→|–|—|-|~|\.\.+|\bto\b|\buntil\b|\btill\b|\bthrough\b|\band\b)"
_BARE_END = r"(?![\d:]|\.\d|\s*%)"
_NOT_BEFORE = r"(?<![\d.:])(?<!frame )(?<!frames )"


def _time(name: str) -> str:
    return _TIME.format(name)


_PAIR = re.compile(
    rf"{_NOT_BEFORE}{_time('a')}{_CLOSE}\s*{_BETWEEN}\s*(?:at\s+|about\s+)?{_OPEN}{_time('b')}{_BARE_END}",
    re.IGNORECASE,
)
_ARRAY = re.compile(
    rf"[\[(]\s*[\"']?{_time('a')}[\"']?\s*,\s*[\"']?{_time('b')}[\"']?\s*[\])]",
    re.IGNORECASE,
)
_START_KEY, _END_KEY = r"(?:start|begin|from)\w*(?: time)?", r"(?:end|stop|until|to)\w*(?: time)?"
_OBJECT = re.compile(
    rf"[\"']?{_START_KEY}[\"']?\s*[:=]\s*{_OPEN}{_time('a')}{_CLOSE}[^{{}}\n]*?(?:\n[^{{}}]*?)?"
    rf"[\"']?\b{_END_KEY}[\"']?\s*[:=]\s*{_OPEN}{_time('b')}",
    re.IGNORECASE,
)
# `enters at <12.5 seconds> and leaves at <20.0 seconds>`, but not `and again at`.
_TAGGED = re.compile(
    rf"<\s*{_time('a')}\s*>(?:(?!\bagain\b|\balso\b)[^<>\n]){{0,80}}?<\s*{_time('b')}\s*>", re.IGNORECASE
)
# One time alone is believed only where the words or the brackets say that it is one.
_SINGLE = re.compile(
    rf"(?:<\s*{_time('a')}\s*>|\b(?:at|around|about|@)\s+{_OPEN}{_time('b')}{_BARE_END}"
    rf"|^\s*{_time('c')}\s*\.?\s*$|(?<![\d.:]){_time('d')}(?<=[a-z]))",
    re.IGNORECASE | re.MULTILINE,
)
_NEVER = re.compile(
    r"\b(?:never|none|not found|no(?:\s+such)?\s+(?:events?|moments?|ranges?|times?|matches|occurrences?)"
    r"|(?:do|does|did|is|was|are|were)(?:\s+not|n['’]t)\s+(?:\w+\s+)?(?:happen|occur|appear|take place"
    r"|shown|visible|present|seen|in the video)\w*"
    r"|not (?:shown|visible|present|seen)|null)\b|^\s*\[\s*\]\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class WrittenSpan:
    """A range as read: seconds, and where in the text its numbers stand ([start, end) of characters)."""

    start: Fraction
    end: Fraction
    characters: tuple[tuple[int, int], ...]


def read_spans(text: str) -> list[WrittenSpan] | None:
    """Every range in the order of the text; [] where the text says `never`; None where it says neither.

    A pair written backwards is dropped. A single time gives a span of no length: the caller knows the steps.
    """
    taken: list[tuple[int, int]] = []
    found: list[WrittenSpan] = []
    for pattern, names in ((_OBJECT, "ab"), (_ARRAY, "ab"), (_PAIR, "ab"), (_TAGGED, "ab"), (_SINGLE, "")):
        if pattern is _SINGLE and found:
            break  # beside whole ranges, a lone time is a remark
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            written = _single(match) if pattern is _SINGLE else [_read(match, name) for name in names]
            if not written or None in written:
                continue
            parts = [part for part in written if part]
            start, end = parts[0], parts[-1]
            taken.append(match.span())
            if end[0] >= start[0]:
                found.append(WrittenSpan(start[0], end[0], tuple(dict.fromkeys((start[1], end[1])))))
    found.sort(key=lambda span: span.characters)
    denial = _NEVER.search(text)
    if denial and (not found or denial.start() < found[0].characters[0][0]):
        return []
    return found or None


def _single(match: re.Match[str]) -> Sequence[tuple[Fraction, tuple[int, int]] | None]:
    return [part for name in "abcd" if (part := _read(match, name))][:1]


def _read(match: re.Match[str], name: str) -> tuple[Fraction, tuple[int, int]] | None:
    """The time in the groups of `name`, and its place; None where they are empty or name no clock time."""
    groups = {
        key[1:]: match.span(key) for key, value in match.groupdict().items() if key[0] == name and value
    }
    if not groups:
        return None
    number = {key: Fraction(match.string[a:b].replace(",", ".")) for key, (a, b) in groups.items()}
    place = (min(a for a, _ in groups.values()), max(b for _, b in groups.values()))
    if "n" in number:
        return number["n"], place
    if "s" in number:
        if number["s"] >= 60:
            return None
        return number.get("h", Fraction(0)) * 3600 + number["m"] * 60 + number["s"], place
    minutes = number.get("mm", number.get("mc", Fraction(0)))
    return minutes * 60 + number.get("ms", number.get("sc", Fraction(0))), place
