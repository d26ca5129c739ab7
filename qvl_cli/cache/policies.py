"""Settings -> the memory of a session."""

from __future__ import annotations

from qvl_cli.cache.full import Memory
from qvl_cli.cache.packed import PackedMemory
from qvl_cli.cache.retrieve import Keep, Relevance, RetrieveMemory, in_ram
from qvl_cli.cache.window import WindowMemory
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import LoadedModel


def make_memory(
    model: LoadedModel,
    settings: MemorySettings,
    reserve: int = 0,
    relevance: Relevance | None = None,
    keep: Keep = in_ram,
    filed: bool = False,
) -> Memory:
    """An empty memory of the policy that `settings` name.

    reserve: tokens to make room for at once. relevance, keep: see `RetrieveMemory`; the others need neither.
    filed: with window and retrieve, what is kept of every step goes to temporary files too.
    """
    if settings.policy == "window":
        return WindowMemory(model, settings, reserve, filed)
    if settings.policy == "retrieve":
        return RetrieveMemory(model, settings, reserve, relevance, keep, filed)
    return Memory(model, reserve) if settings.kv == "none" else PackedMemory(model, settings.kv, reserve)
