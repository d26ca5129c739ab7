"""`qvl index`: a video is watched and saved, and nothing asked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qvl_cli import pipeline
from qvl_cli.coverage import cover, later_warnings
from qvl_cli.errors import EXIT_OK, EXIT_PARTIAL
from qvl_cli.index.index import Index
from qvl_cli.request import Request

SCHEMA = "qvl.index/1"


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The index of one video, complete now.

    state: as `Usage.index` has it. bytes: on disk. watch_s: seconds of watching. gaps: float seconds from
    presentation start that could not be read. cut_off: the file breaks off in the middle.
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
    cut_off: bool
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    @property
    def exit_code(self) -> int:
        return EXIT_PARTIAL if self.gaps or self.cut_off else EXIT_OK


def index(request: Request, listener: pipeline.Listener) -> IndexReport:
    """Watch the video and save what was watched, all of it. `request.index` must insist; raises the errors of
    every stage."""
    with pipeline.watched(request, listener) as it:
        assert isinstance(it.index, Index)
        held = it.index.manifest
        assert held is not None  # saving was insisted on
        coverage = cover(it.plan, it.session, it.video, request.sampling.end)
        later = later_warnings(it.video, it.plan, it.session, coverage)
        for warning in later:
            listener.note(warning)
        return IndexReport(
            path=str(request.path),
            name=held.key.name,
            folder=str(it.index.folder),
            model=it.session.model.spec.name,
            state=it.index.state,
            steps=held.steps,
            bytes=sum(block.bytes for block in held.blocks),
            watch_s=round(it.seconds, 3),
            gaps=coverage.gaps,
            cut_off=coverage.cut_off,
            warnings=(*it.notes, *later),
        )
