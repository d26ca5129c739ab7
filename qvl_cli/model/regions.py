"""What a step says of each part of its picture, and of the whole: what an alignment head judges it by."""

from __future__ import annotations

import torch
from torch import Tensor

from qvl_cli.model.preprocess import ChunkTokens
from qvl_cli.registry.regions import region_grid


def step_features(
    hidden: Tensor,
    prompt: ChunkTokens,
    rows: int,
    columns: int,
    kept: Tensor | None = None,
    before: Tensor | None = None,
) -> Tensor:
    """hidden [n, hidden]: final-norm states of the tokens of `prompt`, steps of rows x columns vision tokens
    -> float32 [steps, regions + 1, hidden]: the mean over the vision tokens of each region, row by row, and
    last the state at `<|vision_end|>`.

    kept: bool [steps, rows * columns], the vision tokens there are, as in `step_tokens`. A region that has
    none of its own is unchanged: it says what it said in the step before, the last of which has `before`
    [regions + 1, hidden], and at the very first what the end of its step says.
    """
    whole = hidden[prompt.ends.to(hidden.device)].float()
    shown = hidden[prompt.vision.to(hidden.device)].float()
    belongs = _memberships(rows, columns).to(hidden.device)  # [regions, tokens]
    if kept is None:
        tokens = shown.view(len(whole), rows * columns, -1)
        shares = (belongs / belongs.sum(1, keepdim=True)).expand(len(whole), -1, -1)
        return torch.cat([shares @ tokens, whole[:, None]], dim=1)
    there = kept.to(hidden.device)
    tokens = shown.new_zeros((*there.shape, shown.shape[1]))
    tokens[there] = shown
    own = belongs * there[:, None]
    counts = own.sum(2, keepdim=True)
    features = torch.cat([own @ tokens / counts.clamp_min(1), whole[:, None]], dim=1)
    for step, empty in enumerate(counts[..., 0] == 0):
        past = before if step == 0 else features[step - 1]
        features[step, :-1][empty] = whole[step] if past is None else past[:-1][empty]
    return features


def _memberships(rows: int, columns: int) -> Tensor:
    """float32 [regions, rows * columns]: 1 where a token lies in a region."""
    down, across = region_grid(rows, columns)
    row = torch.arange(rows).repeat_interleave(columns) * down // rows
    column = torch.arange(columns).repeat(rows) * across // columns
    region = row * across + column
    return (region == torch.arange(down * across)[:, None]).float()
