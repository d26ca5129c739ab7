"""Multiple choice, as in Video-MME: which option does an answer in words choose?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

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

    In this order: what follows a word such as `answer`, a labelled letter at the start (`B.`, `(B) Apples`),
    a letter that stands alone, the only option whose text is named.
    """
    letters = ascii_uppercase[: len(options)]
    text = re.sub(r"[*_`]+", "", said).strip()
    announced = re.findall(
        rf"(?i:\b(?:answer|option|choice)(?:\s+is)?\s*:?\s*)\(?([{letters}])(?![\w'])(?!\s+[a-z])", text
    )
    if announced:
        return announced[-1] if len(set(announced)) == 1 else None
    opening = re.match(rf"\(?([{letters}])(?:[.):,]|\s*$)", text)
    if opening:
        return opening[1]
    # `A` before a small word is an article.
    alone = set(re.findall(rf"(?<![\w'])([{letters}])(?![\w'])(?!\s+[a-z])", text))
    if len(alone) == 1:
        return alone.pop()
    named = [
        letter
        for letter, option in zip(letters, option_texts(options), strict=True)
        if _plain(option) and f" {_plain(option)} " in f" {_plain(text)} "
    ]
    return named[0] if len(named) == 1 and not alone else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
