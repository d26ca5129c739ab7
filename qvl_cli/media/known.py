"""MediaInfo in a form that can be stored, for files that have been examined before."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Protocol

from qvl_cli.media.info import FrameTimes, MediaInfo
from qvl_cli.timeline import TimeSpan


class Known(Protocol):
    """What earlier runs found out about video files."""

    def digest(self, path: Path) -> str:
        """sha256 of the file's bytes, hex. Raises OSError."""

    def info(self, sha256: str) -> InfoRecord | None:
        """What the file with these bytes holds; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class InfoRecord:
    """The fields of MediaInfo but its path, which is no part of what a file holds. Frame times are ticks:
    the first one, and (ticks to the next frame, how often in a row)."""

    container: str
    codec: str
    pixel_format: str
    coded_width: int
    coded_height: int
    width: int
    height: int
    rotation: int
    sample_aspect_ratio: Fraction
    start: Fraction
    duration: Fraction
    average_rate: Fraction
    variable_rate: bool
    keyframes: tuple[Fraction, ...]
    audio: tuple[str, ...]
    subtitles: tuple[str, ...]
    holes: tuple[TimeSpan, ...]
    cut_off: bool
    lead: Fraction
    begins: Fraction
    unit: str
    alone: bool
    origin: int
    time_base: Fraction
    first: int
    gaps: tuple[tuple[int, int], ...]

    @staticmethod
    def of(info: MediaInfo) -> InfoRecord | None:
        """None where frame times are no ticks (pictures, pages): those are examined in no time."""
        times = info.frame_times
        if not isinstance(times, FrameTimes) or not len(times):
            return None
        runs = groupby(after - before for before, after in pairwise(times.ticks))
        gaps = tuple((int(gap), sum(1 for _ in run)) for gap, run in runs)
        same: dict[str, Any] = {name: getattr(info, name) for name in _SAME}
        origin, first = int(times.origin), int(times.ticks[0])
        return InfoRecord(**same, origin=origin, time_base=times.time_base, first=first, gaps=gaps)

    def info(self, path: Path) -> MediaInfo:
        """As if `path` had been examined."""
        ticks = array("q", [self.first])
        for gap, count in self.gaps:
            last = ticks[-1]
            ticks.extend(range(last + gap, last + gap * count + 1, gap) if gap else [last] * count)
        same = {name: getattr(self, name) for name in _SAME}
        return MediaInfo(path=path, frame_times=FrameTimes(ticks, self.origin, self.time_base), **same)


_SAME = tuple(each.name for each in fields(MediaInfo) if each.name not in ("path", "frame_times"))
