"""One resumable training loop for every stage: seeded batches, a schedule, checkpoints, a line of log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qvl_cli.tiny.recipe import Stage

SAVE_EVERY, LOG_EVERY = 200, 25


def learning_rate(stage: Stage, update: int) -> float:
    """Linear warmup, a cosine from the peak to a tenth of it over the horizon, a linear cooldown to zero."""
    if update < stage.warmup:
        return stage.lr * (update + 1) / stage.warmup
    done = min(1.0, (update - stage.warmup) / (stage.horizon - stage.warmup))
    cooling = min(1.0, (stage.updates - update) / stage.cooldown)
    return stage.lr * (0.55 + 0.45 * math.cos(math.pi * done)) * cooling


def run_stage(
    stage: Stage,
    run: Path,
    modules: Mapping[str, nn.Module],
    make_batch: Callable[[int], Any],
    loss_of: Callable[[Any], tuple[Tensor, dict[str, float]]],
) -> None:
    """Train `modules` for stage.updates; make_batch(update) depends on the update alone, so a resumed run is
    the same run. Writes RUN/STAGE.pt and RUN/log.jsonl.
    """
    run.mkdir(parents=True, exist_ok=True)
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=stage.lr, betas=(0.9, 0.98), weight_decay=0.02, fused=True)
    saved = run / f"{stage.name}.pt"
    first = 0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        optimizer.load_state_dict(state["optimizer"])
        first = int(state["update"])
    if first >= stage.updates:  # done before: its weights are loaded, and no batch is made for nothing
        return
    means: dict[str, float] = {}
    began = time.monotonic()
    with ThreadPoolExecutor(1) as ahead:
        upcoming = ahead.submit(make_batch, first)
        for update in range(first, stage.updates):
            batch = upcoming.result()
            if update + 1 < stage.updates:
                upcoming = ahead.submit(make_batch, update + 1)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(stage, update)
            loss, figures = loss_of(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            for key, value in {"loss": loss.item(), **figures}.items():
                if not math.isnan(value):
                    means[key] = value if key not in means else 0.95 * means[key] + 0.05 * value
            if (update + 1) % LOG_EVERY == 0:
                line = {"stage": stage.name, "update": update + 1, "s": round(time.monotonic() - began, 1)}
                with (run / "log.jsonl").open("a") as log:
                    log.write(json.dumps({**line, **{k: round(v, 4) for k, v in means.items()}}) + "\n")
            if (update + 1) % SAVE_EVERY == 0 or update + 1 == stage.updates:
                states = {name: module.state_dict() for name, module in modules.items()}
                partial = saved.with_suffix(".partial")
                torch.save(
                    {"modules": states, "optimizer": optimizer.state_dict(), "update": update + 1}, partial
                )
                partial.replace(saved)
