"""open_video: the frame on screen at each wanted time, exact to the container's tick, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from av.video.reformatter import VideoReformatter

from qvl_cli.media.container import mapped
from qvl_cli.media.decoder import Decoder
from qvl_cli.media.examine import examine
from qvl_cli.media.info import Frame
from qvl_cli.timeline import TimeSpan, merge

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.video.frame import VideoFrame


def open_video(path: str | Path) -> VideoSource:
    """Probe `path` and open it for decoding; use as a context manager. Raises what `probe` raises."""
    return VideoSource(path)


class VideoSource:
    """One opened video. Not thread-safe; one `frames` iteration at a time.

    info: what the probe found. lost: spans whose frames could not be decoded, sorted and merged; it grows
    while `frames` runs.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = examine(Path(path))
        self.info = self._file.info
        self.lost: list[TimeSpan] = []
        self._reformatter = VideoReformatter()
        self._decoder = Decoder(self._file.info.path, self._file.stream_index, self._file.packets)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the container; safe to call again."""
        self._decoder.close()

    def frames(self, times: Sequence[Fraction]) -> Iterator[Frame]:
        """The frame shown at each of the ascending `times` (the last one with `frame.time <= t`).

        Yields one Frame a wanted time, the same object again where two times fall on one frame. Where a
        frame cannot be decoded nothing is yielded for its times, and `lost` says so. Raises ValueError on
        times that descend or lie before the first frame.
        """
        scan, previous = self._file.packets, Fraction(0)
        current: tuple[int, Frame | None] = (-1, None)
        for time in times:
            if time < previous:
                raise ValueError(f"times must ascend from 0: {time} after {previous}")
            previous = time
            at = scan.index((time + self.info.start) // scan.time_base)
            if at != current[0]:
                current = (at, self._frame(at))
            if current[1] is not None:
                yield current[1]

    def _frame(self, at: int) -> Frame | None:
        """Frame number `at` of the scan, or None once `lost` holds its time."""
        time = self.info.frame_times[at]
        if any(time in span for span in self.lost):
            return None
        with mapped(self.info.path):
            picture = self._find(at)
        if picture is None:
            self.lost[:] = merge([*self.lost, TimeSpan(time, self._next_time(at))])
            return None
        return Frame(time, self._file.orientation.upright(self._rgb(picture)))

    def _find(self, at: int) -> VideoFrame | None:
        """The decoded picture on screen as number `at`; None where the stream does not give it."""
        scan, decoder = self._file.packets, self._decoder
        wanted = scan.pts[at]
        for attempt in range(3):
            if attempt == 0:
                decoder.approach(wanted)
            elif attempt == 1:
                decoder.seek(wanted, back=2)
            else:
                decoder.restart()
            picture = decoder.run_to(wanted)
            if picture is not None:
                return picture
            last = decoder.last
            if last is not None and scan.index(last[0]) == at - 1 and not decoder.near_error:
                return last[1]  # never shown by itself: the second field of the picture before
            if not decoder.sought or (attempt and decoder.near_error):
                return None  # read from the start, or damaged: another way in leads to the same place
        return None

    def _next_time(self, at: int) -> Fraction:
        """When the next decodable frame after number `at` is shown; the end where there is none."""
        if self._decoder.ahead is None:
            return self.info.duration
        following = self._file.packets.index(self._decoder.ahead[0])
        return self.info.frame_times[max(following, at + 1)]

    def _rgb(self, picture: VideoFrame) -> npt.NDArray[np.uint8]:
        """uint8 [coded height, coded width, 3], equal to PyAV's to_ndarray(format="rgb24")."""
        if (picture.width, picture.height) == (self.info.coded_width, self.info.coded_height):
            rgb = self._reformatter.reformat(picture, format="rgb24")
        else:  # the picture changes size within the stream
            rgb = self._reformatter.reformat(
                picture, self.info.coded_width, self.info.coded_height, format="rgb24"
            )
        return np.asarray(rgb.to_ndarray(), dtype=np.uint8)
