"""What a plan costs in positions and memory, checked before anything is loaded. No torch."""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from qvl_cli.errors import OverBudget
from qvl_cli.memory import KV_BYTES, MemorySettings, most_held
from qvl_cli.registry import ALIASES, STEP_TEXT_TOKENS, ModelSpec, vector_bytes
from qvl_cli.registry.regions import SIDE
from qvl_cli.sampling import MIN_STEP_TOKENS, SamplePlan

_PROMPT_TOKENS = 1_024  # the template's own text and the question
_TURN_SHARE = 16  # of the model's positions that a prompt may take at most, and so many again an answer
_OVERHEAD = 512 * 2**20  # interpreter, torch and the decoder's own frames
_PREFETCHED = 5  # chunks of frames alive at once: one put together (twice), two waiting, one watched
_ROUND = 256  # tokens: remedies are round numbers
_FULL = MemorySettings("full")
_SMALLER = 0.9  # of a model's bytes in bf16 a smaller one takes at most
_MOST_YARN = 4  # the largest factor the YaRN authors and the released models report


@dataclass(frozen=True, slots=True)
class Need:
    """positions: of all that is in view at once, the longest answer included. weights, cache, work, vectors:
    bytes where the model runs, the last of what every step has beside keys and values; kept: bytes of the
    blocks that retrieve keeps elsewhere, and of these vectors."""

    positions: int
    weights: int
    cache: int
    work: int
    kept: int = 0
    vectors: int = 0

    @property
    def bytes(self) -> int:
        return self.weights + self.cache + self.work + self.vectors


