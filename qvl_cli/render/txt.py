"""The format for people: the text, then one line per moment or section."""

from __future__ import annotations

from qvl_cli.answer import Answer
from qvl_cli.timeline import format_clock


def write_txt(answer: Answer, exit_code: int) -> str:
    return answer.text.strip() + "\n" + write_evidence(answer)


def write_evidence(answer: Answer) -> str:
    """What follows the text; apart from it, because a terminal has shown the text before this is known."""
    long = answer.media.duration >= 3600
    lines = [
        f"  {format_clock(m.start, always_hours=long)} - {format_clock(m.end, always_hours=long)}"
        f"  {m.score:4.0%}  {_one_line(m.text)}"
        for m in answer.moments
    ]
    lines += [
        f"  {format_clock(s.start, always_hours=long)} - {format_clock(s.end, always_hours=long)}"
        f"  {_one_line(s.text)}"
        for s in answer.sections
    ]
    return "".join(line + "\n" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())
