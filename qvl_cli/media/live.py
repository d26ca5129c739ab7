"""open_live: a stream, a pipe or a growing file -> its pictures in shown order, until it ends or is stopped.

rtsp://, http://, ...   what ffmpeg reads by that protocol and by those that belong to it, nothing else
-                       standard input, as it comes
a growing file          followed until nothing has been written to it for a while
a finished file         read once, to its end
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from qvl_cli import __version__
from qvl_cli.closing import Closes
from qvl_cli.errors import MediaError, UsageError
from qvl_cli.media import boxes
from qvl_cli.media.container import Orientation, sample_aspect, shown, turned_by, url
from qvl_cli.media.ffmpeg import Remux, find_ffmpeg, remux_command, retries
from qvl_cli.media.follow import Follower, is_old
from qvl_cli.media.info import NOTICEABLE
from qvl_cli.media.inputs import is_playlist, is_still
from qvl_cli.timeline import TimeSpan, merge

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_WEB = "http,https,tcp,tls,crypto,httpproxy"
# What an address may lead to, by how it begins. Never to files: whoever writes a stream must not read them.
PROTOCOLS = {
    "http": _WEB,
    "https": _WEB,
    "rtsp": "rtsp,rtp,srtp,udp,tcp",
    "rtsps": "rtsp,rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tcp,tls",
    "srt": "srt",
    "udp": "udp",
    "tcp": "tcp",
}
_FILES = f"file,{_WEB}"
_READING = re.compile(
    "prematurely|Error during demuxing|Error when loading|Failed to|timed out|Connection|Input/output error"
)
_STEADY = 9  # gaps between pictures, by which a longer one is known
_LONG = 10  # seconds in which a keyframe comes, if ever
_FORGIVEN = 3  # packets that fail before what follows is drawn over too much that is missing


@dataclass(frozen=True, slots=True)
class LiveInfo:
    """width, height: of the first picture as displayed, after rotation and sample aspect ratio."""

    codec: str
    width: int
    height: int


class Picture:
    """One decoded picture and its exact time, from the first one; converted only where it is wanted."""

    __slots__ = ("_frame", "_reformatter", "_turn", "time")

    def __init__(
        self, time: Fraction, frame: VideoFrame, turn: Orientation, reformatter: VideoReformatter
    ) -> None:
        self.time = time
        self._frame, self._turn, self._reformatter = frame, turn, reformatter

    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8 RGB [height, width, 3], upright: what `VideoSource` gives of the same frame."""
        rgb = self._reformatter.reformat(self._frame, format="rgb24").to_ndarray()
        return self._turn.upright(np.asarray(rgb, dtype=np.uint8))


