"""Where a plan does not fit: what it needs, and the settings with which it would. No torch."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from qvl_cli.budget import FULL, Need, choose_memory, copied_tokens, estimate, largest_chunk, need_of
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
    chunk_flag: bool = True,
) -> Need:
    """The plan's Need, if it fits the checkpoint's positions and `free_bytes` of memory for all of it.

    has_bytes: what would be free without `--max-memory`. chunk_flag: whether `--chunk` changes anything.

    Raises OverBudget, naming a smaller `--chunk` that fits, else a `--max-tokens`, and the `--max-memory`
    that would do; a smaller model where none does; under window and retrieve, a `--window` and a `--chunk`.
    """
    need = estimate(plan, spec, dtype_bytes, chunk_steps, memory)
    if need.fits(spec, free_bytes):
        return need
    chunk = largest_chunk(chunk_steps, spec.block_steps)
    asked = _Asked(plan, spec, free_bytes, dtype_bytes, chunk, memory, chunk_flag)
    given = _given(free_bytes, has_bytes)
    raised = _raised(need.bytes, free_bytes, has_bytes) if need.positions <= spec.max_positions else []
    cache = need.cache + need.vectors
    parts = f"(weights {_size(need.weights)}, cache {_size(cache)}, work {_size(need.work)})"
    bounded = memory.policy in ("window", "retrieve")
    setting = _without_subtitles(asked) if bounded else None
    setting = setting or (_bounded_setting(asked) if bounded else _setting(asked))
    remedies = [setting] if setting else ["lower --max-pixels"] if bounded else []
    remedies += raised or ([] if setting else [_other_machine(spec)])
    if bounded:
        raise OverBudget(
            f"{spec.name} needs {_size(need.bytes)} and {need.positions} positions with --memory "
            f"{memory.policy} {parts}; {given}, and it has {spec.max_positions}",
            _either(remedies),
        )
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments of `check_budget`; chunk: steps that are really watched at once."""

    plan: SamplePlan
    spec: ModelSpec
    free_bytes: int
    dtype_bytes: int
    chunk: int
    memory: MemorySettings
    chunk_flag: bool

    @property
    def fits(self) -> bool:
        need = estimate(self.plan, self.spec, self.dtype_bytes, self.chunk, self.memory)
        return need.fits(self.spec, self.free_bytes)

    @property
    def chunks(self) -> list[int]:
        """The chunks that `--chunk` can make of this one, the smallest first."""
        size = self.spec.block_steps
        asked = (*range(1, size), *range(size, min(self.chunk, len(self.plan.steps) + size), size))
        sizes = dict.fromkeys(largest_chunk(most, size) for most in asked)
        return [each for each in sizes if each < self.chunk] if self.chunk_flag else []


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


def _setting(asked: _Asked) -> str | None:
    """The largest chunk that fits, which costs nothing but time; where it is not the chunk, no subtitles
    where that is enough, else the most tokens that surely fit: a plan made with them has no more steps, and
    none larger. None where nothing does."""
    plan, spec, dtype_bytes, chunk = asked.plan, asked.spec, asked.dtype_bytes, asked.chunk
    fitting = bisect_left(asked.chunks, True, key=lambda each: not replace(asked, chunk=each).fits)
    if fitting:
        return f"try --chunk {asked.chunks[fitting - 1]}"
    if silent := _without_subtitles(replace(asked, memory=FULL)):
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
        return need.positions <= spec.max_positions and whole <= asked.free_bytes

    low, high = 0, plan.tokens
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    low -= low % _ROUND if low >= 4 * _ROUND else 0
    return f"try --max-tokens {low}" if low >= smallest else None


def _bounded_setting(asked: _Asked) -> str | None:
    """The same under window and retrieve: of the longest window with which it fits, out of halves, the
    largest chunk. None where nothing does."""
    for window in _halves(math.ceil(asked.memory.window)):
        shorter = window < asked.memory.window
        trial = replace(asked, memory=replace(asked.memory, window=Fraction(window))) if shorter else asked
        for chunk in (asked.chunk, *reversed(asked.chunks)):
            if replace(trial, chunk=chunk).fits:
                flags = [f"--window {window}"] if shorter else []
                return " ".join(["try", *flags, *([f"--chunk {chunk}"] if chunk < asked.chunk else [])])
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


def _without_subtitles(asked: _Asked) -> str | None:
    """The remedy, where the subtitles alone are too much."""
    texts = asked.plan.text_tokens
    if not texts or not replace(asked, plan=replace(asked.plan, text_tokens=())).fits:
        return None
    return f"leave out the subtitles, {sum(texts):,} tokens, with --subs none"


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
