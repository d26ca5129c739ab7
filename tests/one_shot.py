"""The slow truth: transformers' own forward over the whole prompt at once, then its own greedy decoding."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache

from qvl_cli.bench import one_shot
from qvl_cli.chunks import FrameChunk
from qvl_cli.model.load import LoadedModel
from qvl_cli.prompts import Prompt


class OneShot(one_shot.OneShot):
    """The peer of a loaded model, on the same folder."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model.spec)
        self.model = model

    def prefill(self, clip: FrameChunk, prompt: Prompt) -> tuple[Tensor, Tensor, DynamicCache, int]:
        """Ids [n], hidden states [n, hidden], the cache and the position of the next token."""
        inputs = self.inputs(clip, prompt)
        hidden, cache = self.forward(inputs)
        return inputs.ids[0], hidden, cache, inputs.next_position

    @torch.no_grad()
    def answer(self, clip: FrameChunk, prompt: Prompt, count: int) -> tuple[Tensor, list[int], Tensor]:
        """Logits [vocabulary] after the prompt, greedy tokens, hidden states [tokens, hidden] at these."""
        _, hidden, cache, place = self.prefill(clip, prompt)
        first = logits = self.logits(hidden)
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
