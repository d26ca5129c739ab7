"""open_file: the frame on screen at each wanted time, exact to the container's tick, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.video.format import VideoFormat
from av.video.reformatter import VideoReformatter

from qvl_cli.closing import Closes
from qvl_cli.errors import BackendMissing
from qvl_cli.media.container import mapped
from qvl_cli.media.decoder import Decoder
from qvl_cli.media.examine import Examined, content_hash, examine
from qvl_cli.media.info import Frame
from qvl_cli.media.known import Known
from qvl_cli.media.route import plan_route
from qvl_cli.media.runs import RunDecoder, RunFailed, walk
from qvl_cli.timeline import TimeSpan, merge

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.video.frame import VideoFrame


BACKENDS = ("pyav", "decord", "auto")


def open_file(path: str | Path, backend: str = "pyav", known: Known | None = None) -> VideoSource:
    """Probe `path` and open it for decoding; use as a context manager. Raises what `probe` raises.

    backend: one of BACKENDS. `decord` raises BackendMissing where it is not installed, and BackendFailed
    while decoding; `auto` turns to PyAV then, and tells it in `warnings`. known: looked up by the file's
    bytes; what is known is examined again only where frames are wanted (PyAV alone).
    """
    if backend == "pyav":
        return VideoSource(path, known)
    from qvl_cli.media.decord_source import DecordSource, check_decord

    fall_back = backend == "auto"
    try:
        check_decord()
    except BackendMissing as missing:
        if not fall_back:
            raise
        source = VideoSource(path)
        source.warnings.append(f"{missing.fact}: PyAV decodes instead")
        return source
    return DecordSource(path, fall_back)


class VideoSource(Closes):
    """One opened video. Not thread-safe; one `frames` iteration at a time.

    info: what the probe found. lost: spans whose frames could not be decoded, sorted and merged; it grows
    while `frames` runs. warnings: what else the user has to know of the decoding; it grows too.
    """

    def __init__(self, path: str | Path, known: Known | None = None) -> None:
        self._path = Path(path)
        self._examined: Examined | None = None
        self._hash: str | None = None
        self._known = known
        record = known.info(self.content_hash()) if known else None
        self.info = record.info(self._path) if record else self._file.info
        self.lost: list[TimeSpan] = []
        self.warnings: list[str] = []
        self.on_close: Callable[[], None] | None = None  # removes a copy made for this source
        self._reformatter = VideoReformatter()
        self._plain: Decoder | None = None
        self._decoders: list[RunDecoder] = []
        self._walk: Generator[tuple[int, Frame | None], None, None] | None = None

    def close(self) -> None:
        """Stop decoding and free the containers; safe to call again."""
        if self._walk is not None:
            self._walk.close()
        for decoder in (self._plain, *self._decoders):
            if decoder is not None:
                decoder.close()
        if self.on_close is not None:
            self.on_close()

    def content_hash(self) -> str:
        if self._hash is None:
            self._hash = content_hash(self._path, self._known.digest if self._known else None)
        return self._hash

    @property
    def _file(self) -> Examined:
        if self._examined is None:
            self._examined = examine(self._path)
        return self._examined

    def frames(self, times: Sequence[Fraction]) -> Iterator[Frame]:
        """The frame shown at each of the ascending `times` (the last one with `frame.time <= t`).

        Yields one Frame a wanted time, the same object again where two times fall on one frame. Where a
        frame cannot be decoded nothing is yielded for its times, and `lost` says so. Raises ValueError on
        times that descend or lie before the first frame. Only what these frames need is decoded, so ask for
        many at once; keyframes alone cost a few per cent of the whole.
        """
        scan, previous = self._file.packets, Fraction(0)
        wanted: list[int] = []
        for time in times:
            if time < previous:
                raise ValueError(f"times must ascend from 0: {time} after {previous}")
            previous = time
            wanted.append(scan.index((time + self.info.start) // scan.time_base))
        if self._walk is not None:
            self._walk.close()
        self._walk = self._decoded(sorted(set(wanted)))
        with closing(self._walk) as decoded:
            at, frame = -1, None
            for number in wanted:
                if number != at:
                    at, frame = next(decoded)
                if frame is not None:
                    yield frame

    def _decoded(self, numbers: Sequence[int]) -> Generator[tuple[int, Frame | None], None, None]:
        """(number, frame) for these ascending frame numbers; None once `lost` holds its time."""
        with closing(self._pictures(numbers)) as pictures:
            for at, picture in pictures:
                if picture is None:
                    yield at, None
                else:
                    pixels = self._file.orientation.upright(self._rgb(picture))
                    yield at, Frame(self.info.frame_times[at], pixels)

    def _pictures(self, numbers: Sequence[int]) -> Generator[tuple[int, VideoFrame | None], None, None]:
        """(number, picture) of the frames with these ascending numbers; None where none can be decoded."""
        scan = self._file.packets
        route = plan_route(scan, [scan.pts[at] for at in numbers], self._picture_bytes(), _cores())
        if route is None:
            yield from ((at, self._plainly(at)) for at in numbers)
            return
        if [decoder.threads for decoder in self._decoders] != [route.threads] * route.decoders:
            for decoder in self._decoders:
                decoder.close()
            path, index = self.info.path, self._file.stream_index
            self._decoders = [RunDecoder(path, index, scan, route.threads) for _ in range(route.decoders)]
        with mapped(self.info.path), closing(walk(route.runs, self._decoders, route.waiting)) as runs:
            for run, found in runs:
                left = iter(run.wanted)
                try:
                    for pts, picture in found:
                        yield scan.index(pts), picture
                        next(left)
                except RunFailed:
                    yield from ((at, self._plainly(at)) for at in map(scan.index, left))

    def pictures(self, start: Fraction, end: Fraction) -> Iterator[tuple[Fraction, VideoFrame]]:
        """(time, picture as coded) of the frame on screen at `start` and of every later one that begins
        before `end`, by a decoder of their own: `frames` may run in between. `lost` learns of the missing.
        """
        scan = self._file.packets
        decoder = self._decoder()
        try:
            for at in range(scan.index((start + self.info.start) // scan.time_base), len(scan.pts)):
                if (time := self.info.frame_times[at]) >= end:
                    return
                picture = self._picture(at, decoder)
                # Else it is the second field of the picture before, and never shown by itself.
                if picture is not None and decoder.last is not None and decoder.last[0] == scan.pts[at]:
                    yield time, picture
        finally:
            decoder.close()

    def _decoder(self) -> Decoder:
        return Decoder(self.info.path, self._file.stream_index, self._file.packets)

    def _plainly(self, at: int) -> VideoFrame | None:
        """The picture on screen as number `at`, decoding everything; None once `lost` holds its time."""
        if self._plain is None:
            self._plain = self._decoder()
        return self._picture(at, self._plain)

    def _picture(self, at: int, decoder: Decoder) -> VideoFrame | None:
        time = self.info.frame_times[at]
        if any(time in span for span in self.lost):
            return None
        with mapped(self.info.path):
            picture = self._find(at, decoder)
        if picture is None:
            self.lost[:] = merge([*self.lost, TimeSpan(time, self._next_time(at, decoder))])
        return picture

    def _find(self, at: int, decoder: Decoder) -> VideoFrame | None:
        """The decoded picture on screen as number `at`; None where the stream does not give it."""
        scan = self._file.packets
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

    def _next_time(self, at: int, decoder: Decoder) -> Fraction:
        """When the next decodable frame after number `at` is shown; the end where there is none."""
        if decoder.ahead is None:
            return self.info.duration
        following = self._file.packets.index(decoder.ahead[0])
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

    def _picture_bytes(self) -> int:
        """What one decoded picture takes in memory, about."""
        bits = VideoFormat(self.info.pixel_format).padded_bits_per_pixel
        return max(self.info.coded_width * self.info.coded_height * bits // 8, 1)


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
