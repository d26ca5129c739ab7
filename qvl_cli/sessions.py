"""A plan, what to keep of it, and blocks watched before -> a StreamSession."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qvl_cli.budget import held_tokens, turn_tokens
from qvl_cli.memory import MemorySettings, most_held
from qvl_cli.sampling import SamplePlan

if TYPE_CHECKING:
    from qvl_cli.align import Aligner
    from qvl_cli.cache import Block
    from qvl_cli.model.load import LoadedModel
    from qvl_cli.stream import StreamSession


def open_session(
    model: LoadedModel,
    aligner: Aligner,
    plan: SamplePlan,
    memory: MemorySettings,
    spilled: int,
    blocks: Sequence[Block] = (),
) -> StreamSession:
    """One that has watched `blocks`, with room for more. spilled: bytes of blocks that go to disk."""
    from qvl_cli.align.head import HeadAligner
    from qvl_cli.cache import make_memory
    from qvl_cli.cache.retrieve import in_ram
    from qvl_cli.cache.spill import Spill
    from qvl_cli.stream import StreamSession

    if memory.policy != "full":
        steps = most_held(plan.steps, memory, model.spec.block_steps)
    else:  # compressed blocks leave the arena as they are finished
        steps = len(plan.steps) if memory.kv == "none" else model.spec.block_steps
    reserve = held_tokens(plan, steps, model.spec.step_text) + turn_tokens(model.spec)
    relevance = aligner.relevance if isinstance(aligner, HeadAligner) else None
    there = sum(block.keys.nbytes + block.values.nbytes for block in blocks)  # and stays where it is
    keep = Spill(expected=max(spilled - there, 0)) if spilled else in_ram
    # What bounds the memory must not let step features grow in it; where blocks fit, their features do.
    filed = memory.policy == "window" or spilled > 0
    kept = make_memory(model, memory, reserve, relevance, keep, filed)
    return StreamSession.from_blocks(model, blocks, memory=kept)
