"""The attention qvl registers with transformers, for a cache carried from chunk to chunk.

Upstream's sdpa builds a [q, kv] mask for every carried chunk and repeats the KV heads. Here past keys are
attended without a mask, the chunk's own keys causally, and the two are merged by their logsumexp; query heads
of one KV head are folded together, so keys are never repeated. The vision tower's attention runs all steps of
a chunk in one call.

Where rotary pairs are dropped, queries lose the channels that cached keys do not have (`prune`), and scores
are computed over the others: by plain products, tile by tile, for the kernels want keys as wide as values.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

NAME = "qvl"
_TILE = 2_048  # past keys whose scores exist at once, where pairs are dropped
_CPU_FLASH = "_scaled_dot_product_flash_attention_for_cpu"  # the one that tells its logsumexp


def register() -> None:
    """Make `attn_implementation="qvl"` known to transformers."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _no_mask)


def prune(language_model: Any, kept: range) -> None:
    """Attend over these rotary pairs only, in every layer: each is channels i and i + head_dim / 2."""
    for layer in language_model.layers:
        layer.self_attn.qvl_kept = kept


def narrowed(states: Tensor, kept: range) -> Tensor:
    """The channels of these rotary pairs: [..., head_dim] -> [..., 2 * len(kept)]."""
    pairs = states.view(*states.shape[:-1], 2, -1)
    return pairs[..., kept.start : kept.stop].flatten(-2)


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    return None


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    qvl_steps: int = 1,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention signature: query [batch, heads, q, d], key and value [batch, kv_heads, kv, d]
    -> [batch, q, heads, d]. After `prune`, keys are as narrow as they are cached.

    The last q keys are the queries' own. qvl_steps: the vision tower's sequence is so many equal, independent
    steps.
    """
    if attention_mask is not None:
        raise ValueError("qvl's attention takes no mask: sequences are never padded")
    if not getattr(module, "is_causal", True):
        return _by_step(query, key, value, qvl_steps, scaling), None
    if (kept := getattr(module, "qvl_kept", None)) is not None:
        return _pruned(narrowed(query, kept), key, value, scaling).transpose(1, 2), None
    if query.shape[0] == 1 and query.device.type == "cpu" and hasattr(torch.ops.aten, _CPU_FLASH):
        return _merged(query[0], key[0], value[0], scaling).transpose(0, 1)[None], None
    return _exact(query, key, value, scaling).transpose(1, 2), None


def _by_step(query: Tensor, key: Tensor, value: Tensor, steps: int, scaling: float | None) -> Tensor:
    """Full attention inside each step: [1, heads, steps * n, d] -> [1, steps * n, heads, d]."""
    _, heads, total, width = query.shape
    split = (heads, steps, total // steps, width)
    q, k, v = (tensor[0].reshape(split).transpose(0, 1) for tensor in (query, key, value))
    mixed = scaled_dot_product_attention(q, k, v, scale=scaling)  # [steps, heads, n, d]
    return mixed.transpose(1, 2).reshape(1, total, heads, width)


def _merged(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Past without mask + present causally.

    query [heads, q, d], key, value [kv_heads, kv, d] -> [heads, q, d].
    """
    heads, count, width = query.shape
    kv_heads, total, _ = key.shape
    group, past = heads // kv_heads, total - count
    folded = query.reshape(1, kv_heads, group * count, width)
    if count == 1:  # one query sees everything: no causality left
        return _flash(folded, key[None], value[None], False, scaling)[0].reshape(heads, 1, width)
    # [kv_heads, group, ...]: batch and heads of the kernel; keys are expanded, not copied
    own_k, own_v = (t[:, None, past:].expand(kv_heads, group, count, width) for t in (key, value))
    present, present_lse = _flash(query.view(kv_heads, group, count, width), own_k, own_v, True, scaling)
    present = present.reshape(heads, count, width)
    if past == 0:
        return present
    before, before_lse = _flash(folded, key[None, :, :past], value[None, :, :past], False, scaling)
    before = before.reshape(heads, count, width)
    # softmax over both parts: weights exp(lse) normalised; sigmoid of the difference cannot overflow
    share = torch.sigmoid(before_lse.reshape(heads, count) - present_lse.reshape(heads, count))
    return torch.lerp(present.float(), before.float(), share[..., None].float()).to(query.dtype)


def _flash(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float | None
) -> tuple[Tensor, Tensor]:
    """Output and logsumexp [batch, heads, q] of torch's CPU flash attention."""
    output, lse = getattr(torch.ops.aten, _CPU_FLASH)(query, key, value, 0.0, causal, scale=scaling)
    return output, lse


def _exact(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """The plain path for other devices: sdpa with the causal diagonal in the lower right corner."""
    count, total = query.shape[2], key.shape[2]
    grouped = query.shape[1] != key.shape[1]
    if count == 1:
        return scaled_dot_product_attention(query, key, value, scale=scaling, enable_gqa=grouped)
    if count == total:
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
        )
    if grouped and query.dtype == torch.float32:
        # only the half-precision kernels know groups; without this float32 would hold all scores at once
        key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], dim=1) for t in (key, value))
        grouped = False
    bias: Any = causal_lower_right(count, total)
    return scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scaling, enable_gqa=grouped)


def _pruned(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Keys narrower than values: query [batch, heads, q, k], key [batch, kv_heads, kv, k], value [batch,
    kv_heads, kv, d] -> [batch, heads, q, d]."""
    batch, heads, count, width = query.shape
    kv_heads, total, deep = key.shape[1], key.shape[2], value.shape[-1]
    scale = value.shape[-1] ** -0.5 if scaling is None else scaling
    folded = (query * scale).reshape(batch, kv_heads, heads // kv_heads * count, width)
    ahead = torch.ones(count, count, dtype=torch.bool, device=query.device).triu(1)
    most = folded.new_full((*folded.shape[:3], 1), -torch.inf, dtype=torch.float32)
    weight, mixed = torch.zeros_like(most), value.new_zeros((*folded.shape[:3], deep), dtype=torch.float32)
    past = total - count
    edges = [*range(0, past, _TILE), past, total]  # the last tile is the queries' own keys
    for first, last in pairwise(edges):
        scores = (folded @ key[:, :, first:last].transpose(2, 3)).float()
        if last == total and count > 1:
            scores.view(batch, kv_heads, -1, count, count).masked_fill_(ahead, -torch.inf)
        higher = torch.maximum(most, scores.amax(dim=-1, keepdim=True))
        shrunk = (most - higher).exp_()
        scores = scores.sub_(higher).exp_()
        weight = weight * shrunk + scores.sum(dim=-1, keepdim=True)
        mixed = mixed * shrunk + (scores.to(value.dtype) @ value[:, :, first:last]).float()
        most = higher
    return (mixed / weight).to(query.dtype).view(batch, heads, count, deep)
