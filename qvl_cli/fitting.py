"""A plan and what this machine has -> how much of the video is kept, said and checked before any load."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qvl_cli.budget import check_budget, check_weights, choose_memory, estimate, free_memory
from qvl_cli.memory import MemorySettings, what_is_lost
from qvl_cli.registry import ModelSpec
from qvl_cli.request import Request
from qvl_cli.sampling import SamplePlan


@dataclass(frozen=True, slots=True)
class Fit:
    """memory: how much of a plan is kept; spilled: bytes of it that must go to disk; notes: what the user
    must know of both."""

    memory: MemorySettings
    spilled: int
    notes: tuple[str, ...]


def fit(plan: SamplePlan, spec: ModelSpec, request: Request, loaded: bool = False) -> Fit:
    """What of the plan is kept. Raises OverBudget for what would not fit, before any load. loaded: the
    weights are in memory already, and no longer in what is free."""
    from qvl_cli.model.load import pick_device, pick_dtype

    spec, device = counted(plan, spec), pick_device(request.device)
    size = pick_dtype(request.dtype, device, spec).itemsize
    free, has = _room(request, estimate(plan, spec, size).weights if loaded else 0)
    memory = choose_memory(plan, spec, free, size, request.memory)
    need = check_budget(plan, spec, free, size, request.steps_per_chunk, memory, has)
    beside = free - need.bytes if device.type == "cpu" else free_memory()
    spilled = need.kept if need.kept > beside else 0
    return Fit(memory, spilled, _notes(plan, spec, request, memory, spilled))


def fit_weights(spec: ModelSpec, request: Request) -> None:
    """Raises OverBudget where the weights would not fit even without a video."""
    from qvl_cli.model.load import pick_device, pick_dtype

    size = pick_dtype(request.dtype, pick_device(request.device), spec).itemsize
    free, has = _room(request)
    check_weights(spec, free, size, has)


def _room(request: Request, loaded: int = 0) -> tuple[int, int]:
    """Bytes the run may take, and that it could take without `--max-memory`. loaded: bytes of weights that
    are in memory already."""
    has = free_on_device(request)[0] + loaded
    return has if request.max_memory is None else min(has, request.max_memory), has


def _notes(
    plan: SamplePlan, spec: ModelSpec, request: Request, memory: MemorySettings, spilled: int
) -> tuple[str, ...]:
    """spec: with its tokens counted for this plan."""
    head = request.aligner != "text" and spec.has_alignment_head
    notes = what_is_lost(plan.steps, memory, spec.block_steps, head)
    wanted = request.memory
    if wanted.policy == "auto" and memory.policy != "full":
        why, need = "does not fit into memory", estimate(plan, spec, 4).positions
        if need > spec.max_positions:
            why = f"takes {need:,} positions and {spec.name} holds {spec.max_positions:,}"
        notes = (f"the whole video {why}: --memory {memory.policy}", *notes)
    if memory.window != wanted.window:
        notes = (
            *notes,
            f"the window is {float(memory.window):g} s instead of {float(wanted.window):g} s: "
            f"{spec.name} holds {spec.max_positions:,} positions",
        )
    if spilled:
        notes = (*notes, f"blocks go to a temporary file of up to {spilled / 2**20:.0f} MiB")
    return notes


def counted(plan: SamplePlan, spec: ModelSpec) -> ModelSpec:
    """`spec` with the tokens of a printed time counted for this plan, where the safe guess would not fit."""
    if estimate(plan, spec, 4).positions <= spec.max_positions:
        return spec
    from qvl_cli.model.preprocess import time_text
    from qvl_cli.model.tokens import load_codec

    codec = load_codec(spec.folder)
    longest = max(len(codec.encode_text(time_text(step))) for step in plan.steps)
    return replace(spec, step_text=longest + 2)  # and the brackets around the picture


def free_on_device(request: Request) -> tuple[int, int]:
    """Free bytes where the model will run, and the bytes one of its weights will take at most."""
    from qvl_cli.model.load import fast_bfloat16, pick_device
    from qvl_cli.model.memory import free_bytes

    device = pick_device(request.device)
    if device.type == "cpu":
        return free_memory(), 4
    wide = request.dtype == "float32" or (request.dtype == "auto" and not fast_bfloat16(device))
    return free_bytes(device), 4 if wide else 2
