"""The KV cache carried from chunk to chunk.

arena    full policy: every token kept, in growing buffers that forks share
"""

from qvl_cli.cache.arena import ArenaCache

__all__ = ["ArenaCache"]
