"""What a probe knows of a file, and what a decoder yields. Plain data; all times exact."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, overload

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

from qvl_cli.timeline import TimeSpan

NOTICEABLE = Fraction(1, 4)  # seconds; shorter gaps are no holes
# MPEG clocks count to 2^33 and start over, which libav unwraps. It takes a joined file's step back to a much
# earlier time for that, too: a gap of half the clock (13 h) is none.
HALF_CLOCK = 2**32


@dataclass(frozen=True, slots=True)
class FrameTimes(Sequence[Fraction]):
    """Exact times kept as ticks: (ticks[n] - origin) * time_base. Hours of video stay a few megabytes."""

    ticks: Sequence[int]
    origin: int
    time_base: Fraction

    def __len__(self) -> int:
        return len(self.ticks)

    @overload
    def __getitem__(self, at: int) -> Fraction: ...
    @overload
    def __getitem__(self, at: slice) -> FrameTimes: ...
    def __getitem__(self, at: int | slice) -> Fraction | FrameTimes:
        if isinstance(at, slice):
            return FrameTimes(self.ticks[at], self.origin, self.time_base)
        return (self.ticks[at] - self.origin) * self.time_base

    def __contains__(self, time: object) -> bool:
        if not isinstance(time, Fraction | int):
            return False
        at = bisect_left(self, time)
        return at < len(self) and self[at] == time


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """One video stream and its container.

    duration: seconds from the first shown frame to the end of the last; times everywhere count from there.
    start: presentation time of that first frame on the container's own clock.
    lead: seconds from the first of all streams to that frame, which players show and count.
    frame_times: presentation time of every shown frame, ascending, from a scan of the packets.
    keyframes: the subset a decoder can start from.
    width, height: as displayed, after rotation and sample aspect ratio.
    holes: spans the container promises but has no packets for (lying or cut-off files).
    cut_off: the file ends in the middle, and does not say how much is missing.
    begins: time of the first frame; other than 0 only where times are numbers, as of pages.
    unit: what the times count, "s" or "page". alone: every frame is to be a step of its own.
    """

    path: Path
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
    frame_times: Sequence[Fraction]
    keyframes: tuple[Fraction, ...]
    audio: tuple[str, ...]
    subtitles: tuple[str, ...]
    holes: tuple[TimeSpan, ...] = ()
    cut_off: bool = False
    lead: Fraction = Fraction(0)
    begins: Fraction = Fraction(0)
    unit: str = "s"
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture: `pixels` uint8 RGB [height, width, 3], rotated upright, sample aspect NOT applied
    (the resize to the plan's frame size does both at once)."""

    time: Fraction
    pixels: npt.NDArray[np.uint8]


class Source(Protocol):
    """What every opened input is, whatever it was made from. `frames` is described at VideoSource.

    lost: spans that could not be decoded, sorted; warnings: what the user has to know; both grow while
    `frames` runs. on_close: called at the end, once or more often.
    """

    info: MediaInfo
    lost: list[TimeSpan]
    warnings: list[str]
    on_close: Callable[[], None] | None

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def close(self) -> None: ...
    def frames(self, times: Sequence[Fraction]) -> Iterator[Frame]: ...
    def content_hash(self) -> str:
        """sha256, hex: of the bytes where the input is one file or stream of them."""
        ...
