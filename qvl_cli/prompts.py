"""Every sentence qvl itself says to a model: one wording for all, the embedded model is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase


@dataclass(frozen=True, slots=True)
class Prompt:
    """The user's turn after the video: before + query + after. `query` is the user's own text, which the
    alignment head reads; all three are tokenised with special tokens disabled."""

    before: str
    query: str
    after: str = ""


def subtitle_line(start: float, end: float, text: str) -> str:
    """How a subtitle stands in front of a step: a line with its times, written as the steps write theirs."""
    return f"Subtitle <{start:.1f} - {end:.1f} seconds>: {text}\n"


def ask_prompt(question: str) -> Prompt:
    return Prompt("", question.strip())


def locate_prompt(event: str) -> Prompt:
    return Prompt(
        "Find every time range in the video where this happens: ",
        event.strip(),
        '\nAnswer with one line per range, "start - end" in seconds, or "never".',
    )


def section_prompt(start: float, end: float) -> Prompt:
    return Prompt("", f"What happens between {start:.1f} and {end:.1f} seconds?", " Answer in one sentence.")


def reduce_prompt(captions: Sequence[str]) -> Prompt:
    """What happens in the whole, from what was said of its parts."""
    return Prompt("\n".join(captions) + "\n", "What happens in the video?", " Answer in one sentence.")


def overview_prompt() -> Prompt:
    return Prompt("", "What happens in the video?", " Answer in one sentence.")


def choice_prompt(question: str, options: Sequence[str]) -> Prompt:
    """options: their texts without labels."""
    listed = "\n".join(
        f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False)
    )
    return Prompt("", question.strip(), f"\n{listed}\nAnswer with the letter of the right option.")
