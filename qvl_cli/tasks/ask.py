"""A question -> an answer in words, and for each of its sentences the spans that prove it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from qvl_cli.align import Aligner, Sentence
from qvl_cli.align.refine import Refiner
from qvl_cli.generate import DecodeSettings
from qvl_cli.prompts import ask_prompt
from qvl_cli.stream import StreamSession
from qvl_cli.tasks import Findings, to_moment

# Counting and ordering need every step; so does what is said of all, each, always, never, only.
_WHOLE = re.compile(
    r"\bhow (?:many|often|much)\b|\bnumber of\b|\bcount\b|\btotal\b|\border\b|\bsequence\b|\bfirst\b|\blast\b"
    r"|\b(?:every|each|all|always|never|only)\b",
    re.IGNORECASE,
)
OnText = Callable[[str, bool], None]

# An end mark, what may close after it, then space; or a line's end. `12.5` has no space, so it ends nothing;
# `No. 3` is a number, and any other `No.` an answer.
_END = re.compile(r"(?!(?<=\bNo)\.[ \t]+\d)[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[”’」』）]*|\n")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|approx|ca|Mr|Mrs|Ms|Dr|St)|^\s*\d{1,3}|\b[A-Z])\.$")


def ask(
    session: StreamSession,
    aligner: Aligner,
    question: str,
    settings: DecodeSettings,
    on_text: OnText,
    refiner: Refiner | None = None,
) -> Findings:
    """Answer `question`. `on_text(piece, thinking)` hears every piece of text as it is generated."""
    pieces: list[str] = []
    spoken: list[bool] = []
    for token in session.ask(ask_prompt(question), settings):
        pieces.append(token.text)
        spoken.append(not token.thinking)
        if token.text:
            on_text(token.text, token.thinking)
    text = "".join(piece for piece, said in zip(pieces, spoken, strict=True) if said)
    thoughts = "".join(piece for piece, said in zip(pieces, spoken, strict=True) if not said)
    warnings: list[str] = []
    if not session.sees_all and asks_for_all(question):
        warnings.append("the question is about the whole video, of which the answer saw only a part")
    if len(pieces) >= settings.max_new_tokens:
        warnings.append(f"the answer was cut off after {settings.max_new_tokens} tokens")
    sentences = split_sentences(pieces, spoken)
    proofs = aligner.evidence(session, question, sentences) if sentences else []
    if refiner is not None:
        proofs = [refiner.refine(proof) for proof in proofs]
    moments = [
        to_moment(span, sentence.text)
        for sentence, proof in zip(sentences, proofs, strict=True)
        for span in proof.spans
    ]
    # Sentences are aligned one by one and meet the same troubles: each trouble is told once.
    troubles = Counter(warning for proof in proofs for warning in proof.warnings)
    warnings += [
        f"{trouble} (evidence of {count} of {len(sentences)} sentences)"
        for trouble, count in troubles.items()
    ]
    return Findings(
        text=text.strip(),
        found=bool(text.strip()),
        moments=tuple(moments),
        thinking=thoughts.strip() or None,
        warnings=tuple(warnings),
    )


def asks_for_all(question: str) -> bool:
    """Whether a question looks like one that only the whole video answers. English words alone are known."""
    return _WHOLE.search(question) is not None


def split_sentences(pieces: Sequence[str], spoken: Sequence[bool]) -> list[Sentence]:
    """Sentences of the spoken pieces (one piece a token), each with its exact range of tokens.

    A token belongs to the sentence that its first visible character belongs to; ranges do not overlap.
    """
    text = "".join(piece for piece, said in zip(pieces, spoken, strict=True) if said)
    bounds = _bounds(text)
    # First visible character of every spoken token that has one, and the token's index.
    places: list[tuple[int, int]] = []
    place = 0
    for index, (piece, said) in enumerate(zip(pieces, spoken, strict=True)):
        if said:
            if piece.strip():
                places.append((place + len(piece) - len(piece.lstrip()), index))
            place += len(piece)
    sentences: list[Sentence] = []
    for start, end in bounds:
        inside = [index for at, index in places if start <= at < end]
        if inside:
            sentences.append(Sentence(text[start:end].strip(), (inside[0], inside[-1] + 1)))
    return sentences


def _bounds(text: str) -> list[tuple[int, int]]:
    """[start, end) of every sentence; together they tile the text."""
    cuts = [0]
    for match in _END.finditer(text):
        if not _ABBREVIATION.search(text[cuts[-1] : match.end()]) or match[0] == "\n":
            cuts.append(match.end())
    cuts.append(len(text))
    return [(start, end) for start, end in pairwise(cuts) if text[start:end].strip()]
