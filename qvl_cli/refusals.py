"""Where a plan does not fit: what it needs, and the settings with which it would. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from qvl_cli.budget import (
    FULL,
    Need,
    choose_memory,
    copied_tokens,
    estimate,
    need_of,
)
from qvl_cli.errors import OverBudget
from qvl_cli.memory import MemorySettings
from qvl_cli.registry import ALIASES, ModelSpec, vector_bytes
from qvl_cli.registry.regions import SIDE
from qvl_cli.sampling import MIN_STEP_TOKENS, SamplePlan

_ROUND = 256  # tokens: remedies are round numbers
_SMALLER = 0.9  # of a model's bytes in bf16 a smaller one takes at most
_MOST_YARN = 4  # the largest factor the YaRN authors and the released models report


def check_budget(
    plan: SamplePlan,
    spec: ModelSpec,
    free_bytes: int,
    dtype_bytes: int,
    chunk_steps: int | None = None,
    memory: MemorySettings = FULL,
    has_bytes: int | None = None,
) -> Need:
    """The plan's Need, if it fits the checkpoint's positions and `free_bytes` of memory for all of it.

    has_bytes: what would be free without `--max-memory`.

    Raises OverBudget, naming a `--chunk` that fits where a larger one was asked for, else a `--max-tokens`,
    and the `--max-memory` that would do; a smaller model where none does; under window and retrieve, a
    `--window` and a `--chunk`.
    """
    need = estimate(plan, spec, dtype_bytes, chunk_steps, memory)
    if need.positions <= spec.max_positions and need.bytes <= free_bytes:
        return need
    chunk = chunk_steps or spec.block_steps
    given = _given(free_bytes, has_bytes)
    raised = _raised(need.bytes, free_bytes, has_bytes) if need.positions <= spec.max_positions else []
    cache = need.cache + need.vectors
    parts = f"(weights {_size(need.weights)}, cache {_size(cache)}, work {_size(need.work)})"
    if memory.policy in ("window", "retrieve"):
        bounded = [_without_subtitles(plan, spec, free_bytes, dtype_bytes, chunk, memory)]
        bounded.append(_bounded_setting(plan, spec, free_bytes, dtype_bytes, chunk, memory))
        lower = [each for each in bounded if each][:1] or ["lower --max-pixels"]
        raise OverBudget(
            f"{spec.name} needs {_size(need.bytes)} and {need.positions} positions with --memory "
            f"{memory.policy} {parts}; {given}, and it has {spec.max_positions}",
            _either([*lower, *(raised or ([] if bounded[-1] else [_other_machine(spec)]))]),
        )
    setting = _setting(plan, spec, free_bytes, dtype_bytes, chunk)
    remedies = [setting] if setting else []
    remedies += raised or ([] if setting else [_other_machine(spec)])
    stretch = math.ceil(need.positions / spec.max_positions)
    whole = need.bytes <= free_bytes and spec.rope_type == "default" and spec.rope.yarn is None
    if whole and 1 < stretch <= _MOST_YARN:
        remedies.insert(0, f"stretch its positions with --yarn {stretch}")
    if choose_memory(plan, spec, free_bytes, dtype_bytes, replace(memory, policy="auto")).policy != "full":
        remedies.insert(0, "use --memory retrieve")
    if need.positions > spec.max_positions:
        raise OverBudget(
            f"{len(plan.steps)} steps take {need.positions} positions, {spec.name} has {spec.max_positions}",
            _either(remedies),
        )
    raise OverBudget(
        f"{spec.name} needs {_size(need.bytes)} for this plan {parts} and {given}", _either(remedies)
    )


def check_weights(spec: ModelSpec, free_bytes: int, dtype_bytes: int, has_bytes: int | None = None) -> None:
    """Raises OverBudget where the weights alone, whatever the video, are more than `free_bytes` of memory:
    worth knowing before they are downloaded. has_bytes: see `check_budget`."""
    need = spec.parameters * dtype_bytes
    if need > free_bytes:
        raise OverBudget(
            f"the weights of {spec.name} alone take {_size(need)} and {_given(free_bytes, has_bytes)}",
            _either(_raised(need, free_bytes, has_bytes) or [_other_machine(spec)]),
        )


def _given(free_bytes: int, has_bytes: int | None) -> str:
    capped = has_bytes is not None and free_bytes < has_bytes
    return f"--max-memory allows {_size(free_bytes)}" if capped else f"{_size(free_bytes)} are free"


def _raised(need: int, free_bytes: int, has_bytes: int | None) -> list[str]:
    """The remedy where `--max-memory` alone is in the way."""
    own = has_bytes is not None and free_bytes < need <= has_bytes
    return [f"raise --max-memory to {math.ceil(need / 2**20)}M"] if own else []


def _either(remedies: list[str]) -> str:
    """`a, b, or c`."""
    return ", or ".join([", ".join(remedies[:-1]), remedies[-1]]) if remedies[1:] else remedies[0]


def _setting(plan: SamplePlan, spec: ModelSpec, free_bytes: int, dtype_bytes: int, chunk: int) -> str | None:
    """The largest chunk that fits, which costs nothing but time; where it is not the chunk, no subtitles
    where that is enough, else the most tokens that surely fit: a plan made with them has no more steps, and
    none larger. None where nothing does."""
    if estimate(plan, spec, dtype_bytes).positions <= spec.max_positions:
        less, more = 0, min(chunk, len(plan.steps))
        while less < more - 1:
            middle = (less + more) // 2
            fitting = estimate(plan, spec, dtype_bytes, middle).bytes <= free_bytes
            less, more = (middle, more) if fitting else (less, middle)
        if less:
            return f"try --chunk {less}"
    if silent := _without_subtitles(plan, spec, free_bytes, dtype_bytes, chunk, FULL):
        return silent
    factor = spec.patch_size * spec.merge_size
    longest = max(plan.width, plan.height) // factor + 1
    fixed = spec.frame_pixels is not None
    smallest = plan.tokens_per_step if fixed else MIN_STEP_TOKENS
    text = sum(plan.text_tokens)
    vectors = vector_bytes(spec, SIDE * factor, SIDE * factor)  # no frame has more

    def fits(tokens: int) -> bool:
        steps = min(len(plan.steps), max(tokens // smallest, 1))
        each = max(plan.tokens_per_step, smallest)
        need = need_of(spec, dtype_bytes, chunk, steps, tokens, longest, each, text, text)
        copied = copied_tokens(spec, steps, each, text, FULL) * spec.kv_bytes_per_token(dtype_bytes)
        whole = need.bytes + steps * vectors + copied
        return need.positions <= spec.max_positions and whole <= free_bytes

    low, high = 0, plan.tokens
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    low -= low % _ROUND if low >= 4 * _ROUND else 0
    return f"try --max-tokens {low}" if low >= smallest else None


def _bounded_setting(
    plan: SamplePlan,
    spec: ModelSpec,
    free_bytes: int,
    dtype_bytes: int,
    chunk: int,
    memory: MemorySettings,
) -> str | None:
    """The same under window and retrieve: of the longest window with which it fits the largest chunk, both
    out of halves. None where nothing does."""
    for window in _halves(math.ceil(memory.window)):
        for steps in _halves(min(chunk, len(plan.steps))):
            trial = memory if window >= memory.window else replace(memory, window=Fraction(window))
            need = estimate(plan, spec, dtype_bytes, steps, trial)
            if need.positions <= spec.max_positions and need.bytes <= free_bytes:
                shorter = [f"--window {window}"] if trial is not memory else []
                return " ".join(["try", *shorter, *([f"--chunk {steps}"] if steps < chunk else [])])
    return None


def _halves(number: int) -> Iterator[int]:
    while number:
        yield number
        number //= 2


def _other_machine(spec: ModelSpec) -> str:
    """The remedy where no setting of the plan is one; the smallest models, of those that are smaller."""
    sizes = sorted((row.weight_gib, name) for name, row in ALIASES.items())
    smaller = [f"--model {name}" for gib, name in sizes if gib * 2**30 < _SMALLER * 2 * spec.parameters][:2]
    models = f"use a smaller model ({', '.join(smaller)}) or " if smaller else "use "
    return f"{models}a machine with more memory"


def _without_subtitles(
    plan: SamplePlan, spec: ModelSpec, free_bytes: int, dtype_bytes: int, chunk: int, memory: MemorySettings
) -> str | None:
    """The remedy, where the subtitles alone are too much."""
    if not plan.text_tokens:
        return None
    bare = estimate(replace(plan, text_tokens=()), spec, dtype_bytes, chunk, memory)
    if bare.positions > spec.max_positions or bare.bytes > free_bytes:
        return None
    return f"leave out the subtitles, {sum(plan.text_tokens):,} tokens, with --subs none"


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MiB"
