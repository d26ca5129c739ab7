"""The peer, and the slow truth of the tests: transformers' own forward over the whole prompt at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
)

from qvl_cli.chunks import FrameChunk
from qvl_cli.model.preprocess import patchify
from qvl_cli.model.tokens import load_codec
from qvl_cli.prompts import Prompt
from qvl_cli.registry import ModelSpec


@dataclass(frozen=True, slots=True)
class OneShotInputs:
    """What transformers' forward takes.

    ids: int64 [1, n]; pixels: float32 [patches, 1536]; grid: int64 [1, 3], steps and rows and columns in
    patches; positions: int64 [3, 1, n]; next_position: of the token after these.
    """

    ids: Tensor
    pixels: Tensor
    grid: Tensor
    positions: Tensor
    next_position: int


class OneShot:
    """transformers with its own sdpa attention, its own convolution and its own positions, in float32."""

    def __init__(self, spec: ModelSpec) -> None:
        moe = spec.model_type == "qwen3_vl_moe"
        kind: Any = Qwen3VLMoeForConditionalGeneration if moe else Qwen3VLForConditionalGeneration
        self.spec = spec
        self.tokenizer = load_codec(spec.folder).tokenizer
        self.network = kind.from_pretrained(
            spec.folder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()

    def ids(self, clip: FrameChunk, prompt: Prompt) -> list[int]:
        """The prompt written out as text and tokenised with special tokens; user text must hold none."""
        side = self.spec.patch_size * self.spec.merge_size
        _, _, height, width, _ = clip.frames.shape
        pads = "<|video_pad|>" * ((height // side) * (width // side))
        video = "".join(
            "".join(
                f"Subtitle <{float(cue.span.start):.1f} - {float(cue.span.end):.1f} seconds>: {cue.text}\n"
                for cue in step.cues
            )
            + f"<{float((step.t0 + step.t1) / 2):.1f} seconds><|vision_start|>{pads}<|vision_end|>"
            for step in clip.steps
        )
        tail = "<|im_end|>\n<|im_start|>assistant\n" + ("<think>\n" if self.spec.thinking else "")
        parts = (f"<|im_start|>user\n{video}", prompt.before, prompt.query, prompt.after, tail)
        return [i for part in parts for i in self.tokenizer.encode(part, add_special_tokens=False)]

    def inputs(self, clip: FrameChunk, prompt: Prompt) -> OneShotInputs:
        """Everything the forward reads, the normalised patches of the whole clip included."""
        ids = torch.tensor([self.ids(clip, prompt)])
        steps, _, height, width, _ = clip.frames.shape
        patch = self.spec.patch_size
        grid = torch.tensor([[steps, height // patch, width // patch]])
        kinds = (ids == self.network.config.video_token_id).int() * 2
        positions, delta = self.network.model.get_rope_index(ids, kinds, video_grid_thw=grid)
        return OneShotInputs(ids, _patches(clip), grid, positions, ids.shape[1] + int(delta))

    @torch.no_grad()
    def forward(self, inputs: OneShotInputs) -> tuple[Tensor, DynamicCache]:
        """Hidden states [n, hidden] and the cache `generate` would go on with."""
        cache = DynamicCache(config=self.network.config)
        output = self.network.model(
            input_ids=inputs.ids,
            pixel_values_videos=inputs.pixels,
            video_grid_thw=inputs.grid,
            position_ids=inputs.positions,
            past_key_values=cache,
            use_cache=True,
        )
        return output.last_hidden_state[0], cache

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [vocabulary] after the last position, as `logits_to_keep=1` does."""
        logits: Tensor = self.network.lm_head(hidden[-1])
        return logits


def _patches(clip: FrameChunk) -> Tensor:
    """`patchify`, step by step: while it works it takes no more than what it returns."""
    first = patchify(clip.frames[:1])
    patches = torch.empty((len(clip.steps), *first.shape))
    for step, frames in zip(patches, clip.frames, strict=True):
        step.copy_(patchify(frames[None]))
    return patches.flatten(0, 1)
