"""WebVTT text -> Track, by the parser of https://www.w3.org/TR/webvtt1/#file-parsing.

Lenient readers of several formats do not know its blocks: to them a NOTE or an id belongs to the cue before.
"""

from __future__ import annotations

import html
import re
from fractions import Fraction

from qvl_cli.errors import MediaError
from qvl_cli.media.subtitles.cue import Track, make_track

_SPACE = r"[ \t\f]*"
_TIME = r"(?:([0-9]+):)?([0-9]{2}):([0-9]{2})\.([0-9]{3})(?![0-9])"
_TIMES = re.compile(rf"{_SPACE}{_TIME}{_SPACE}-->{_SPACE}{_TIME}")
# Two clocks without an arrow were meant as times all the same.
_MEANT = re.compile(r".*[0-9]:[0-9]{2}.*\s.*[0-9]:[0-9]{2}")
_NO_CUES = ("NOTE", "STYLE", "REGION")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]+)>")
_TAG = re.compile(r"<[^>]*>?")  # one that is never closed runs to the end of the cue


def read_vtt(text: str, name: str) -> Track:
    """Cues of a WebVTT file. A block with an arrow or two clocks and no readable times is a fault; notes,
    styles and regions are none.

    Raises MediaError where the file does not begin with WEBVTT.
    """
    lines = re.split(r"\r\n|\r|\n", text.replace("\0", "\ufffd"))
    if not re.match(r"WEBVTT(?:[ \t]|$)", lines[0]):
        raise MediaError(f"{name} does not begin with WEBVTT", "it is no WebVTT file; name another")
    raw: list[tuple[Fraction, Fraction, str]] = []
    faults: list[str] = []
    at = 1
    while at < len(lines) and lines[at] and "-->" not in lines[at]:  # the rest of the header
        at += 1
    while at < len(lines):
        if not lines[at]:
            at += 1
            continue
        first, at = at, _end(lines, at)
        head = range(first, min(first + 2, at))
        arrow = next((n for n in head if "-->" in lines[n]), None)
        if arrow is None and not lines[first].startswith(_NO_CUES):
            arrow = next((n for n in head if _MEANT.match(lines[n])), None)
        if arrow is None:
            continue
        if (times := _times(lines[arrow])) is None:
            faults.append(f"line {arrow + 1} has no times, {lines[arrow].strip()[:40]!r}")
            continue
        raw.append((*times, clean("\n".join(lines[arrow + 1 : at]))))
    return make_track(raw, faults)


def clean(text: str) -> str:
    """The text of a cue: no tags, entities decoded, a voice as `Name: `."""
    return html.unescape(_TAG.sub("", _VOICE.sub(r"\1: ", text)))


def _end(lines: list[str], first: int) -> int:
    """Where the block that begins at `first` ends: at an empty line, or at the times of a next cue."""
    seen = "-->" in lines[first]
    for at in range(first + 1, len(lines)):
        if not lines[at]:
            return at
        if "-->" in lines[at]:
            if seen or at > first + 1:
                return at
            seen = True
    return len(lines)


def _times(line: str) -> tuple[Fraction, Fraction] | None:
    found = _TIMES.match(line)
    if found is None:
        return None
    times: list[Fraction] = []
    for hours, minutes, seconds, millis in (found.groups()[:4], found.groups()[4:]):
        if int(minutes) > 59 or int(seconds) > 59 or len(hours or "") > 9:
            return None
        whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
        times.append(whole + Fraction(int(millis), 1000))
    return times[0], times[1]
