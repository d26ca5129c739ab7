"""IndexReport: what `qvl index` ends in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qvl_cli.errors import EXIT_OK, EXIT_PARTIAL

SCHEMA = "qvl.index/1"


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The index of one video, complete now.

    state: as `Usage.index` has it. bytes: on disk. watch_s: seconds of watching. gaps: float seconds from
    presentation start that could not be read.
    """

    path: str
    name: str
    folder: str
    model: str
    state: str
    steps: int
    bytes: int
    watch_s: float
    gaps: tuple[tuple[float, float], ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    @property
    def exit_code(self) -> int:
        return EXIT_PARTIAL if self.gaps else EXIT_OK
