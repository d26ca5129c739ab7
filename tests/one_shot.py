"""The slow truth: transformers' own forward over the whole prompt at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
)

from qvl_cli.chunks import FrameChunk
from qvl_cli.model.load import LoadedModel
from qvl_cli.model.preprocess import patchify
from qvl_cli.prompts import Prompt


class OneShot:
    """transformers with its own sdpa attention, its own convolution and its own positions."""

    def __init__(self, model: LoadedModel) -> None:
        moe = model.spec.model_type == "qwen3_vl_moe"
        kind: Any = Qwen3VLMoeForConditionalGeneration if moe else Qwen3VLForConditionalGeneration
        self.model = model
        self.network = kind.from_pretrained(
            model.spec.folder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()

    def ids(self, clip: FrameChunk, prompt: Prompt) -> list[int]:
        """The prompt written out as text and tokenised with special tokens; user text must hold none."""
        side = self.model.spec.patch_size * self.model.spec.merge_size
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
        tail = "<|im_end|>\n<|im_start|>assistant\n" + ("<think>\n" if self.model.spec.thinking else "")
        parts = (f"<|im_start|>user\n{video}", prompt.before, prompt.query, prompt.after, tail)
        return [i for part in parts for i in self.model.tokenizer.encode(part, add_special_tokens=False)]

    @torch.no_grad()
    def prefill(self, clip: FrameChunk, prompt: Prompt) -> tuple[Tensor, Tensor, DynamicCache, int]:
        """Ids [n], hidden states [n, hidden], the cache and the position of the next token."""
        ids = torch.tensor([self.ids(clip, prompt)])
        steps, _, height, width, _ = clip.frames.shape
        patch = self.model.spec.patch_size
        grid = torch.tensor([[steps, height // patch, width // patch]])
        kinds = (ids == self.model.video_token_id).int() * 2
        positions, delta = self.network.model.get_rope_index(ids, kinds, video_grid_thw=grid)
        cache = DynamicCache(config=self.network.config)
        output = self.network.model(
            input_ids=ids,
            pixel_values_videos=patchify(clip.frames),
            video_grid_thw=grid,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return ids[0], output.last_hidden_state[0], cache, ids.shape[1] + int(delta)

    @torch.no_grad()
    def answer(self, clip: FrameChunk, prompt: Prompt, count: int) -> tuple[Tensor, list[int], Tensor]:
        """Logits [vocabulary] after the prompt, greedy tokens, hidden states [tokens, hidden] at these."""
        _, hidden, cache, place = self.prefill(clip, prompt)
        first = logits = self.network.lm_head(hidden[-1])
        tokens: list[int] = []
        states: list[Tensor] = []
        while len(tokens) < count and (token := int(logits.argmax())) not in self.model.eos_ids:
            step = self.network.model(
                input_ids=torch.tensor([[token]]),
                position_ids=torch.full((3, 1, 1), place + len(tokens)),
                past_key_values=cache,
                use_cache=True,
            )
            tokens.append(token)
            states.append(step.last_hidden_state[0, -1])
            logits = self.network.lm_head(states[-1])
        return first, tokens, torch.stack(states) if states else torch.empty(0, hidden.shape[1])
