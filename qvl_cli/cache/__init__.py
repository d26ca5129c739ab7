"""The KV cache carried from chunk to chunk, and what is saved of it.

arena     full policy: every token kept, in growing buffers that forks share
place     where saved indexes lie, and how files get there
exact     dataclasses <-> JSON without losing a bit
locks     one writer or many readers, across processes
manifest  what a saved index says of itself
saved     blocks <-> files
library   all indexes of a folder: list, find, verify, remove, prune

Names are loaded on first use, so that `qvl cache` never starts torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qvl_cli.cache.arena import ArenaCache

__all__ = ["ArenaCache"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qvl_cli.cache.arena import ArenaCache

    return ArenaCache
