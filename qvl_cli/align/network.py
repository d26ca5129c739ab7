"""The alignment head's network: step features x query states -> per-step scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qvl_cli.align.score import FIGURES


@dataclass(frozen=True, slots=True)
class HeadShape:
    """hidden: width of the language model; width: of the shared space; channels, kernel: of time mixing."""

    hidden: int
    width: int = 96
    channels: int = 64
    kernel: int = 5
    mixers: int = 2

    @property
    def reach(self) -> int:
        """How many steps away what a step is judged by can be."""
        return self.mixers * (self.kernel // 2)

    def to_strings(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items()}


class HeadNetwork(nn.Module):
    """Relevance by matching, boundaries by looking along time.

    Every region of a step meets the query in a shared space, and the step is what its best matching regions
    say (late interaction, as in ColBERT, arXiv 2004.12832, with a softmax for the maximum): one vector for a
    whole step does not tell which of two things on screen does what. The elementwise product of that and the
    query goes through a small convolution over steps, which turns it into inside, first and last logits and
    the two sub-step offsets. The design follows moment retrieval heads such as Moment-DETR's saliency and
    ActionFormer's boundary branches, cut to one scale.
    """

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.step_norm = nn.LayerNorm(shape.hidden)
        self.query_norm = nn.LayerNorm(shape.hidden)
        self.step_key = nn.Linear(shape.hidden, shape.width)
        self.query_value = nn.Linear(shape.hidden, shape.width)
        self.query_weight = nn.Linear(shape.hidden, 1)
        self.enter = nn.Linear(shape.width + 2, shape.channels)
        self.mixers = nn.ModuleList(
            nn.Conv1d(shape.channels, shape.channels, shape.kernel, padding=shape.kernel // 2)
            for _ in range(shape.mixers)
        )
        self.leave = nn.Linear(shape.channels, 5)
        # score of a span, fitted after training: see score.log_chance
        self.score_weight = nn.Parameter(torch.zeros(FIGURES), requires_grad=False)
        self.score_bias = nn.Parameter(torch.zeros(2), requires_grad=False)

    def forward(self, steps: Tensor, query: Tensor, query_mask: Tensor, durations: Tensor) -> Tensor:
        """steps [b, n, regions, hidden], query [b, m, l, hidden] with query_mask [b, m, l] (True = a token),
        durations [b, n] seconds of each step's interval -> [b, m, n, 5]: inside, first and last logits,
        start_at, end_at.
        """
        keys = self.step_key(self.step_norm(steps))
        states = self.query_norm(query)
        weight = self.query_weight(states).squeeze(-1).masked_fill(~query_mask, -1e4).softmax(-1)
        wanted = torch.einsum("bml,bmlw->bmw", weight, self.query_value(states))
        scale = keys.shape[-1] ** -0.5
        fits = torch.einsum("bnrw,bmw->bmnr", keys, wanted) * scale
        chosen = torch.einsum("bmnr,bnrw->bmnw", fits.softmax(-1), keys)
        product = chosen * wanted[:, :, None]
        match = product.sum(-1, keepdim=True) * scale
        spacing = durations.clamp_min(1e-3).log()[:, None, :, None].expand_as(match)
        mixed = self.enter(torch.cat([product, match, spacing], -1))
        batch, queries, count, _ = mixed.shape
        mixed = mixed.flatten(0, 1).transpose(1, 2)
        for mixer in self.mixers:
            mixed = mixed + F.gelu(mixer(F.gelu(mixed)))
        scores = self.leave(mixed.transpose(1, 2)).view(batch, queries, count, 5)
        # the match also reaches the inside logit directly: relevance learns before the mixing does
        inside = scores[..., :1] + match
        return torch.cat([inside, scores[..., 1:3], scores[..., 3:].sigmoid()], -1)
