"""Where words look: two attention heads are shown the vision tokens that each word is about.

Retrieval by colour emerges from the answers alone, retrieval by shape or action does not in any affordable
time. In the first layer every word that names a shape, a colour or an action looks at what it names; in a
later one each token of an answer looks, from the place before it, at what proves it. For what does not show
they look at the first token of the prompt. The loss is the negative log of the share of attention on the
right tokens; what the network does with what it finds there is learned from the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from qvl_cli.tiny.perception import IGNORE
from qvl_cli.tiny.questions import DOES

if TYPE_CHECKING:
    from qvl_cli.tiny.clips import Clip

NAME_LAYER, NAME_HEAD = 0, 3  # before DeepStack adds to the vision tokens
ANSWER_LAYER, ANSWER_HEAD = 2, 0


@dataclass(frozen=True, slots=True)
class LookupTarget:
    """What a token should look at. row: its place in the sequence; wanted: shape, colour and action as in
    `step_labels`, 0 for any, and a cell has to have all; steps: only in steps [first, last)."""

    row: int
    wanted: tuple[int, int, int]
    steps: tuple[int, int]


def action_words(action: str) -> set[str]:
    """The words that tell an action from the others: `left` of `is moving left`."""
    return {phrase.split()[-1] for phrase in DOES[action]}


@contextmanager
def attention_inputs(attention: nn.Module) -> Iterator[dict[str, Any]]:
    """Collects what the attention module is called with."""
    seen: dict[str, Any] = {}

    def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.update(kwargs, hidden_states=kwargs.get("hidden_states", args[0] if args else None))

    handle = attention.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def lookup_loss(
    attention: Any,
    seen: dict[str, Any],
    clips: Sequence[Clip],
    head: int,
    lookups: Sequence[Sequence[LookupTarget]],
) -> tuple[Tensor, float]:
    """Mean loss over the rows of all lookups of each clip, and the mean share of attention on the right
    tokens."""
    hidden, (cos, sin) = seen["hidden_states"], seen["position_embeddings"]
    shape = (*hidden.shape[:2], -1, attention.head_dim)
    query = attention.q_norm(attention.q_proj(hidden).view(shape)).transpose(1, 2)
    key = attention.k_norm(attention.k_proj(hidden).view(shape)).transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    query, key = query[:, head], key[:, head // attention.num_key_value_groups]
    mask = seen["attention_mask"][:, 0]
    losses = [hidden.new_zeros(0)]
    for i, (clip, mine) in enumerate(zip(clips, lookups, strict=True)):
        if not mine:
            continue
        rows = torch.tensor([each.row for each in mine], device=hidden.device)
        right, unclear = wanted_tokens(clip, mine, hidden.shape[1], hidden.device)
        scores = query[i, rows] @ key[i].T * attention.scaling + mask[i, rows]
        scores = scores.masked_fill(unclear, -torch.inf)
        found = scores.masked_fill(~right, -torch.inf).logsumexp(-1)
        losses.append(scores.logsumexp(-1) - found)
    every = torch.cat(losses)
    if not len(every):
        return hidden.sum() * 0.0, float("nan")
    return every.mean(), torch.exp(-every).mean().item()


def wanted_tokens(
    clip: Clip, lookups: Sequence[LookupTarget], length: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """bool [rows, length]: the right tokens of every row, and bool [length]: vision tokens that show an actor
    too little to be right or wrong."""
    labels = torch.from_numpy(clip.labels).to(device)
    steps, cells, _ = labels.shape
    ends = torch.tensor(clip.ends, device=device)
    places = (ends[:, None] - cells + torch.arange(cells, device=device)).flatten()
    wanted = torch.tensor([each.wanted for each in lookups], device=device)
    reach = torch.tensor([each.steps for each in lookups], device=device)
    count = torch.arange(steps, device=device)
    shown = ((labels[None] == wanted[:, None, None]) | (wanted[:, None, None] == 0)).all(-1)
    shown &= ((count >= reach[:, :1]) & (count < reach[:, 1:]))[..., None]
    right = torch.zeros(len(wanted), length, dtype=torch.bool, device=device)
    right[:, places] = shown.flatten(1)
    right[:, 0] = ~right.any(1)
    unclear = torch.zeros(length, dtype=torch.bool, device=device)
    unclear[places] = (labels[..., 0] == IGNORE).flatten()
    return right, unclear
