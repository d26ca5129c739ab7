"""Multiple choice, as in Video-MME: which option does an answer in words choose?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

# What makes an `A` in front of it an article: a small word that joins no letters and says nothing of one.
_GOES_ON = r"(?!(?:or|and|is|because|since|as)\b)[a-z]"
_LABEL = re.compile(r"^\s*\(?([A-Z])\s*[.):]\s*")


def option_texts(options: Sequence[str]) -> tuple[str, ...]:
    """Options without their labels: `A. Apples.` -> `Apples.`; only where each has the label of its place."""
    found = [_LABEL.match(option) for option in options]
    labelled = all(
        match and match[1] == letter for match, letter in zip(found, ascii_uppercase, strict=False)
    )
    return tuple(
        option[match.end() :].strip() if labelled and match else option.strip()
        for option, match in zip(options, found, strict=True)
    )


def chosen_letter(said: str, options: Sequence[str]) -> str | None:
    """The letter that `said` settles on, or None where it settles on none or on several.

    In this order: a letter that opens the answer (`B.`, `(B) Apples`, a line of its own), what follows a word
    such as `answer`, a letter that stands alone, the only option whose text is named.
    """
    letters = ascii_uppercase[: len(options)]
    one = rf"([{letters}])(?![\w'])(?<!A(?=\s+{_GOES_ON}))"
    text = re.sub(r"[*_`]+", "", said).strip()
    opening = re.match(rf"\(?([{letters}])(?:[.):,]|\s*$)", text, re.MULTILINE)
    if opening:
        return opening[1]
    announced = re.findall(rf"(?i:\b(?:answer|option|choice)(?:\s+is)?\s*:?\s*)\(?{one}", text)
    if announced:
        return str(announced[0]) if len(set(announced)) == 1 else None
    alone = set(re.findall(rf"(?<![\w']){one}", text))
    if len(alone) == 1:
        return str(alone.pop())
    named = [
        letter
        for letter, option in zip(letters, option_texts(options), strict=True)
        if _plain(option) and f" {_plain(option)} " in f" {_plain(text)} "
    ]
    return named[0] if len(named) == 1 and not alone else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
