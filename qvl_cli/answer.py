"""The Answer: what every command ends in (schema `qvl.answer/1`; additive changes only)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from qvl_cli.errors import EXIT_EMPTY, EXIT_OK, EXIT_PARTIAL, UsageError

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
    """path: as typed. unit: what every time of the answer counts, "s" or "page" (page p is [p, p + 1)). lead:
    seconds that players count before the first frame, with which times here begin."""

    path: str
    duration: float
    sha256: str
    unit: str = "s"
    lead: float = 0.0


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
    mode: str = "uniform"
    kept: dict[str, int] = field(default_factory=dict)  # steps by the reason they were kept for
    dropped: int = 0  # video tokens, beside `tokens`, that `--drop-static` left out


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which seconds were seen (the intervals of the watched steps) and which could not be. skipped: those of
    the seen ones in which even sampling would have looked and this one did not; of single pictures and pages
    those that the budget left out. cut_off: the file breaks off,
    and nobody knows how much of it is missing."""

    seen: tuple[tuple[float, float], ...]
    gaps: tuple[tuple[float, float], ...] = ()
    skipped: tuple[tuple[float, float], ...] = ()
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class SubtitleUse:
    """Subtitles that were read along with the pictures: from where, and how many cues."""

    source: str
    cues: int


@dataclass(frozen=True, slots=True)
class Usage:
    """index: what became of the saved index: `off`, `used` (nothing was watched), `resumed`, `saved`, or
    `unsaved`: no room, no right, or another process at it."""

    watch_s: float
    answer_s: float
    peak_mb: float
    index: str = "off"


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
    subtitles: SubtitleUse | None = None
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    @property
    def status(self) -> str:
        """`partial` where a part of the range was not seen, `empty` where nothing was found, else `ok`."""
        if self.coverage.gaps or self.coverage.cut_off:
            return "partial"
        return "ok" if self.found else "empty"

    def exit_code(self, fail_empty: bool) -> int:
        """What the process ends with. A hole outranks an empty result: what was not found may be in it."""
        if self.status == "partial":
            return EXIT_PARTIAL
        return EXIT_EMPTY if fail_empty and not self.found else EXIT_OK

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Answer:
        """Read what `to_dict` wrote, also after a trip through JSON; keys of later versions are ignored.

        Raises UsageError where the schema is another one, or a field is missing or of the wrong kind.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            schema = data.get("schema") if isinstance(data, Mapping) else None
            raise UsageError(
                f"not a {SCHEMA} document (schema: {schema!r})", "give a JSON file of `qvl ... -f json`"
            )
        try:
            coverage = _build(Coverage, data["coverage"])
            sampling = _build(Sampling, data["sampling"])
            return _build(
                Answer,
                {
                    **data,
                    "media": _build(Media, data["media"]),
                    "model": _build(ModelUse, data["model"]),
                    "sampling": replace(sampling, frame=(int(sampling.frame[0]), int(sampling.frame[1]))),
                    "coverage": replace(
                        coverage,
                        seen=_pairs(coverage.seen),
                        gaps=_pairs(coverage.gaps),
                        skipped=_pairs(coverage.skipped),
                    ),
                    "usage": _build(Usage, data["usage"]),
                    "subtitles": _build(SubtitleUse, read) if (read := data.get("subtitles")) else None,
                    "moments": tuple(_build(Moment, moment) for moment in data.get("moments", ())),
                    "sections": tuple(_build(Section, section) for section in data.get("sections", ())),
                    "warnings": tuple(str(warning) for warning in data.get("warnings", ())),
                },
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UsageError(
                f"a damaged {SCHEMA} document: {error}", "write it again with `qvl ... -f json`"
            ) from error


T = TypeVar("T")


def _build(kind: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass from a mapping: unknown keys are dropped, a missing required one raises KeyError."""
    known = fields(kind)  # type: ignore[arg-type]  # every caller names a dataclass
    for each in known:
        if each.default is MISSING and each.default_factory is MISSING and each.name not in data:
            raise KeyError(f"{kind.__name__} lacks {each.name!r}")
    return kind(**{each.name: data[each.name] for each in known if each.name in data})


def _pairs(spans: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(start), float(end)) for start, end in spans)
