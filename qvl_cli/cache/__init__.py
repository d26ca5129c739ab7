"""The KV cache carried from chunk to chunk.

arena    keys and values in growing buffers that forks share
trail    what is kept of every watched step
blocks   Block: some steps' keys without rotation, values and times, to be moved and stored
full     the full policy: every token kept
"""

from qvl_cli.cache.arena import ArenaCache
from qvl_cli.cache.blocks import Block
from qvl_cli.cache.full import Memory
from qvl_cli.cache.trail import Watched

__all__ = ["ArenaCache", "Block", "Memory", "Watched"]
