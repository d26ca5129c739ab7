"""How the drawn world is talked about: paraphrases of everything asked, some of them never trained on."""

from __future__ import annotations

import numpy as np

UNSEEN = 1  # the last phrases of every bank are for evaluation only

APPEARS = (
    "{it} appears",
    "{it} is visible",
    "{it} is on screen",
    "there is {it}",
    "{it}",
    "{it} shows",
    "{it} can be seen",
)
DOES = {
    **{
        way: (f"{{it}} moves {way}", f"{{it}} is moving {way}", f"{{it}} goes {way}")
        for way in ("left", "right", "up", "down")
    },
    "grows": ("{it} grows", "{it} gets bigger", "{it} becomes bigger"),
    "shrinks": ("{it} shrinks", "{it} gets smaller", "{it} becomes smaller"),
    "blinks": ("{it} blinks", "{it} flashes", "{it} is blinking"),
    "turns": ("{it} changes colour", "{it} turns another colour", "{it} turns to another colour"),
    "enters": ("{it} enters", "{it} comes into view", "{it} enters the picture"),
    "leaves": ("{it} leaves", "{it} goes out of view", "{it} leaves the picture"),
    "crosses": ("{it} crosses", "{it} passes through", "{it} crosses the picture"),
}
# The words that tell an action from the others.
ACTION_WORDS = {
    **{way: {way} for way in ("left", "right", "up", "down")},
    "grows": {"grows", "bigger"},
    "shrinks": {"shrinks", "smaller"},
    "blinks": {"blinks", "flashes", "blinking"},
    "turns": {"changes", "turns"},
    "enters": {"enters", "into"},
    "leaves": {"leaves", "out"},
    "crosses": {"crosses", "through"},
}
MOMENTS = ("{event}", "{event}", "when {event}", "the moment {event}", "{event} in the video")
WORD_SHOWS = (
    "the word {word} appears",
    "the word {word} is shown",
    "the caption {word}",
    "{word} is written",
    "{word} is on screen",
    "the caption {word} is visible",
    "the word {word} can be seen",
)
QUESTIONS = {
    "what": (
        "What shape is {colour}?",
        "Which shape is {colour}?",
        "What is the {colour} thing?",
        "What {colour} shape is there?",
        "Which shape has the colour {colour}?",
        "Tell me what shape is {colour}.",
    ),
    "colour": (
        "What colour is the {shape}?",
        "What color is the {shape}?",
        "Which colour does the {shape} have?",
        "The {shape} has which colour?",
        "Tell me the colour of the {shape}.",
        "What is the colour of the {shape}?",
    ),
    "which": (
        "Which shape {does}?",
        "What {does}?",
        "What is it that {does}?",
        "Which thing {does}?",
        "Tell me which shape {does}.",
        "Tell me what {does}.",
    ),
    "where": (
        "Where is the {it}?",
        "On which side is the {it}?",
        "Where can the {it} be seen?",
        "Where does the {it} appear?",
        "Tell me where the {it} is.",
        "On which side does the {it} appear?",
    ),
    "count": (
        "How many {things} are there?",
        "How many {things} appear?",
        "How many {things} can be seen?",
        "Count the {things}.",
        "What is the number of {things}?",
        "Tell me how many {things} there are.",
    ),
    "order": (
        "In which order do the {it} and the {other} appear?",
        "Which appears first, the {it} or the {other}?",
        "What comes first, the {it} or the {other}?",
        "What is the order of the {it} and the {other}?",
        "Which is first, the {it} or the {other}?",
        "Which comes first, the {it} or the {other}?",
    ),
    "written": (
        "What is written?",
        "What is written on screen?",
        "Which word is shown?",
        "What does the caption say?",
        "Which word can be seen?",
        "Which word is written?",
    ),
    "after": (
        "What appears after the {it}?",
        "What comes after the {it}?",
        "What appears next after the {it}?",
        "Which shape comes after the {it}?",
        "After the {it}, what appears?",
        "Which shape appears after the {it}?",
    ),
    "when": (
        "When does the {it} appear?",
        "At what time does the {it} appear?",
        "At which second does the {it} appear?",
        "When can the {it} be seen first?",
        "Tell me when the {it} appears.",
        "At which time does the {it} appear?",
    ),
}
FAMILIES = tuple(QUESTIONS)
# Learned in the last stage too, and never asked in evaluation: who knows few wordings takes a new one for
# the question that it shares most words with.
MORE_QUESTIONS = {
    "what": (
        "What is the shape that is {colour}?",
        "Which thing is {colour}?",
        "Tell me which shape is {colour}.",
    ),
    "colour": (
        "Which colour is the {shape}?",
        "What colour does the {shape} have?",
        "Tell me which colour the {shape} has.",
    ),
    "which": (
        "Which is the thing that {does}?",
        "What is the shape that {does}?",
        "Tell me which thing {does}.",
    ),
    "where": (
        "Where is the {it} seen?",
        "On which side can the {it} be seen?",
        "Tell me on which side the {it} is.",
    ),
    "count": (
        "How many {things} are visible?",
        "How many {things} are on screen?",
        "How many {things} are in the video?",
        "Tell me the number of {things}.",
    ),
    "order": (
        "What is first, the {it} or the {other}?",
        "Tell me which appears first, the {it} or the {other}.",
        "Tell me the order of the {it} and the {other}.",
    ),
    "written": (
        "What word is written?",
        "Tell me what is written.",
        "Tell me which word is shown.",
    ),
    "after": (
        "What comes next after the {it}?",
        "Which thing comes after the {it}?",
        "Tell me what appears after the {it}.",
    ),
    "when": (
        "When is the {it} seen first?",
        "Tell me at what time the {it} appears.",
        "At what second does the {it} appear?",
    ),
}
# What may stand in front of a question: words that begin one are learned in small letters, too.
LEADS = ("Tell me: ", "Tell me, ", "In the video, ")


def pick(bank: tuple[str, ...], rng: np.random.Generator, unseen: bool = False) -> str:
    """One phrase of a bank: of those trained on, or of those kept for evaluation."""
    return str(rng.choice(bank[-UNSEEN:] if unseen else bank[:-UNSEEN]))


def article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")
