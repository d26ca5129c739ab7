"""What is asked of a script, and its answer piece by piece, each told where to look for what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qvl_cli.prompts import Prompt
from qvl_cli.tiny.world import COLOUR_NAMES, SHAPES

Span = tuple[float, float]
Kind = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """Which vision tokens prove a piece of an answer: all that is named must hold. span: only steps that show
    these seconds."""

    colour: str | None = None
    shape: str | None = None
    action: str | None = None
    word: str | None = None
    span: Span | None = None


NOWHERE = Look("nothing")  # what is looked for and not there


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of whole words of an answer. look: where to look for what it says; group: for the shape that
    comes next, same: for the next thing of the same shape; None: no place tells it. moment: the piece is a
    time in seconds, read off the first (`first`) or last step that shows what happens then. follows: what it
    tells is found by what was new before. told: it tells something that no place shows; given: it stands
    there and is not learned; clocked: it stands right behind a time, and its first token knows that time;
    ranks: it says which of the two times in front of it is the earlier."""

    text: str
    look: Look | None = None
    group: Look | None = None
    same: Look | None = None
    moment: float | None = None
    first: bool = True
    follows: bool = False
    told: bool = False
    given: bool = False
    clocked: bool = False
    ranks: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One thing asked of a script.

    family: locate, one of FAMILIES, section, overview or drill. said: the answer, piece by piece; it says
    again what was asked before it says what was found. spans: the seconds that prove it, sorted; empty for
    what never happens. window: the part of the video a section question is about. unseen: whether the
    wording or a thing in it is kept from training.
    """

    family: str
    prompt: Prompt
    said: tuple[Piece, ...]
    spans: tuple[Span, ...]
    window: Span | None = None
    unseen: bool = False

    @property
    def answer(self) -> str:
        return "".join(piece.text for piece in self.said)


def kind_order(kind: Kind) -> tuple[int, int]:
    """Things are named shape by shape, those of one shape by colour."""
    return SHAPES.index(kind[1]), COLOUR_NAMES.index(kind[0])


def enumerate_things(
    kinds: Sequence[Kind],
    told: Callable[[Kind], str],
    opening: str,
    closing: str,
    more: Callable[[Kind], Sequence[Piece]] = lambda kind: (),
) -> list[Piece]:
    """Things one after the other, each told where the next one is: after a thing comes ` and` where the next
    has its shape, a comma where it has another, `closing` where there is none."""
    said: list[Piece] = []
    for place in range(len(kinds) + 1):
        before, here = kinds[place - 1] if place else None, kinds[place] if place < len(kinds) else None
        look = Look(*here) if here else NOWHERE
        along = bool(before and here and before[1] == here[1])
        later = next((k for k in kinds[place:] if before is None or k[1] != before[1]), None)
        group, same = Look(shape=later[1]) if later else NOWHERE, look if along else NOWHERE
        mark = opening if before is None else closing if here is None else " and" if along else ","
        said.append(Piece(mark, look, group, same))
        if here:
            said.append(Piece(f" {told(here)}", look, None if along else group))
            said += more(here)
    return said
