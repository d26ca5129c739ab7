"""The models qvl knows by a short name: rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EMBEDDED = Path(__file__).parents[1] / "tiny" / "checkpoint"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One known model: what users call it, where it is, and the memory its bf16 weights take."""

    alias: str
    hub_id: str | None
    weight_gib: float


def _row(size: str, weight_gib: float, thinking: bool) -> ModelRow:
    kind = "Thinking" if thinking else "Instruct"
    alias = f"{size}-thinking" if thinking else size
    return ModelRow(alias, f"Qwen/Qwen3-VL-{size.upper()}-{kind}", weight_gib)


_SIZES = (("2b", 4.0), ("4b", 8.3), ("8b", 16.3), ("32b", 62.1), ("30b-a3b", 57.9), ("235b-a22b", 438.7))
ALIASES: dict[str, ModelRow] = {
    row.alias: row
    for row in (
        ModelRow("tiny", None, 0.02),
        *(_row(size, gib, thinking) for thinking in (False, True) for size, gib in _SIZES),
    )
}
