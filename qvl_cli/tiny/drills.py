"""Exercises without a video: what a question needs besides looking, taught by itself."""

from __future__ import annotations

import numpy as np

from qvl_cli.prompts import ask_prompt
from qvl_cli.tiny.phrases import MORE_QUESTIONS, QUESTIONS, pick
from qvl_cli.tiny.pieces import Kind, Piece, Query
from qvl_cli.tiny.questions import APART, earlier, in_order
from qvl_cli.tiny.world import COLOUR_NAMES, SHAPES, Script, known_kind

SOON, LATE, VERY_LATE = 15.0, 130.0, 1000.0  # seconds


def order_drill(script: Script, rng: np.random.Generator, ranked: bool = True) -> Query:
    """Which of two is first, by times that are given and that nothing in the video has: comparing the times
    is all that can answer it. Half of the things are those of the script. ranked: see `Asking`."""
    kinds: list[Kind] = []
    while len(kinds) < 2:
        kind = _any_kind(script, rng)
        if kind not in kinds:
            kinds.append(kind)
    latest = LATE if rng.random() < 0.7 else VERY_LATE
    early = float(rng.uniform(0.0, latest - SOON))
    late = early + float(rng.uniform(APART, SOON if rng.random() < 0.5 else latest - early))
    first, second = (" ".join(kind) for kind in kinds)
    asked = [(first, early), (second, late)]
    if rng.random() < 0.5:
        asked.reverse()
    (one, at), (other, other_at) = asked
    bank = (*MORE_QUESTIONS["order"], *QUESTIONS["order"])
    said = (
        *_given("The", one, at),
        *_given(", the", other, other_at),
        Piece(":", given=True),
        *(earlier(1 if one == first else 2) if ranked else (Piece(" first the"),)),
        *in_order(Piece(f" {first}", told=True), Piece(f" {second}", told=True)),
    )
    return Query("drill", ask_prompt(pick(bank, rng).format(it=one, other=other)), said, ())


def _given(opening: str, thing: str, at: float) -> tuple[Piece, ...]:
    told = Piece(f"{opening} {thing} appears at ", given=True), Piece(f"{at:.1f}", given=True)
    return *told, Piece(" seconds", given=True, clocked=True)


def _any_kind(script: Script, rng: np.random.Generator) -> Kind:
    if script.shown and rng.random() < 0.5:
        return script.shown[int(rng.integers(len(script.shown)))].kind
    while True:
        kind = str(rng.choice(COLOUR_NAMES)), str(rng.choice(SHAPES))
        if known_kind(script.seed, *kind):
            return kind
