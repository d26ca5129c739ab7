"""Where an answer looks: one attention head is shown the vision tokens that prove each answer.

Retrieval by colour emerges from the answers alone, retrieval by shape or action does not in any affordable
time. The loss is the negative log of the share of attention that one head of one layer spends on the right
tokens; everything else the network does with what it finds there is learned from the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from qvl_cli.tiny.clips import Clip, LookupTarget

Rows = tuple[int, ...]

ANSWER_LAYER, ANSWER_HEAD = 2, 0  # from here the token before an answer's word looks
NAME_LAYER, NAME_HEAD = 0, 3  # from here the name itself looks, before DeepStack adds to the vision tokens


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
    clips: list[Clip],
    head: int,
    rows_of: Callable[[LookupTarget], Rows],
) -> tuple[Tensor, float]:
    """Mean loss over the rows of all lookups, and the mean share of attention on the right tokens."""
    hidden, (cos, sin) = seen["hidden_states"], seen["position_embeddings"]
    shape = (*hidden.shape[:2], -1, attention.head_dim)
    query = attention.q_norm(attention.q_proj(hidden).view(shape)).transpose(1, 2)
    key = attention.k_norm(attention.k_proj(hidden).view(shape)).transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    query, key = query[:, head], key[:, head // attention.num_key_value_groups]
    mask = seen["attention_mask"][:, 0]
    losses = []
    for i, clip in enumerate(clips):
        for lookup in clip.lookups:
            rows = list(rows_of(lookup))
            scores = query[i, rows] @ key[i].T * attention.scaling + mask[i, rows]
            losses.append(scores.logsumexp(-1) - scores[:, list(lookup.keys)].logsumexp(-1))
    if not sum(map(len, losses)):
        return hidden.sum() * 0.0, float("nan")
    every = torch.cat(losses)
    return every.mean(), torch.exp(-every).mean().item()
