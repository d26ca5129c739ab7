"""Opening a container: which file, which stream, which way up. Foreign errors become MediaError here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import av.logging
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from qvl_cli.errors import MediaError

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.container import InputContainer
    from av.sidedata.sidedata import SideData
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONVERT = "convert it first: ffmpeg -i IN -c:v libx264 OUT.mp4"
_TEXT = frozenset({*range(9, 14), 27, *range(32, 256)})


def shown(path: Path | str) -> str:
    """The path as one printable line, whatever bytes its name holds."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def check_file(path: Path) -> None:
    """MediaError unless `path` is a readable file with something in it."""
    try:
        if path.is_dir():
            raise MediaError(f"{shown(path)} is a directory", "name one video file")
        if not path.exists():
            raise MediaError(f"{shown(path)} does not exist", "check the path")
        if not path.is_file():
            raise MediaError(f"{shown(path)} is not a regular file", "save the video to a file first")
        if path.stat().st_size == 0:
            raise MediaError(f"{shown(path)} is empty (0 bytes)", "copy or download it again")
        if not os.access(path, os.R_OK):
            raise MediaError(f"{shown(path)} may not be read", "check its permissions")
        # libav would draw text as a film, or wait for ever on the live playlist it describes.
        with path.open("rb") as file:
            if _TEXT.issuperset(file.read(4096)):
                raise MediaError(f"{shown(path)} is text, not a video", "name the video file itself")
    except (OSError, ValueError) as error:
        raise MediaError(f"{shown(path)} cannot be reached: {error}", "check the path") from error


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """PyAV's errors -> MediaError; qvl's own errors pass."""
    try:
        yield
    except FFmpegError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise MediaError(
            f"{shown(path)} cannot be read as video ({reason})",
            "it is damaged, cut off before its index, or not a video; copy it again or remux it with ffmpeg",
        ) from error


def url(path: Path) -> str:
    """What libav takes for this very file, never for a protocol, a pattern or an option."""
    return "file:" + str(path.absolute())


def open_container(path: Path) -> InputContainer:
    """An open container; the caller closes it. The whitelist keeps playlists from opening anything else; a
    name with `%d` or `*` in it is no pattern; `genpts` fills in times a container leaves out."""
    av.logging.set_level(None)  # libav writes to stderr past Python otherwise
    with mapped(path):
        return av.open(
            url(path),
            mode="r",
            options={"protocol_whitelist": "file", "pattern_type": "none", "fflags": "+genpts"},
            metadata_errors="replace",
        )


def main_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream a player would show: libav's best, but never cover art or thumbnails."""
    films = _films(container)
    if not films:
        others = sorted({stream.type for stream in container.streams} - {"video"})
        what = f"only {', '.join(others)}" if others else "no stream at all"
        cover = " and cover art" if container.streams.video else ""
        raise MediaError(f"{shown(path)} holds no video, {what}{cover}", "name a file with a video track")
    films = [stream for stream in films if stream.codec_context is not None] or films
    best = container.streams.best("video")
    for stream in films:
        if best is not None and stream.index == best.index:
            return stream
    return max(films, key=lambda stream: bool(stream.disposition & Disposition.default))


def first_start(container: InputContainer) -> Fraction | None:
    """Where the first of the streams that play begins, in seconds on the container's clock; None where none
    says."""
    starts = [
        stream.start_time * stream.time_base
        for stream in (*_films(container), *container.streams.audio)
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(starts, default=None)


def _films(container: InputContainer) -> list[VideoStream]:
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & stills]


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways a camera can be held: transpose first, then the two flips."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def degrees(self) -> int:
        """Clockwise turn that makes the picture upright (a mirroring on top is not counted)."""
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def shown_size(self, width: int, height: int, aspect: Fraction) -> tuple[int, int]:
        """(width, height) as displayed of pictures stored at this size; aspect: of their samples."""
        size = max(round(width * aspect), 1), max(height, 1)
        return size[::-1] if self.transpose else size

    def upright(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """[h, w, 3] as stored -> [h', w', 3] as shown."""
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        if self.flip_x:
            pixels = pixels[:, ::-1]
        if self.flip_y:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


_TURNS = {  # counterclockwise degrees
    90: Orientation(transpose=True, flip_y=True),
    180: Orientation(flip_x=True, flip_y=True),
    270: Orientation(transpose=True, flip_x=True),
}


def sample_aspect(stream: VideoStream) -> Fraction:
    """Width of a sample over its height; square where the stream says nothing or nonsense."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    # Absurd ratios are muxer bugs.
    return aspect if Fraction(1, 16) <= aspect <= 16 else Fraction(1)


def turned_by(degrees: int) -> Orientation:
    """Of pictures stored turned counterclockwise by so many degrees, where that is a quarter turn or more."""
    return _TURNS.get(degrees % 360, Orientation())


def orientation(frame: VideoFrame) -> Orientation:
    """From the frame's display matrix; a missing, empty or slanted one means as stored.

    The matrix sends stored (x, y) to (a x + c y, b x + d y), y downwards, in 16.16 fixed point.
    """
    try:
        # Iterates over values, though it calls itself a Mapping.
        sides = list(cast("Iterable[SideData]", frame.side_data))
    except ValueError:  # EXIF and other kinds that this PyAV has no name for: ask for the turn alone
        return turned_by(round(frame.rotation))
    for side in sides:
        if side.type.name == "DISPLAYMATRIX" and len(bytes(side)) >= 20:
            a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(side)[:20], np.int32))
            straight, turned = min(abs(a), abs(d)), min(abs(b), abs(c))
            if straight > 8 * max(abs(b), abs(c)):
                return Orientation(False, a < 0, d < 0)
            if turned > 8 * max(abs(a), abs(d)):
                return Orientation(True, c < 0, b < 0)
    return Orientation()