def answer_tokens(spec: ModelSpec) -> int:
    """The longest answer in tokens; thoughts come out of the same budget."""
    return min(4_096 if spec.thinking else 512, spec.max_positions // _TURN_SHARE)


def turn_tokens(spec: ModelSpec) -> int:
    """Room for a question and its longest answer behind the video: reserved, and counted as needed."""
    return max(usual_prompt(spec), spec.demand.prompt) + answer_tokens(spec)


def usual_prompt(spec: ModelSpec) -> int:
    """Tokens that the template and a question take at most, where nobody has counted them."""
    return min(_PROMPT_TOKENS, spec.max_positions // _TURN_SHARE)


def estimate(
    plan: SamplePlan,
    spec: ModelSpec,
    dtype_bytes: int,
    chunk_steps: int | None = None,
    memory: MemorySettings = _FULL,
) -> Need:
    """What watching all of `plan` takes, rounded up.

    chunk_steps: steps watched at once; None is the checkpoint's cache block. memory: what is kept of it.

    A step advances positions by its text and the longer side of its merged grid (interleaved MRoPE), not by
    its tokens. Subtitles are text like any other. Only distances between positions matter to the model, so
    under a window that shrinks and under retrieve those count that one forward sees.
    """
    longest = max(plan.width, plan.height) // (spec.patch_size * spec.merge_size)
    chunk, each = chunk_steps or spec.block_steps, plan.tokens_per_step
    texts = plan.text_tokens
    chunk_text = max((sum(texts[at : at + chunk]) for at in range(0, len(texts), chunk)), default=0)
    full = _need(
        spec, dtype_bytes, chunk, len(plan.steps), plan.tokens, longest, each, sum(texts), chunk_text
    )
    share = (KV_BYTES[memory.kv] or dtype_bytes) / dtype_bytes
    vectors, kv = vector_bytes(spec, plan.width, plan.height), spec.kv_bytes_per_token(dtype_bytes)
    if memory.policy in ("auto", "full"):
        copied = kv * _copied(spec, len(plan.steps), each, sum(texts), memory)
        packed, work = math.ceil(full.cache * share), full.work + copied
        return replace(full, cache=packed, work=work, vectors=len(plan.steps) * vectors)
    seen = steps = most_held(plan.steps, memory, spec.block_steps)
    kept, beside = 0, len(plan.steps) * vectors if spec.demand.vectors_beside else 0
    if memory.policy == "retrieve":  # a question's blocks lie beside the window
        blocks = -(-len(plan.steps) // spec.block_steps)
        shown = memory.picked(blocks) * spec.block_steps + memory.sinks
        seen, steps = max(seen, min(shown, len(plan.steps))), steps + shown
        kept = held_tokens(plan, len(plan.steps), spec.step_text) * kv
        kept = math.ceil(kept * share) + len(plan.steps) * vectors - beside
    text = _most_text(plan, steps)
    held = _need(spec, dtype_bytes, chunk, steps, steps * each, longest, each, text, min(text, chunk_text))
    bounded = memory.positions == "shrink" or memory.policy == "retrieve"
    positions = _positions(plan, spec, seen) if bounded else full.positions
    return replace(held, positions=positions, kept=kept, vectors=beside)


def _copied(spec: ModelSpec, steps: int, each: int, text: int, memory: MemorySettings) -> int:
    """Tokens that stand beside a full cache, uncompressed: steps that are shown by themselves, and the block
    that is not compressed yet; behind each a question and its answer."""
    copies = [min(spec.demand.alone, steps)] + [spec.block_steps] * (memory.kv != "none")
    return sum(count * (each + spec.step_text) + text + turn_tokens(spec) for count in copies if count)


def _positions(plan: SamplePlan, spec: ModelSpec, steps: int) -> int:
    """Of the longest `steps` steps of the plan, a question and its answer."""
    longest = max(plan.width, plan.height) // (spec.patch_size * spec.merge_size)
    return steps * (longest + spec.step_text) + _most_text(plan, steps) + turn_tokens(spec)


def fit_positions(plan: SamplePlan, spec: ModelSpec, wanted: MemorySettings) -> MemorySettings:
    """`wanted` with no more in view at once than the model's positions hold: a shorter window, and fewer
    blocks for a question. Where nothing helps it stays as it is, and will be refused."""
    if wanted.policy not in ("window", "retrieve") or wanted.positions != "shrink":
        return wanted
    count, size = len(plan.steps), spec.block_steps
    held = bisect_right(range(1, count + 1), spec.max_positions, key=lambda n: _positions(plan, spec, n))
    if held == count:
        return wanted
    if most_held(plan.steps, wanted, size) > held:
        lengths = range(1, math.ceil(wanted.window))

        def most(seconds: int) -> int:
            return most_held(plan.steps, replace(wanted, window=Fraction(seconds)), size)

        fitting = bisect_right(lengths, held, key=most)
        wanted = replace(wanted, window=Fraction(lengths[fitting - 1])) if fitting else wanted
    room = (held - wanted.sinks) // size
    if wanted.policy == "retrieve" and 1 <= room < wanted.picked(-(-count // size)):
        wanted = replace(wanted, most=room)
    return wanted


def held_tokens(plan: SamplePlan, steps: int, step_text: int = STEP_TEXT_TOKENS) -> int:
    """Tokens of so many steps of the plan, whichever they are, rounded up: their subtitles included, and of
    each `step_text` for its time."""
    return steps * (plan.tokens_per_step + step_text) + _most_text(plan, steps)


def _most_text(plan: SamplePlan, steps: int) -> int:
    """Tokens of subtitles in front of the steps that have most."""
    return sum(sorted(plan.text_tokens, reverse=True)[:steps])


def choose_memory(
    plan: SamplePlan, spec: ModelSpec, free_bytes: int, dtype_bytes: int, wanted: MemorySettings
) -> MemorySettings:
    """What `auto` means: full where the plan fits whole, else retrieve; where that does not fit either, full
    again, which will be refused. Window and retrieve see no more than the model's positions hold
    (`fit_positions`)."""
    if wanted.policy != "auto":
        return fit_positions(plan, spec, wanted)
    for policy in ("full", "retrieve"):
        chosen = fit_positions(plan, spec, replace(wanted, policy=policy))
        need = estimate(plan, spec, dtype_bytes, None, chosen)
        if need.positions <= spec.max_positions and need.bytes <= free_bytes:
            return chosen
    return replace(wanted, policy="full")


def check_budget(
    plan: SamplePlan,
    spec: ModelSpec,
    free_bytes: int,
    dtype_bytes: int,
    chunk_steps: int | None = None,
    memory: MemorySettings = _FULL,
    has_bytes: int | None = None,
) -> Need:
    """The plan's Need, if it fits the checkpoint's positions and `free_bytes` of memory for all of it.

    has_bytes: what would be free without `--max-memory`.

    Raises OverBudget, naming a `--chunk` that fits where a larger one was asked for, else a `--max-tokens`,
    and the `--max-memory` that would do; a smaller model where none does; under window and retrieve, the
    window.
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
        silent = _without_subtitles(plan, spec, free_bytes, dtype_bytes, chunk, memory)
        lower = ["lower --window", "--chunk or --max-pixels", *(raised or [_other_machine(spec)])]
        raise OverBudget(
            f"{spec.name} needs {_size(need.bytes)} and {need.positions} positions with --memory "
            f"{memory.policy} {parts}; {given}, and it has {spec.max_positions}",
            silent or _either(lower),
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


def free_memory(root: Path = Path("/")) -> int:
    """Bytes a process may still take: what the machine has available, less where a cgroup allows less.

    root: where /proc and /sys are looked for.
    """
    free = [_available(root)]
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        mount = "sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup"
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        if controllers and "memory" not in controllers.split(","):
            continue
        parts = [part for part in group.split("/") if part]
        for depth in range(len(parts) + 1):  # a parent's limit binds too
            folder = root.joinpath(mount, *parts[:depth])
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and used is not None:
                free.append(max(limit - used + _reclaimable(folder), 0))
    return min(free)


def _need(
    spec: ModelSpec,
    dtype_bytes: int,
    chunk_steps: int,
    steps: int,
    tokens: int,
    longest: int,
    step_tokens: int,
    text: int,
    chunk_text: int,
) -> Need:
    """text, chunk_text: tokens of subtitles, all of them and those of the chunk that has most."""
    length = tokens + text + steps * spec.step_text + turn_tokens(spec)
    chunk_steps = min(chunk_steps, steps)
    chunk = chunk_steps * (step_tokens + spec.step_text) + chunk_text
    kv = spec.kv_bytes_per_token(dtype_bytes)
    forward = (
        # language model: residual, norms, queries, gate and up of one layer at a time; the chunk's mask
        chunk * (8 * spec.hidden_size + 3 * spec.intermediate_size) * dtype_bytes
        + chunk * length * dtype_bytes
        # vision tower: 4 patches a token, MLP four times as wide
        + chunk_steps * step_tokens * 4 * 16 * spec.vision_hidden * dtype_bytes
    )
    cut = 2 * chunk * kv  # then its blocks, as they are cut out and as they are stored
    work = (
        max(forward, cut)
        # one layer's keys and values, copied while they grow and repeated for grouped heads
        + length * (kv // spec.layers) * (1 + spec.heads // spec.kv_heads)
        + spec.vocab_size * 4
        + _PREFETCHED * chunk_steps * step_tokens * 2 * (spec.patch_size * spec.merge_size) ** 2 * 3
        + _OVERHEAD
    )
    return Need(
        positions=steps * (longest + spec.step_text) + text + turn_tokens(spec),
        weights=spec.parameters * dtype_bytes,
        cache=length * kv,
        work=work,
    )


def _setting(plan: SamplePlan, spec: ModelSpec, free_bytes: int, dtype_bytes: int, chunk: int) -> str | None:
    """The largest chunk that fits; where it is not the chunk, no subtitles where that is enough, else the
    most tokens that surely fit: a plan made with them has no more steps, and none larger. None where nothing
    does."""
    if chunk > spec.block_steps and estimate(plan, spec, dtype_bytes).positions <= spec.max_positions:
        less, more = 0, min(chunk, len(plan.steps))
        while less < more - 1:
            middle = (less + more) // 2
            fitting = estimate(plan, spec, dtype_bytes, middle).bytes <= free_bytes
            less, more = (middle, more) if fitting else (less, middle)
        if less:
            return f"try --chunk {less}"
    if silent := _without_subtitles(plan, spec, free_bytes, dtype_bytes, chunk, _FULL):
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
        need = _need(spec, dtype_bytes, chunk, steps, tokens, longest, each, text, text)
        copied = _copied(spec, steps, each, text, _FULL) * spec.kv_bytes_per_token(dtype_bytes)
        whole = need.bytes + steps * vectors + copied
        return need.positions <= spec.max_positions and whole <= free_bytes

    low, high = 0, plan.tokens
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    low -= low % _ROUND if low >= 4 * _ROUND else 0
    return f"try --max-tokens {low}" if low >= smallest else None


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


def _available(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # no /proc: all there is


def _reclaimable(folder: Path) -> int:
    """Page cache a cgroup would give back before it runs out."""
    for line in _lines(folder / "memory.stat"):
        key, _, value = line.partition(" ")
        if key in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MiB"
