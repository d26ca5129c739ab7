"""What a plan costs in positions and memory, and how much there is, before anything is loaded. No torch."""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import cycle, islice, pairwise, repeat
from pathlib import Path

from qvl_cli.memory import KV_BYTES, MemorySettings, most_held
from qvl_cli.registry import STEP_TEXT_TOKENS, ModelSpec, vector_bytes
from qvl_cli.sampling import SamplePlan

_PROMPT_TOKENS = 1_024  # the template's own text and the question
_TURN_SHARE = 16  # of the model's positions that a prompt may take at most, and so many again an answer
_OVERHEAD = 512 * 2**20  # interpreter, torch and the decoder's own frames
_PREFETCHED = 5  # chunks of frames alive at once: one put together (twice), two waiting, one watched
FULL = MemorySettings("full")


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

    def fits(self, spec: ModelSpec, free_bytes: int) -> bool:
        """Whether the checkpoint's positions and so much memory hold it."""
        return self.positions <= spec.max_positions and self.bytes <= free_bytes


def answer_tokens(spec: ModelSpec) -> int:
    """The longest answer in tokens; thoughts come out of the same budget."""
    return min(4_096 if spec.thinking else 512, spec.max_positions // _TURN_SHARE)


def turn_tokens(spec: ModelSpec) -> int:
    """Room for a question and its longest answer behind the video: reserved, and counted as needed."""
    return max(usual_prompt(spec), spec.demand.prompt) + answer_tokens(spec)


def usual_prompt(spec: ModelSpec) -> int:
    """Tokens that the template and a question take at most, where nobody has counted them."""
    return min(_PROMPT_TOKENS, spec.max_positions // _TURN_SHARE)


def chunk_sizes(most: int, block_steps: int) -> Iterator[int]:
    """Steps of chunk after chunk, without end: whole blocks, or blocks in as few parts as `most` steps
    allow."""
    if most >= block_steps:
        return repeat(most - most % block_steps)
    parts = -(-block_steps // most)
    edges = [block_steps * part // parts for part in range(parts + 1)]
    return cycle(end - start for start, end in pairwise(edges))


def largest_chunk(most: int | None, block_steps: int) -> int:
    """Of these; `most` None is the block itself."""
    return max(islice(chunk_sizes(most or block_steps, block_steps), block_steps))


def estimate(
    plan: SamplePlan,
    spec: ModelSpec,
    dtype_bytes: int,
    chunk_steps: int | None = None,
    memory: MemorySettings = FULL,
) -> Need:
    """What watching all of `plan` takes, rounded up.

    chunk_steps: steps watched at once; None is the checkpoint's cache block. memory: what is kept of it.

    A step advances positions by its text and the longer side of its merged grid (interleaved MRoPE), not by
    its tokens. Subtitles are text like any other. Only distances between positions matter to the model, so
    under a window that shrinks and under retrieve those count that one forward sees.
    """
    longest = max(plan.width, plan.height) // (spec.patch_size * spec.merge_size)
    chunk, each = largest_chunk(chunk_steps, spec.block_steps), plan.tokens_per_step
    texts = plan.text_tokens
    chunk_text = max((sum(texts[at : at + chunk]) for at in range(0, len(texts), chunk)), default=0)
    full = need_of(
        spec, dtype_bytes, chunk, len(plan.steps), plan.tokens, longest, each, sum(texts), chunk_text
    )
    share = (KV_BYTES[memory.kv] or dtype_bytes) / dtype_bytes
    vectors, kv = vector_bytes(spec, plan.width, plan.height), spec.kv_bytes_per_token(dtype_bytes)
    if memory.policy in ("auto", "full"):
        copied = kv * copied_tokens(spec, len(plan.steps), each, sum(texts), memory)
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
    held = need_of(spec, dtype_bytes, chunk, steps, steps * each, longest, each, text, min(text, chunk_text))
    bounded = memory.positions == "shrink" or memory.policy == "retrieve"
    positions = _positions(plan, spec, seen) if bounded else full.positions
    return replace(held, positions=positions, kept=kept, vectors=beside)


def copied_tokens(spec: ModelSpec, steps: int, each: int, text: int, memory: MemorySettings) -> int:
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
        if estimate(plan, spec, dtype_bytes, None, chosen).fits(spec, free_bytes):
            return chosen
    return replace(wanted, policy="full")


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


def need_of(
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
