"""SubRip, through pysrt; the only module that knows pysrt and its traps.

Floats make pysrt raise, a blank line inside a cue ends it early, and a damaged cue vanishes without a word
unless ERROR_RAISE is set. So times go in as whole milliseconds, texts lose blank lines, and the result is
read back.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Any

from qvl_cli.answer import Answer, Moment, Section
from qvl_cli.errors import QvlError


def write_srt(answer: Answer, exit_code: int) -> str:
    """Moments and sections as cues in the order of time, on the clock of players; nothing found gives no
    cue."""
    lead = answer.media.lead
    told: list[Moment | Section] = [*answer.moments, *answer.sections]
    cues = [(each.start + lead, each.end + lead, each.text) for each in told]
    return format_srt(sorted(cues))


def format_srt(cues: list[tuple[float, float, str]]) -> str:
    """Cues (start, end in seconds, text) -> SubRip text with `\\n` line ends, numbered from 1."""
    import pysrt  # not at the top: it loads an encoding detector, which `--help` need not wait for

    items: list[Any] = []
    for number, (start, end, text) in enumerate(cues, 1):
        first = _milliseconds(start)
        last = max(_milliseconds(end), first + 1)  # players drop a cue of no length
        times = (pysrt.SubRipTime.from_ordinal(first), pysrt.SubRipTime.from_ordinal(last))
        items.append(pysrt.SubRipItem(number, *times, _cue_text(text)))
    written = "".join(f"{item}\n" for item in pysrt.SubRipFile(items, eol="\n"))
    if len(pysrt.from_string(written, error_handling=pysrt.SubRipFile.ERROR_RAISE)) != len(cues):
        raise QvlError("the SRT that was written does not read back whole", "use -f json and report this")
    return written


# Lenient readers take any line with two of these for the times of a new cue.
_STAMP = re.compile(r"\d+:\d+:\d+[.,]\d+")


def _defuse(stamp: re.Match[str]) -> str:
    return stamp[0].replace(":", "∶")  # the ratio sign: looks the same, is not a colon


def _milliseconds(seconds: float) -> int:
    return int(Fraction(seconds) * 1000 + Fraction(1, 2))


def _cue_text(text: str) -> str:
    """Text that cannot end its cue: no blank line, no control character, nothing that reads as times."""
    lines = (
        "".join(c if unicodedata.category(c) != "Cc" else " " for c in line).strip()
        for line in text.splitlines()
    )
    return "\n".join(_STAMP.sub(_defuse, line.replace("-->", "→")) for line in lines if line) or "…"