class LiveSource(Closes):
    """One opened stream; `pictures` is iterated once, perhaps on another thread than `stop`.

    lost: spans in which something could not be decoded, sorted; warnings: what else the user has to know;
    both grow. end: where the last picture so far ends. ended: how it ended; None while it goes on, or where
    it was stopped.
    """

    def __init__(self, address: str, remux: Remux, follower: Follower | None) -> None:
        self._address, self._remux, self._follower = address, remux, follower
        self.lost: list[TimeSpan] = []
        self.warnings: list[str] = []
        self.ended: str | None = None
        self.end = Fraction(0)
        self._missing = 0
        self._container: InputContainer | None = None
        self._first: tuple[Fraction, VideoFrame, bool] | None = None
        try:
            # Not here: libav swallows what a signal raises while it reads, and would wait on.
            with ThreadPoolExecutor(1, "qvl-open") as pool:
                opening = pool.submit(self._begin)
                try:
                    self._first = first = opening.result()
                except BaseException:
                    self.stop()
                    raise
        except BaseException:
            self.close()
            raise
        frame = first[1]
        self._turn = turned_by(round(remux.turned()))
        aspect = sample_aspect(self._stream)
        width, height = self._turn.shown_size(frame.width, frame.height, aspect)
        self.info = LiveInfo(self._stream.codec_context.name, width, height)

    def stop(self) -> None:
        """`pictures` comes to its end soon, whatever the stream does."""
        self._remux.stop()

    def close(self) -> None:
        """End ffmpeg; `pictures` must not be running. Safe to call again."""
        self._remux.close()
        if self._follower is not None:
            self._follower.close()
        if self._container is not None:
            self._container.close()
            self._container = None

    def pictures(self) -> Iterator[Picture]:
        """Every picture that can be decoded; times ascend from 0."""
        assert self._first is not None
        first, self._first = self._first, None
        origin, size = first[0], (first[1].width, first[1].height)
        last: Fraction | None = None
        apart: deque[Fraction] = deque(maxlen=_STEADY)
        behind: Fraction | None = None  # since when a keyframe is waited for
        convert = VideoReformatter()
        with closing(self._decoded) as decoded:
            for moment, frame, whole in chain((first,), decoded):
                now = moment - origin
                if last is not None and now <= last:  # a clock that went back a little
                    continue
                if behind is None and last is not None and self._is_hole(now - last, apart):
                    behind = now
                if behind is not None:  # up to the next keyframe pictures are drawn over what is missing
                    if not frame.key_frame and now - behind < _LONG:
                        continue
                    behind, whole = None, False
                if last is not None:
                    apart.append(now - last)
                if not whole:
                    self.lost[:] = merge([*self.lost, TimeSpan(min(self.end, now), now)])
                if (frame.width, frame.height) != size:
                    size = frame.width, frame.height
                    self.warnings.append(
                        f"the picture changes to {size[0]}x{size[1]} at {float(now):.1f} s and is scaled to "
                        "the size of the first one"
                    )
                lasts = frame.duration * (frame.time_base or 0) if frame.duration else None
                self.end = now + (lasts or (now - last if last is not None else Fraction(0)))
                last = now
                yield Picture(now, frame, self._turn, convert)
        self._settle()

    def _is_hole(self, gap: Fraction, apart: Sequence[Fraction]) -> bool:
        """Whether a gap between two pictures is a part that never came, and not a picture that stood still:
        ffmpeg has then called a packet corrupt, and each time it does stands for one gap. apart: the gaps
        before."""
        if gap <= NOTICEABLE or not apart or gap <= 3 * median(apart):
            return False
        self._remux.listen()
        if self._remux.broken == self._missing:
            return False
        self._missing += 1
        return True

    def _begin(self) -> tuple[Fraction, VideoFrame, bool]:
        """The first picture, as `_decode` gives it."""
        self._stream = self._open()
        self._decoded = self._decode()
        if (first := next(self._decoded, None)) is None:
            raise self._unreadable("none of its pictures could be decoded")
        return first

    def _open(self) -> VideoStream:
        av.logging.set_level(None)  # libav writes to stderr past Python otherwise
        try:
            # The rate need not be known, and finding it out takes seconds of a stream.
            self._container = av.open(
                self._remux, "r", format="nut", options={"fpsprobesize": "0"}, metadata_errors="replace"
            )
            stream = self._container.streams.video[0]
        except (FFmpegError, IndexError) as error:
            raise self._unreadable("it is no video") from error
        if stream.codec_context is None:
            raise self._unreadable("no decoder for its video")
        stream.thread_type = "AUTO"
        return stream

    def _decode(self) -> Generator[tuple[Fraction, VideoFrame, bool], None, None]:
        """(time on the stream's clock, picture, whether nothing was lost in front of it)."""
        assert self._container is not None
        packets = self._container.demux(self._stream)
        whole, failed = True, 0
        while True:
            packet: Packet[VideoStream] | None = None
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet is not None else []
            except FFmpegError:
                if packet is None:  # the container itself breaks off
                    return
                whole, failed = False, failed + 1
                continue
            for frame in frames:
                if frame.key_frame:
                    failed = 0
                if frame.pts is None or frame.time_base is None or frame.is_corrupt or failed >= _FORGIVEN:
                    whole, failed = False, failed + frame.is_corrupt
                    continue
                yield frame.pts * frame.time_base, frame, whole
                whole = True
            if packet is None:
                return

    def _settle(self) -> None:
        """Find out how it ended."""
        if self._remux.stopped:
            return
        if self._remux.stalled:
            self.ended = "stall"
            self.warnings.append(f"{shown(self._address)} sent nothing any more: that was taken for its end")
            return
        status, errors = self._remux.finish()
        if status == 0 and not errors_of_reading(errors):
            self.ended = "end"
            if skipped := self._remux.skipped:
                self.warnings.append(
                    f"parts of {shown(self._address)} are missing ({len(skipped)}): {skipped[-1]}"
                )
            if errors:
                self.warnings.append(f"ffmpeg met damage in {shown(self._address)}: {errors[-1]}")
        else:
            self.ended = "break"
            why = errors_of_reading(errors) or errors or [f"ffmpeg ended with {status}"]
            self.warnings.append(f"{shown(self._address)} broke off: {why[-1]}")
        if self._follower is not None and self._follower.shrunk:
            self.ended = "break"
            self.warnings.append(f"{shown(self._address)} became shorter while it was read")

    def _unreadable(self, why: str) -> MediaError:
        """Why there is not one picture, in ffmpeg's words where it has some."""
        if self._remux.stalled:
            return MediaError(f"{shown(self._address)} sends nothing", "check the source, or raise --stall")
        _, errors = self._remux.finish()
        said = next((line for line in errors if not line.startswith("Error opening input")), None)
        return MediaError(
            f"{shown(self._address)} cannot be watched: {said or (errors[0] if errors else why)}",
            "check the address, and that it is a video which can be read from its beginning",
        )


