"""Into how many parts the picture of a step is cut for an alignment head. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qvl_cli.registry.spec import ModelSpec

SIDE = 5  # most rows and columns: what is kept for it stays small beside keys and values at any resolution


def region_grid(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of regions for a picture of so many vision tokens."""
    return min(rows, SIDE), min(columns, SIDE)


def vector_bytes(spec: ModelSpec, width: int, height: int) -> int:
    """What is kept of each step of such frames beside keys and values: float32 vectors of every region, of
    the whole, and the mean of its vision tokens."""
    side = spec.patch_size * spec.merge_size
    down, across = region_grid(height // side, width // side)
    return (down * across + 2) * 4 * spec.hidden_size
