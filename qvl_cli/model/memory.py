"""How much memory is free, and what running out of it means to the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from qvl_cli.errors import OverBudget, ran_out_of_memory


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on a CUDA device."""
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's, unused
    return torch.cuda.mem_get_info(device)[0] + held


@contextmanager
def memory_errors(doing: str) -> Iterator[None]:
    """Map torch's out-of-memory errors inside the block to OverBudget."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if ran_out_of_memory(error):
            raise _over(doing) from error
        raise


def _over(doing: str) -> OverBudget:
    return OverBudget(f"out of memory while {doing}", "lower --max-tokens or --fps, or use a smaller --model")