def errors_of_reading(errors: list[str]) -> list[str]:
    """Those lines of ffmpeg that mean that input is missing, and not only damaged."""
    return [line for line in errors if _READING.search(line)]


def open_live(address: str, patience: float) -> LiveSource:
    """Open what the user typed; use as a context manager. patience: seconds without a byte until a stream
    counts as stalled, and a file as finished.

    Raises UsageError for an address of another kind, MediaError where there is nothing to see, and
    BackendMissing without an ffmpeg program.
    """
    program = find_ffmpeg()
    scheme = urlsplit(address).scheme.lower() if "://" in address else ""
    if scheme:
        if scheme not in PROTOCOLS:
            raise UsageError(
                f"{shown(address)}: {scheme} is not followed", f"choose from {', '.join(PROTOCOLS)}"
            )
        options, listed = {"protocol_whitelist": PROTOCOLS[scheme]}, False
        if scheme in ("http", "https"):
            options["user_agent"] = f"qvl/{__version__}"
            if listed := urlsplit(address).path.endswith(".m3u8"):
                options |= retries(program)
        if scheme in ("rtsp", "rtsps"):
            options["rtsp_flags"] = "prefer_tcp"
        command = remux_command(program, address, options, listed)
        return LiveSource(address, Remux(command, None, patience), None)
    if address == "-":
        if os.isatty(0):
            raise MediaError(
                "- reads a video from standard input, which is the terminal", "pipe a video into qvl"
            )
        command = remux_command(program, "pipe:0", {"protocol_whitelist": "pipe"})
        return LiveSource(address, Remux(command, 0, patience), None)
    path = Path(address)
    options = {"protocol_whitelist": _FILES}
    if not _grows(path, patience):
        waits = None if path.is_file() else patience  # a file cannot stall, a named pipe can
        command = remux_command(program, url(path), options, is_playlist(path))
        return LiveSource(address, Remux(command, None, waits), None)
    command = remux_command(program, "pipe:0", {"protocol_whitelist": "pipe"})
    remux = Remux(command, subprocess.PIPE, None)  # the follower knows when it is over
    try:
        follower = Follower(path, remux, patience)
    except BaseException:
        remux.close()
        raise
    return LiveSource(address, remux, follower)


def _grows(path: Path, patience: float) -> bool:
    """Whether the file is to be followed. Raises MediaError where it cannot be read while it grows."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise MediaError(f"{shown(path)} is a directory", "name one video")
        if not os.access(path, os.R_OK):
            raise MediaError(f"{shown(path)} may not be read", "check its permissions")
        if not stat.S_ISREG(kind):
            return False
        if is_still(path):
            raise MediaError(f"{shown(path)} is a picture or a document, no stream", "ask with `qvl locate`")
        if is_old(path, patience):
            return False
        if is_playlist(path):
            return False  # ffmpeg reads it again by itself
        found = boxes.kinds(path)
    except FileNotFoundError:
        raise MediaError(f"{shown(path)} does not exist", "check the path") from None
    except (OSError, ValueError) as error:
        raise MediaError(f"{shown(path)} cannot be reached: {error}", "check the path") from error
    if b"ftyp" in found and not found & {b"moov", b"moof"}:
        raise MediaError(
            f"{shown(path)} has no index yet: one is written when the recording ends",
            "record to MPEG-TS, Matroska or fragmented MP4",
        )
    return b"moov" not in found or b"moof" in found
