"""Does this checkpoint know this kind of video? A small in-world score over what the vision tower saw."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from qvl_cli.errors import ModelMissing
from qvl_cli.registry import GATE_FILE

_WIDTH = 64


class WorldGate(nn.Module):
    """Mean in-world logit of the steps seen so far, against a threshold set on training videos.

    Two opinions, the more sceptical one counts: a classifier trained against other kinds of pictures, and
    the distance from the mean of the world's own steps (Mahalanobis), which needs no examples of the rest.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(hidden), requires_grad=False)
        self.whiten = nn.Parameter(torch.eye(hidden), requires_grad=False)
        self.reach = nn.Parameter(torch.ones(()), requires_grad=False)
        self.threshold = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.inner = nn.Linear(hidden, _WIDTH)
        self.outer = nn.Linear(_WIDTH, 1)

    def distances(self, vision_means: Tensor) -> Tensor:
        """Mahalanobis distance of each step, [steps, hidden] -> [steps], 1.0 = the reach of the world."""
        white = (vision_means - self.mean) @ self.whiten
        return torch.as_tensor(torch.linalg.vector_norm(white, dim=-1) / self.reach)

    def forward(self, vision_means: Tensor) -> Tensor:
        """In-world logit of each step, [steps, hidden] -> [steps]."""
        white = ((vision_means - self.mean) @ self.whiten).clamp(-20, 20)
        return torch.as_tensor(self.outer(nn.functional.gelu(self.inner(white))).squeeze(-1))

    @torch.inference_mode()
    def accepts(self, vision_means: Tensor) -> bool:
        """Whether steps with these mean vision tokens [steps, hidden] are of the checkpoint's world."""
        steps = vision_means.to(self.mean.device)
        return bool(self(steps).mean() >= self.threshold) and bool(self.distances(steps).mean() <= 1.0)

    def judge(self) -> WorldJudge:
        return WorldJudge(self)

    @classmethod
    def load(cls, folder: Path) -> WorldGate:
        """The gate beside a checkpoint's weights. Raises ModelMissing where it is not whole."""
        try:
            weights = load_file(folder / GATE_FILE)
            gate = cls(len(weights["mean"]))
            gate.load_state_dict(weights)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise ModelMissing(f"{folder / GATE_FILE} is not a whole gate ({error})", "restore it") from error
        return gate.eval()

    def save(self, folder: Path) -> None:
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / GATE_FILE)


class WorldJudge:
    """`WorldGate.accepts` of a growing number of steps, each of which is looked at once."""

    def __init__(self, gate: WorldGate) -> None:
        self._gate = gate
        self.steps = 0
        self._logits = self._distances = 0.0

    @torch.inference_mode()
    def accepts(self, vision_means: Tensor) -> bool:
        """The verdict on all steps up to now, `vision_means` [steps, hidden] of those since the last call."""
        steps = vision_means.to(self._gate.mean.device)
        self.steps += len(steps)
        self._logits += float(self._gate(steps).double().sum())
        self._distances += float(self._gate.distances(steps).double().sum())
        in_world = self._logits / self.steps >= float(self._gate.threshold)
        return in_world and self._distances / self.steps <= 1.0
