"""Is an answer in words right? By what it names, not by how it says it."""

from __future__ import annotations

import re
from itertools import pairwise

from qvl_cli.tiny.questions import NUMBERS
from qvl_cli.tiny.world import COLOUR_NAMES, PLACES, SHAPES, WORDS

_CLASSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "what": (SHAPES,),
    "colour": (COLOUR_NAMES,),
    "which": (COLOUR_NAMES, SHAPES),
    "where": (PLACES,),
    "count": (NUMBERS,),
    "written": (WORDS,),
}
_SAME = {"no": "none", "zero": "none", **{str(i): word for i, word in enumerate(NUMBERS)}}
_SAME |= {"left": "lefthand", "right": "righthand", "centre": "middle", "center": "middle"}
TIME_TOLERANCE = 1.0  # seconds by which a time in words may be off: a step at the rate of two minutes


def named(text: str, words: tuple[str, ...]) -> set[str]:
    """Which of `words` a text names; digits and `no` count as the number words they mean."""
    found = (_SAME.get(word, word) for word in re.findall(r"[a-z]+|\d+", text.lower()))
    return {word for word in found if word in words}


def things_told(text: str) -> list[tuple[str, str]]:
    """The (colour, shape) pairs a text names, colour first, in its order."""
    words = re.findall(r"[a-z]+", text.lower())
    return [(a, b) for a, b in pairwise(words) if a in COLOUR_NAMES and b in SHAPES]


def things_named(text: str) -> set[tuple[str, str]]:
    return set(things_told(text))


def f1(said: set[tuple[str, str]], true: set[tuple[str, str]]) -> float:
    """Harmonic mean of precision and recall; 1 where both are empty."""
    return 2 * len(said & true) / (len(said) + len(true)) if said or true else 1.0


def is_right(family: str, said: str, expected: str) -> bool:
    """Right: of every class the family asks for, exactly the expected words and no other; for `order` and
    `after` at last the same two things in the same order, for `when` one time, at most TIME_TOLERANCE off."""
    if family in ("order", "after"):
        return things_told(said)[-2:] == things_told(expected)[-2:] != []
    if family == "when":
        (time,), times = _times(expected), _times(said)
        return len(times) == 1 and abs(times[0] - time) <= TIME_TOLERANCE
    return all(named(said, words) == named(expected, words) != set() for words in _CLASSES[family])


def _times(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
