"""The format for people: the text, then one line per moment or section."""

from __future__ import annotations

from qvl_cli.answer import Answer
from qvl_cli.timeline import format_clock, format_pages


def write_txt(answer: Answer, exit_code: int) -> str:
    thinking = f"{answer.thinking.strip()}\n\n" if answer.thinking else ""
    return f"{thinking}{answer.text.strip()}\n{write_evidence(answer)}"


def write_evidence(answer: Answer) -> str:
    """What follows the text; apart from it, because a terminal has shown the text before this is known."""

    def when(start: float, end: float) -> str:
        if answer.media.unit == "page":
            return format_pages(start, end)
        long = answer.media.duration >= 3600
        return f"{format_clock(start, always_hours=long)} - {format_clock(end, always_hours=long)}"

    lines = [f"  {when(m.start, m.end)}  {m.score:4.0%}  {_one_line(m.text)}" for m in answer.moments]
    lines += [f"  {when(s.start, s.end)}  {_one_line(s.text)}" for s in answer.sections]
    return "".join(line + "\n" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())
