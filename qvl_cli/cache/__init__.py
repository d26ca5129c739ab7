"""The KV cache carried from chunk to chunk, and what is saved of it.

arena      keys and values in growing buffers that forks share
scratch    a temporary file that is mapped when it is read
trail      what is kept of every watched step
blocks     Block: some steps' keys without rotation, values and times, to be moved and stored
full       Memory: every token kept; what the other policies refine
window     the first steps and the last seconds
retrieve   watched like window; a question sees the blocks it needs
policies   settings -> Memory

place      where saved indexes lie, and how files get there
exact      dataclasses <-> JSON without losing a bit
locks      one writer or many readers, across processes
manifest   what a saved index says of itself
beside     small sealed documents in the folder of an index
saved      blocks <-> files
library    all indexes of a folder: list, find, verify, remove, prune

Names are loaded on first use, so that `qvl cache` never starts torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qvl_cli.cache.arena import ArenaCache
    from qvl_cli.cache.blocks import Block
    from qvl_cli.cache.full import Memory, Question
    from qvl_cli.cache.policies import make_memory
    from qvl_cli.cache.trail import Watched

_HOME = {
    "ArenaCache": "arena",
    "Block": "blocks",
    "Memory": "full",
    "Question": "full",
    "Watched": "trail",
    "make_memory": "policies",
}

__all__ = ["ArenaCache", "Block", "Memory", "Question", "Watched", "make_memory"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
