"""Tokens at explicit positions -> final hidden states. Knows that there is a cache, not which."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Cache

from qvl_cli.model.load import LoadedModel


@torch.no_grad()
def advance(
    model: LoadedModel,
    cache: Cache,
    ids: Tensor,
    positions: Tensor,
    vision: tuple[Tensor, tuple[Tensor, ...]] | None = None,
) -> Tensor:
    """Run `ids` [n] at `positions` [3, n] after what `cache` holds; returns final-norm hidden states [n,
    hidden].

    vision: the tokens for every `<|video_pad|>` among `ids`, in order, and the DeepStack rows of exactly
    these (`VisionTokens.rows`). No logits are computed: see `last_logits`.
    """
    text = model.network.model.language_model
    ids = ids.to(model.device)
    embedded = text.embed_tokens(ids)
    mask: Tensor | None = None
    rows: list[Tensor] | None = None
    if vision is not None:
        mask = ids == model.video_token_id
        tokens, taps = vision
        embedded[mask] = tokens.to(embedded.dtype)
        mask, rows = mask[None], list(taps)
    output = text(
        inputs_embeds=embedded[None],
        position_ids=positions.to(model.device)[:, None],
        past_key_values=cache,
        use_cache=True,
        visual_pos_masks=mask,
        deepstack_visual_embeds=rows,
    )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


@torch.no_grad()
def last_logits(model: LoadedModel, hidden: Tensor) -> Tensor:
    """float32 [vocabulary]: what follows the last of `hidden` [n, hidden]."""
    logits: Tensor = model.network.lm_head(hidden[-1]).float()
    return logits
