"""The Answer: what every command ends in (schema `qvl.answer/1`; additive changes only)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = "qvl.answer/1"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time range with a score and a text; float seconds from the start of presentation."""

    start: float
    end: float
    score: float
    text: str
    refined: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a summary."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Media:
    path: str
    duration: float
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelUse:
    name: str
    fingerprint: str
    aligner: str


@dataclass(frozen=True, slots=True)
class Sampling:
    steps: int
    considered: int
    fps: float
    frame: tuple[int, int]
    tokens: int
    coarsened: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which seconds were seen (the intervals of the watched steps) and which could not be."""

    seen: tuple[tuple[float, float], ...]
    gaps: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    watch_s: float
    answer_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished answer. `found` is False only for a locate that found nothing."""

    task: str
    media: Media
    model: ModelUse
    query: str
    text: str
    found: bool
    sampling: Sampling
    coverage: Coverage
    usage: Usage
    moments: tuple[Moment, ...] = ()
    sections: tuple[Section, ...] = ()
    thinking: str | None = None
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}
