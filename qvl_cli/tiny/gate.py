"""The world gate's stage: the tower's view of the drawn world against its view of everything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from qvl_cli.model.world_gate import WorldGate
from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.network import encode_steps
from qvl_cli.tiny.outside import outside_step
from qvl_cli.tiny.perception import FRAME_GAP, film_look
from qvl_cli.tiny.recipe import GATE
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import HEIGHT, WIDTH, check_training_seed, rng_for

WINDOW = 8  # steps judged together, as in the first chunk of a video
INSIDE, OUTSIDE = 700, 420  # windows of each; one in five is kept for the thresholds


def inside_window(seed: int) -> npt.NDArray[np.uint8]:
    """Eight consecutive steps of the drawn world, uint8 [8, 2, H, W, 3]."""
    check_training_seed(seed)
    rng = rng_for(seed, "gate")
    script = write_script(seed, 40.0)
    start = float(rng.uniform(0, 40.0 - WINDOW))
    times = [start + i + gap for i in range(WINDOW) for gap in (0.0, FRAME_GAP)]
    return film_look(draw(script, times), rng).reshape(WINDOW, 2, HEIGHT, WIDTH, 3)


def outside_window(seed: int) -> npt.NDArray[np.uint8]:
    """Eight unrelated steps from outside the world, uint8 [8, 2, H, W, 3]."""
    check_training_seed(seed)
    rng = rng_for(seed, "outside")
    return np.stack([outside_step(rng) for _ in range(WINDOW)])


def train_gate(network: Any, device: torch.device) -> tuple[WorldGate, dict[str, float]]:
    """The gate and what it does on the windows kept back: shares accepted inside and outside."""
    inside = _means(network, (inside_window(GATE.first_seed + i) for i in range(INSIDE)), device)
    outside = _means(network, (outside_window(GATE.first_seed + i) for i in range(OUTSIDE)), device)
    kept, learned = inside[: INSIDE // 5], inside[INSIDE // 5 :]
    kept_out, learned_out = outside[: OUTSIDE // 5], outside[OUTSIDE // 5 :]
    torch.manual_seed(GATE.first_seed)
    gate = WorldGate(inside.shape[-1]).to(device)
    _fit_distance(gate, learned.flatten(0, 1))
    optimizer = torch.optim.AdamW(gate.parameters(), lr=GATE.lr, weight_decay=0.1)
    for _ in range(GATE.updates):
        yes = learned.flatten(0, 1)[torch.randint(learned.shape[0] * WINDOW, (GATE.batch,))]
        no = learned_out.flatten(0, 1)[torch.randint(learned_out.shape[0] * WINDOW, (GATE.batch,))]
        truth = torch.cat([torch.ones(GATE.batch), torch.zeros(GATE.batch)]).to(device)
        loss = F.binary_cross_entropy_with_logits(gate(torch.cat([yes, no])), truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        lowest = gate(kept).mean(1).quantile(0.002)
        highest = gate(kept_out).mean(1).max()
        gate.threshold.copy_(lowest.clamp(max=0.0))
    return gate.eval(), {
        "inside_accepted": float(np.mean([gate.accepts(window) for window in kept])),
        "outside_accepted": float(np.mean([gate.accepts(window) for window in kept_out])),
        "inside_lowest": float(lowest),
        "outside_highest": float(highest),
    }


@torch.no_grad()
def _means(network: Any, windows: Iterator[npt.NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Mean vision tokens [windows, 8, hidden]."""
    return torch.stack(
        [
            encode_steps(network.model.visual, torch.from_numpy(frames).to(device))[0].mean(1)
            for frames in windows
        ]
    )


@torch.no_grad()
def _fit_distance(gate: WorldGate, steps: Tensor) -> None:
    gate.mean.copy_(steps.mean(0))
    centred = (steps - gate.mean).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(steps))
    floor = values.max() * 1e-4  # directions the world hardly uses must not decide alone
    gate.whiten.copy_((vectors / (values + floor).sqrt()).float())
    gate.reach.fill_(1.0)
    gate.reach.copy_(gate.distances(steps).quantile(0.998) * 1.1)
