"""The KV cache carried from chunk to chunk.

arena      keys and values in growing buffers that forks share
trail      what is kept of every watched step
blocks     Block: some steps' keys without rotation, values and times, to be moved and stored
full       Memory: every token kept; what the other policies refine
window     the first steps and the last seconds
retrieve   watched like window; a question sees the blocks it needs
policies   settings -> Memory
"""

from qvl_cli.cache.arena import ArenaCache
from qvl_cli.cache.blocks import Block
from qvl_cli.cache.full import Memory, Question
from qvl_cli.cache.policies import make_memory
from qvl_cli.cache.trail import Watched

__all__ = ["ArenaCache", "Block", "Memory", "Question", "Watched", "make_memory"]
