"""Text <-> time: two aligners behind one interface.

head      trained with the checkpoint, reads its hidden states (`alignment_head.safetensors`); `spans`: from
          what it says of each step; `score`: what they are worth; `placement`: how sure their place is
textual   any other checkpoint: the model writes times, and they are read tolerantly
written   the times in such a text (`commas`: in their numbers; `denials`: what the text says is not there;
          `notation`: units and dashes)
refine    both: boundaries at step resolution -> the frame, by looking again (`looks` says where)
whole_steps  both, for pictures and pages: boundaries where steps have theirs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from qvl_cli.errors import UsageError
from qvl_cli.timeline import TimeSpan

if TYPE_CHECKING:
    from qvl_cli.model.load import LoadedModel
    from qvl_cli.registry import ModelSpec
    from qvl_cli.stream import StreamSession

CHOICES = ("auto", "head", "text")


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A time range and the aligner's own probability for it, in [0, 1]. refined: one of its boundaries was
    looked at again, frame by frame (`align.refine`)."""

    span: TimeSpan
    score: float
    refined: bool = False


@dataclass(frozen=True, slots=True)
class Aligned:
    """Where one text holds.

    spans: best first; none where it never does. warnings: what the user must know of how they were found.
    again: asks the same of another session, which has watched other steps of the same video.
    """

    spans: tuple[ScoredSpan, ...] = ()
    warnings: tuple[str, ...] = ()
    again: Callable[[StreamSession], Aligned] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an answer.

    tokens: [first, last) among the generated tokens (`StreamSession.answer_ids`) that spell it.
    """

    text: str
    tokens: tuple[int, int]


class Aligner(Protocol):
    name: str

    def locate(self, session: StreamSession, event: str) -> Aligned:
        """Every span where the event happens. Only forks `session`."""
        ...

    def evidence(self, session: StreamSession, question: str, sentences: Sequence[Sentence]) -> list[Aligned]:
        """For each sentence of an answer the spans that prove it.

        `session` has just answered `question`: its `answer_states` are those of `sentences`. Only forks it.
        """
        ...


def check_aligner(spec: ModelSpec, choice: str) -> None:
    """Raises UsageError where `head` is asked of a checkpoint without one, or `choice` is no aligner."""
    if choice not in CHOICES:
        raise UsageError(f"unknown aligner {choice!r}", f"choose from {', '.join(CHOICES)}")
    if choice == "head" and not spec.has_alignment_head:
        raise UsageError(f"the model {spec.name} has no alignment head", "use --aligner text")


def load_aligner(model: LoadedModel, choice: str = "auto") -> Aligner:
    """`auto` takes the checkpoint's head where it has one. Raises UsageError where `head` is not there."""
    check_aligner(model.spec, choice)
    if choice == "text" or (choice == "auto" and not model.spec.has_alignment_head):
        from qvl_cli.align.textual import TextualAligner

        return TextualAligner()
    from qvl_cli.align.head import HeadAligner

    return HeadAligner.load(model)
