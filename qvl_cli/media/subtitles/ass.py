"""SubStation Alpha text (ASS, SSA) -> Track: the dialogue lines of its events, by the columns it names."""

from __future__ import annotations

import re
from fractions import Fraction

from qvl_cli.media.subtitles.cue import Track, make_track

_COLUMNS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
_TIME = re.compile(r"(\d{1,9}):(\d{1,2}):(\d{1,2})[.:](\d{1,3})", re.ASCII)
# Between {\p1} and {\p0} stands a drawing in coordinates, not text.
_DRAWING = re.compile(r"\{[^{}]*\\p[1-9][^{}]*\}.*?(?=\{[^{}]*\\p0[^{}]*\}|$)", re.DOTALL)
_OVERRIDE = re.compile(r"\{[^{}]*\}")


def read_ass(text: str) -> Track:
    """Dialogue lines as cues; comments are none. A dialogue line without readable times is a fault."""
    columns: tuple[str, ...] = _COLUMNS
    section = ""
    raw: list[tuple[Fraction, Fraction, str]] = []
    faults: list[str] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1].lower()
            continue
        kind, _, rest = stripped.partition(":")
        if kind == "Format" and section == "events":
            columns = tuple(name.strip().lower() for name in rest.split(","))
        if kind != "Dialogue":
            continue
        fields = dict(zip(columns, rest.strip().split(",", len(columns) - 1), strict=False))
        start, end = _time(fields.get("start", "")), _time(fields.get("end", ""))
        if start is None or end is None or "text" not in fields:
            faults.append(f"line {number} has no times or no text, {stripped[:40]!r}")
            continue
        raw.append((start, end, clean(fields["text"])))
    return make_track(raw, faults)


def clean(text: str) -> str:
    """Without override codes and drawings; `\\N` breaks the line, `\\n` and `\\h` are spaces."""
    plain = _OVERRIDE.sub("", _DRAWING.sub("", text))
    return re.sub(r"\\[nh]", " ", plain.replace(r"\N", "\n"))


def _time(text: str) -> Fraction | None:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    hours, minutes, seconds, part = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + Fraction(int(part), 10 ** len(part))
