"""Is an answer in words right? By what it names, not by how it says it."""

from __future__ import annotations

import re
from itertools import pairwise

from qvl_cli.tiny.questions import NUMBERS
from qvl_cli.tiny.world import COLOUR_NAMES, SHAPES

_CLASSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "what": (SHAPES,),
    "colour": (COLOUR_NAMES,),
    "which": (COLOUR_NAMES, SHAPES),
    "count": (NUMBERS,),
}
_SAME = {"no": "none", "zero": "none", **{str(i): word for i, word in enumerate(NUMBERS)}}


def named(text: str, words: tuple[str, ...]) -> set[str]:
    """Which of `words` a text names; digits and `no` count as the number words they mean."""
    found = (_SAME.get(word, word) for word in re.findall(r"[a-z]+|\d+", text.lower()))
    return {word for word in found if word in words}


def things_named(text: str) -> set[tuple[str, str]]:
    """The (colour, shape) pairs a text names, colour first."""
    words = re.findall(r"[a-z]+", text.lower())
    return {(a, b) for a, b in pairwise(words) if a in COLOUR_NAMES and b in SHAPES}


def f1(said: set[tuple[str, str]], true: set[tuple[str, str]]) -> float:
    """Harmonic mean of precision and recall; 1 where both are empty."""
    return 2 * len(said & true) / (len(said) + len(true)) if said or true else 1.0


def is_right(family: str, said: str, expected: str) -> bool:
    """Right: of every class the family asks for, exactly the expected words and no other."""
    return all(named(said, words) == named(expected, words) != set() for words in _CLASSES[family])
