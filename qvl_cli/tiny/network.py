"""Training-time forward of the embedded vision tower: many equal steps in one call, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    apply_rotary_pos_emb_vision,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from qvl_cli.model.preprocess import patchify


def encode_steps(visual: Any, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Vision tower over equal steps in one batch.

    frames: uint8 [steps, 2, height, width, 3]. Returns merged tokens [steps, cells, hidden] and
    one such tensor per tap.
    """
    steps, _, height, width, _ = frames.shape
    patch = visual.config.patch_size
    grid = torch.tensor([[1, height // patch, width // patch]], device=frames.device)
    patches = patchify(frames).view(steps, height * width // patch**2, -1)
    merge = visual.config.spatial_merge_size
    cells = (steps, patches.shape[1] // merge**2, -1)
    hidden, tapped = _run_blocks(visual, patches, grid)
    tokens = visual.merger(hidden).view(cells)
    taps = [merger(h).view(cells) for merger, h in zip(visual.deepstack_merger_list, tapped, strict=True)]
    return tokens, taps


def _run_blocks(visual: Any, patches: Tensor, grid_thw: Tensor) -> tuple[Tensor, list[Tensor]]:
    steps, count, _ = patches.shape
    merge = visual.config.spatial_merge_size
    places, weights = get_vision_interpolation_indices_and_weights(
        grid_thw,
        num_grid_per_side=visual.num_grid_per_side,
        mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners,
        spatial_merge_size=merge,
    )
    kernel = visual.patch_embed.proj
    hidden = F.linear(patches, kernel.weight.flatten(1), kernel.bias)
    hidden = hidden + (visual.pos_embed(places) * weights[:, :, None]).sum(1)
    cos, sin = visual.rotary_pos_emb(hidden, get_vision_position_ids(grid_thw, merge))
    tapped = []
    for index, block in enumerate(visual.blocks):
        attention = block.attn
        qkv = attention.qkv(block.norm1(hidden)).view(steps, count, 3, attention.num_heads, -1)
        query, key, value = qkv.unbind(2)
        query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
        mixed = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (query, key, value)))
        hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(steps, count, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
        if index in visual.deepstack_visual_indexes:
            tapped.append(hidden)
    return hidden, tapped
