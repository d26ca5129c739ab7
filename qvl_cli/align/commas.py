"""Decimal commas in written times -> points, at the same places of a text of the same length.

`12,5 - 20,0` is written in half the world, but a comma parts the numbers of a list as well: it is a decimal
one only where both ends of a range are written so, where a unit follows, or where a start or an end is given
by name. Three digits behind it may be thousands (`1,234`): such a number stays as it is, and is no time.
"""

from __future__ import annotations

import re

from qvl_cli.align.notation import AND, BETWEEN, DASH, HOURS, MINUTES, SECONDS

_NUMBER = r"(?<![\d.,:])\d+,\d{1,2}"
_END = r"(?![\d.:]|,\d)"
_UNIT = rf"\s*(?:{SECONDS}|{MINUTES}|{HOURS})"
_QUOTE, _UNQUOTE = r"[<\"'*`]*", r"[>\"'*`]*"
_DECIMALS = (
    re.compile(
        rf"{_NUMBER}(?:{_UNIT})?{_UNQUOTE}\s*{DASH}\s*{_QUOTE}{_NUMBER}{_END}"
        rf"|{BETWEEN}\s+{_QUOTE}{_NUMBER}(?:{_UNIT})?{_UNQUOTE}\s+{AND}\s+{_QUOTE}{_NUMBER}{_END}",
        re.IGNORECASE,
    ),
    re.compile(rf"{_NUMBER}(?={_UNIT})", re.IGNORECASE),
    re.compile(
        rf"\b(?:start|begin|from|end|stop|until|to)\w*(?: time)?[\"'*_]*\s*[:=]\s*{_QUOTE}{_NUMBER}{_END}",
        re.IGNORECASE,
    ),
)
_DASH_BEFORE = re.compile(rf"\d{_UNQUOTE}\s*{DASH}\s*{_QUOTE}$", re.IGNORECASE)
_DASH_AFTER = re.compile(rf"\s*{DASH}\s*{_QUOTE}\d", re.IGNORECASE)
_BETWEEN_RANGES = re.compile(rf"(\d\s*{DASH}\s*[\d.:]+),(?=[\d.:]+\s*(?:s\b\s*)?{DASH}\s*\d)", re.IGNORECASE)


def with_points(text: str) -> str:
    """`text` with points for decimal commas, and with spaces for commas that part ranges (`5-10,20-25`)."""
    for pattern in _DECIMALS:
        text = pattern.sub(_points, text)
    return _BETWEEN_RANGES.sub(r"\1 ", text)


def _points(match: re.Match[str]) -> str:
    before, after = match.string[: match.start()], match.string[match.end() :]
    if _DASH_BEFORE.search(before) or _DASH_AFTER.match(after):
        return match[0]  # a chain of dashes: its commas part ranges
    return re.sub(r"(?<=\d),(?=\d)", ".", match[0])
