"""An event in words -> every span where it happens, best first, or an honest `not found`."""

from __future__ import annotations

from qvl_cli.align import Aligner
from qvl_cli.align.refine import Refiner
from qvl_cli.stream import StreamSession
from qvl_cli.tasks import Findings, to_moment
from qvl_cli.timeline import format_pages


def locate(
    session: StreamSession, aligner: Aligner, event: str, refiner: Refiner | None = None, unit: str = "s"
) -> Findings:
    """`A red circle appears: 12.5-20.0 s, 33.0-41.5 s`, ranges in the order of time, or `page 3`."""
    event = event.strip()
    aligned = aligner.locate(session, event)
    if refiner is not None:
        aligned = refiner.refine(aligned)
    if not aligned.spans:
        return Findings(f"Not found: {event}", found=False, warnings=aligned.warnings)
    ranges = sorted((float(each.span.start), float(each.span.end)) for each in aligned.spans)
    paged = unit == "page"
    shown = ", ".join(format_pages(*each) if paged else f"{each[0]:.1f}-{each[1]:.1f} s" for each in ranges)
    name = event.rstrip(".")
    return Findings(
        f"{name[:1].upper()}{name[1:]}: {shown}",
        moments=tuple(to_moment(each, event) for each in aligned.spans),
        warnings=aligned.warnings,
    )
