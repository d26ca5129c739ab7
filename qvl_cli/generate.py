"""The decode loop: logits -> tokens, one at a time, with their text."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qvl_cli.budget import answer_tokens
from qvl_cli.errors import UsageError
from qvl_cli.model.load import LoadedModel
from qvl_cli.model.tokens import Detokenizer
from qvl_cli.registry import Decoding, ModelSpec
from qvl_cli.registry.spec import GREEDY


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """How many tokens, and how each is chosen; seed fixes the sampling.

    allowed: from the ids generated so far to the only ids that may follow; None puts no constraint.
    """

    max_new_tokens: int = 256
    choice: Decoding = GREEDY
    seed: int = 0
    allowed: Callable[[Sequence[int]], Collection[int]] | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"cannot answer in {self.max_new_tokens} tokens", "ask for at least one")


def answer_settings(spec: ModelSpec) -> DecodeSettings:
    """How a checkpoint's answers are decoded: by one seed, so that the same question has the same answer."""
    return DecodeSettings(answer_tokens(spec), spec.decoding)


@dataclass(frozen=True, slots=True)
class TokenStep:
    """One generated token. `text` is what became whole UTF-8 with it (may be empty); logprob is natural,
    before temperature; thinking: part of the thoughts, not of the answer (the markers themselves too, with
    empty text)."""

    token: int
    text: str
    logprob: float
    thinking: bool


def decode(
    model: LoadedModel,
    logits: Tensor,
    feed: Callable[[int], Tensor],
    settings: DecodeSettings,
) -> Iterator[TokenStep]:
    """Generate from `logits` [vocabulary] until an end token or `max_new_tokens`.

    feed: runs one token and returns the logits after it. Every yielded token is fed, the last one too, so
    that its hidden state exists. End tokens are not yielded.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    text = Detokenizer(model.codec)
    thinking = model.opens_thinking
    # Held back one token: bytes left open at a marker or at the end belong to it.
    pending: TokenStep | None = None
    written: list[int] = []
    for _ in range(settings.max_new_tokens):
        token = _choose(logits, settings, generator, written)
        written.append(token)
        ends, marker = token in model.eos_ids, token in (model.think_open, model.think_close)
        if pending is not None:
            yield replace(pending, text=pending.text + text.flush()) if ends or marker else pending
        if ends:
            return
        if marker:
            thinking = token == model.think_open
        logprob = float(torch.log_softmax(logits, dim=-1)[token])
        if math.isnan(logprob):
            raise no_numbers(model)
        pending = TokenStep(token, "" if marker else text.feed(token), logprob, thinking or marker)
        logits = feed(token)
    if pending is not None:
        yield replace(pending, text=pending.text + text.flush())


def no_numbers(model: LoadedModel) -> UsageError:
    """What a checkpoint computes has left the range of its dtype: float16 ends at 65,504."""
    dtype = str(model.dtype).removeprefix("torch.")
    return UsageError(f"{model.spec.name} computes no numbers in {dtype}", "use --dtype bfloat16 or float32")


def _choose(
    logits: Tensor, settings: DecodeSettings, generator: torch.Generator, written: Sequence[int]
) -> int:
    if settings.allowed is not None:
        barred = torch.ones_like(logits, dtype=torch.bool)
        barred[list(settings.allowed(written))] = False
        logits = logits.masked_fill(barred, -torch.inf)
    choice = settings.choice
    if choice.temperature == 0:
        return int(logits.argmax())
    scaled = logits.double().cpu() / choice.temperature
    if 0 < choice.top_k < len(scaled):
        scaled = scaled.masked_fill(scaled < scaled.topk(choice.top_k).values[-1], -torch.inf)
    chances = torch.softmax(scaled, dim=-1)
    if choice.top_p < 1:
        ordered, order = chances.sort(descending=True)
        # keep every token whose likelier ones do not already hold the mass
        ordered[ordered.cumsum(0) - ordered >= choice.top_p] = 0
        chances = torch.zeros_like(chances).scatter(0, order, ordered)
    return int(torch.multinomial(chances, 1, generator=generator))
