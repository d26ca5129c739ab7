"""A plan and what this machine has -> how much of the video is kept, said and checked before any load."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from qvl_cli.budget import choose_memory, estimate, free_memory, usual_prompt
from qvl_cli.memory import MemorySettings, most_held, what_is_lost
from qvl_cli.refusals import check_budget, check_weights
from qvl_cli.registry import Demand, ModelSpec
from qvl_cli.request import Request
from qvl_cli.sampling import SamplePlan


@dataclass(frozen=True, slots=True)
class Fit:
    """spec: the checkpoint with what this run asks of it; memory: how much of a plan is kept; spilled: bytes
    of it that must go to disk; notes: what the user must know of both."""

    spec: ModelSpec
    memory: MemorySettings
    spilled: int
    notes: tuple[str, ...]


def fit(plan: SamplePlan, spec: ModelSpec, request: Request, loaded: bool = False) -> Fit:
    """What of the plan is kept. Raises OverBudget for what would not fit, before any load. loaded: the
    weights are in memory already, and no longer in what is free; it is a suite, which has no `--chunk`."""
    from qvl_cli.model.load import pick_device, pick_dtype

    device = pick_device(request.device)
    spec = counted(plan, demanding(plan, spec, request))
    size = pick_dtype(request.dtype, device, spec).itemsize
    free, has = _room(request, estimate(plan, spec, size).weights if loaded else 0)
    memory = choose_memory(plan, spec, free, size, request.memory)
    own = takes_chunk(request, memory)
    chunk = request.steps_per_chunk if own else None
    need = check_budget(plan, spec, free, size, chunk, memory, has, own and not loaded)
    beside = free - need.bytes if device.type == "cpu" else free_memory()
    spilled = need.kept if need.kept > beside else 0
    return Fit(spec, memory, spilled, _notes(plan, spec, request, memory, spilled))


def takes_chunk(request: Request, memory: MemorySettings) -> bool:
    """Whether `--chunk` changes anything: not in a live stream, nor where sections are written between blocks
    that a window lets go."""
    return request.task != "watch" and not (request.task == "summarize" and memory.policy == "window")


def demanding(plan: SamplePlan, spec: ModelSpec, request: Request) -> ModelSpec:
    """`spec` with what this run asks of it beside watching."""
    from qvl_cli.model.load import pick_device

    alone = 0
    if request.task == "summarize":  # section by section
        from qvl_cli.tasks.summarize import section_lengths

        longest = section_lengths(sum((step.interval.duration for step in plan.steps), Fraction(0)))[1]
        alone = most_held(plan.steps, MemorySettings("window", window=longest, sinks=0), spec.block_steps)
    elif spec.text_steps and (request.aligner == "text" or not spec.has_alignment_head):
        alone = spec.text_steps
    beside = pick_device(request.device).type != "cpu"
    return replace(spec, demand=Demand(_prompt_tokens(spec, request.query), alone, beside))


def _prompt_tokens(spec: ModelSpec, query: str) -> int:
    """Most tokens of the question and the template, where they are more than usual; else 0."""
    usual = usual_prompt(spec)
    if len(query.encode()) <= usual // 2:  # no vocabulary takes more tokens than bytes
        return 0
    from qvl_cli.model.tokens import load_codec

    tokens = len(load_codec(spec.folder).encode_text(query)) + usual // 2
    return tokens if tokens > usual else 0


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
