"""Patches -> vision tokens and DeepStack rows, the steps of a chunk in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qvl_cli.model.load import LoadedModel
from qvl_cli.model.preprocess import as_tensor, patchify


@dataclass(frozen=True, slots=True)
class VisionTokens:
    """What the language model gets of some steps.

    tokens: [steps, tokens per step, hidden], the merged patches; deepstack: per tapped layer
    [steps * tokens per step, hidden], the rows added after the first language layers.
    """

    tokens: Tensor
    deepstack: tuple[Tensor, ...]

    def rows(self, kept: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens [n, hidden] and DeepStack rows [n, hidden] of each tap, step after step; kept: bool [steps,
        tokens per step], None for all."""
        tokens = self.tokens.flatten(0, 1)
        if kept is None:
            return tokens, self.deepstack
        chosen = kept.flatten().to(tokens.device)
        return tokens[chosen], tuple(tap[chosen] for tap in self.deepstack)


@torch.no_grad()
def encode_steps(model: LoadedModel, frames: npt.NDArray[np.uint8] | Tensor) -> VisionTokens:
    """Encode uint8 frames [steps, 2, height, width, 3].

    Attention stays inside a step, so any grouping of steps gives the same tokens.
    """
    spec = model.spec
    steps, _, height, width, _ = frames.shape
    pixels = as_tensor(frames).to(model.device)
    patches = patchify(pixels, spec.patch_size, spec.merge_size)
    rows, columns = height // spec.patch_size, width // spec.patch_size
    output = model.network.model.visual(
        patches.to(model.dtype),
        grid_thw=torch.tensor([[steps, rows, columns]], device=model.device),
        # one segment for upstream; our attention splits it into equal steps
        cu_seqlens=torch.tensor([0, steps * rows * columns], device=model.device, dtype=torch.int32),
        qvl_steps=steps,
        return_dict=True,
    )
    tokens = output.pooler_output
    return VisionTokens(tokens.view(steps, -1, tokens.shape[-1]), tuple(output.deepstack_features))
