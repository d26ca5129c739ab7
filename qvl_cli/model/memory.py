"""How much memory is free, and what running out of it means to the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from qvl_cli.errors import OverBudget

_CPU_PHRASES = ("can't allocate memory", "not enough memory", "cannot allocate memory")


def free_bytes(device: str | torch.device = "cpu") -> int:
    """Bytes that can still be allocated on `device`; on the CPU what the kernel and the control group
    allow."""
    device = torch.device(device)
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's, unused
        return torch.cuda.mem_get_info(device)[0] + held
    free = _meminfo().get("MemAvailable", 0)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
    return max(free, 0)


def _meminfo() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux: assume what most machines have
        return {"MemAvailable": 8 << 30}
    return {key: int(rest.split()[0]) * 1024 for key, _, rest in (line.partition(":") for line in lines)}


@contextmanager
def memory_errors(doing: str) -> Iterator[None]:
    """Map torch's out-of-memory errors inside the block to OverBudget."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _over(doing) from error
    except RuntimeError as error:
        if any(phrase in str(error).lower() for phrase in _CPU_PHRASES):
            raise _over(doing) from error
        raise


def _over(doing: str) -> OverBudget:
    return OverBudget(f"out of memory while {doing}", "lower --max-tokens or --fps, or use a smaller --model")
