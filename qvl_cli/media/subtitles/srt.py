"""SubRip text -> Track, through pysrt.

pysrt ends a cue at a blank line, takes `0` for digits it cannot read, and its lenient mode drops damaged cues
without a word. So cues are cut apart here, by their lines of times; pysrt reads one whole cue at a time, with
ERROR_RAISE and digits that were looked at.
"""

from __future__ import annotations

import html
import re
from fractions import Fraction

from qvl_cli.media.subtitles.cue import Track, make_track

_TIME = r"\d+:\d{1,2}:\d{1,2}[,.]\d{1,3}"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?!\d)", re.ASCII)
# What was meant to be a line of times: an arrow beside a clock, or two clocks with something like an arrow.
_MEANT = re.compile(r".*\d:\d.*-->|.*-->.*\d:\d|\s*\d+:\d+:\d+\S*\s*[-=>]+\s*\d+:\d+:\d+", re.ASCII)
_INDEX = re.compile(r"\s*\d+\s*", re.ASCII)
_TAG = re.compile(r"</?(?:i|b|u|s|em|strong|font|span|c|v|ruby|rt|br)\b[^<>]*>", re.IGNORECASE)
_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # ASS in SRT: {\an8}
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|\w+);", re.IGNORECASE)


def read_srt(text: str) -> Track:
    """Cues of a SubRip file, blank lines inside them included. A cue without readable times is a fault."""
    lines = re.split(r"\r*\n|\r", text)
    starts = [at for at, line in enumerate(lines) if _is_times(lines, at)]
    raw: list[tuple[Fraction, Fraction, str]] = []
    faults: list[str] = []
    for number, at in enumerate(starts):
        if not _TIMES.match(lines[at]):
            faults.append(f"line {at + 1} has no times, {lines[at].strip()[:40]!r}")
            continue
        last = starts[number + 1] if number + 1 < len(starts) else len(lines)
        body = _said(lines[at + 1 : last], last < len(lines))
        if body:  # else nothing is said
            raw.append(_cue(lines[at], body))
    if not starts and text.strip():
        faults.append("no line of times (00:00:01,000 --> 00:00:02,000) in the whole file")
    return make_track(raw, faults)


def clean(text: str) -> str:
    """Without formatting tags, `{\\an8}` and entities; any other `<` or `&` is text."""
    plain = _OVERRIDE.sub("", _TAG.sub(lambda tag: " " if tag[0][1:3].lower() == "br" else "", text))
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), plain)


def _said(between: list[str], numbered: bool) -> list[str]:
    """The lines of a cue with a text. numbered: another cue follows, whose number may be the last line: right
    before its times, or alone between blank lines."""
    last = max((at for at, line in enumerate(between) if line.strip()), default=-1)
    right_before = last == len(between) - 1
    alone = last > 0 and not between[last - 1].strip()
    if numbered and (right_before or alone) and last >= 0 and _INDEX.fullmatch(between[last]):
        between = between[:last]
    return [line for line in between if line.strip()]


def _is_times(lines: list[str], at: int) -> bool:
    if _MEANT.match(lines[at]):
        return True
    return "-->" in lines[at] and at > 0 and _INDEX.fullmatch(lines[at - 1]) is not None


def _cue(times: str, body: list[str]) -> tuple[Fraction, Fraction, str]:
    import pysrt  # not at the top: it loads an encoding detector, which `--help` need not wait for

    # Whatever else Python takes for the end of a line would end pysrt's cue.
    kept = [" ".join(line.splitlines()) for line in body]
    source = "\n".join([times.strip(), *kept, ""])
    (item,) = pysrt.from_string(source, error_handling=pysrt.SubRipFile.ERROR_RAISE)
    return Fraction(item.start.ordinal, 1000), Fraction(item.end.ordinal, 1000), clean(item.text)
