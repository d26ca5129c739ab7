"""HLS playlists: libav walks the list, qvl opens every address in it, and the packets become one local file.

So one rule decides what a playlist may lead to, a part that cannot be had is an error instead of a gap that
nobody notices, and everything after this reads an ordinary file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import av
import av.logging

from qvl_cli.errors import EncryptedMedia, MediaError, QvlError
from qvl_cli.media.container import main_stream, mapped, url
from qvl_cli.media.remote import WholeResponse, is_url, open_url
from qvl_cli.media.spool import Progress, Spool

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_REMOTE = "http,https,tcp,tls,crypto"
_LOCAL = f"file,{_REMOTE}"
_NAME = "name the video itself"
_COMPLETE = "complete the playlist's files"
_HEAD = 64  # bytes
_URI = re.compile(r'URI="([^"]*)"')
_JUMP = 10  # seconds; segments follow each other, so a longer step of the clock is a new clock


def spool_playlist(address: str, spool: Spool, progress: Progress) -> str | None:
    """Copy the video that the playlist at `address` (a URL or a path) describes; a warning, if one is due.

    A remote playlist leads to http and https alone, a local one also to files. Raises MediaError, also for a
    playlist that is still growing, EncryptedMedia and OverBudget.
    """
    remote, path = is_url(address), Path(address)
    spool.finish()

    parts: list[Any] = []
    failures: list[QvlError] = []

    def opened(part: str, flags: int, given: dict[str, str]) -> Any:
        try:
            parts.append(file := _open(part, given, address, remote))
        except QvlError as error:  # libav goes on without this part
            failures.append(error)
            raise
        return file

    source = address if remote else url(path)
    options = {
        "protocol_whitelist": _REMOTE if remote else _LOCAL,
        "fflags": "+genpts",
        "http_persistent": "0",  # libav would look for its own connection behind `opened`, and abort
        "http_multiple": "0",
    }
    av.logging.set_level(av.logging.WARNING)
    try:
        with (
            av.logging.Capture() as said,
            mapped(path),
            av.open(source, io_open=opened, options=options, metadata_errors="replace") as playlist,
        ):
            jumps = _copy(playlist, address, spool, progress)
    except MediaError as error:
        raise (failures or _passed_over(said, address) or [error])[0] from None
    finally:
        av.logging.set_level(None)
        for file in parts:
            file.close()
    if passed_over := failures or _passed_over(said, address):
        raise passed_over[0]
    if not jumps:
        return None
    return f"the clock of the playlist jumps {jumps} times: its parts are placed one after another"


def files_in(playlist: Path) -> Iterator[Path]:
    """The files that a playlist on disk names: its segments, keys and beginnings, or other playlists."""
    for line in playlist.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        named = _URI.findall(line) if line.startswith("#") else [line.strip()]
        for name in named:
            if name and not is_url(name):
                yield playlist.parent / name.removeprefix("file:")


def _copy(playlist: InputContainer, address: str, spool: Spool, progress: Progress) -> int:
    """Write the video's packets into the spool; how often their clock jumped."""
    if playlist.duration is None:
        raise MediaError(f"{address} is a live playlist without an end", "record a part of it first")
    stream = main_stream(playlist, Path(address))
    clock = _Clock(stream)
    spool.size = 0
    with av.open(str(spool.path), "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        copy = out.add_stream_from_template(stream)
        for packet in playlist.demux(stream):
            if not packet.size or packet.pts is None or packet.dts is None:
                continue
            spool.grow(packet.size)
            clock.place(packet)
            packet.stream = copy
            out.mux(packet)
            progress(f"downloading {spool.name}", spool.size, 0)
    lacking = Fraction(playlist.duration, 1_000_000) - clock.placed
    if clock.passed_over and 2 * lacking > min(clock.passed_over):
        raise MediaError(
            f"{address} promises {float(lacking):.1f} s more than its parts have: one holds no pictures",
            _COMPLETE,
        )
    return clock.jumps


def _open(part: str, options: dict[str, str], address: str, remote: bool) -> Any:
    scheme = urlsplit(part).scheme.lower()
    if scheme.startswith("crypto"):
        raise _encrypted(address)
    if scheme in ("http", "https"):
        first, end = int(options.get("offset", 0)), int(options.get("end_offset", 0))
        response = open_url(part, first, end - 1 if end else None)
        head = b""
        try:
            with suppress(OSError, HTTPException):
                head = response.peek(_HEAD)
            if head or not response.length:  # where more should have come, reading tells of the early end
                _check_part(part, head)
        except MediaError:
            response.close()
            raise
        return WholeResponse(part, response)
    if scheme in ("", "file") and not remote:
        name = part.removeprefix("file:")
        try:
            with Path(name).open("rb") as file:
                _check_part(name, file.read(_HEAD), os.fstat(file.fileno()).st_size)
            return Path(name).open("rb")
        except OSError as error:
            raise MediaError(f"{address} names {name}: {error.strerror}", _COMPLETE) from error
    raise MediaError(f"{address} leads to {part}, which is not followed", _NAME)


def _check_part(name: str, head: bytes, size: int = 0) -> None:
    """Raises MediaError for what libav would pass over without a word: nothing, the text that a server sends
    instead, and half a packet of a transport stream. head: its first bytes; size: bytes of a file."""
    if not head:
        raise MediaError(f"{name} is empty", _COMPLETE)
    if head.lstrip()[:1] in (b"<", b"{"):
        raise MediaError(f"{name} is a text and no part of a video", _COMPLETE)
    if head.startswith(b"G") and size % 188 and size % 192:
        raise MediaError(f"{name} is cut off in the middle of a packet", _COMPLETE)


def _passed_over(said: list[tuple[int, str, str]], address: str) -> list[MediaError]:
    """Parts that libav itself will not open are left out with a line in its log, and no error."""
    errors: list[MediaError] = []
    for _, _, message in said:
        line = " ".join(message.split())
        if "key file" in line:
            errors.insert(0, _encrypted(address))
        elif re.search("Failed to open|not in allowed|not a common multimedia", line):
            errors.append(MediaError(f"{address} leads where qvl does not follow ({line})", _NAME))
    return errors


def _encrypted(address: str) -> EncryptedMedia:
    return EncryptedMedia(f"the segments of {address} are encrypted", "use a copy without encryption")


class _Clock:
    """Puts the parts of a playlist, each with a clock of its own, one after another."""

    def __init__(self, stream: VideoStream) -> None:
        self._base = stream.time_base or Fraction(1, 90_000)
        self._second = round(1 / self._base)
        self._shift, self._end = 0, 0
        self._first: int | None = None  # as placed
        self._last: int | None = None  # decoding time, as placed
        self.jumps = 0
        self.passed_over: list[Fraction] = []  # seconds, of jumps forward

    @property
    def placed(self) -> Fraction:
        """Seconds from the first picture to the end of the last."""
        return (self._end - (self._first or 0)) * self._base

    def place(self, packet: Packet[VideoStream]) -> None:
        """Move the packet's times. Decoding times come out ascending, as muxers insist."""
        assert packet.pts is not None and packet.dts is not None
        dts = packet.dts + self._shift
        if self._last is not None:
            if not -self._second < dts - self._last < _JUMP * self._second:
                self.jumps += 1
                if dts > self._last:
                    self.passed_over.append((dts - self._last) * self._base)
                self._shift = self._end - packet.pts
                dts = packet.dts + self._shift
            if dts <= self._last:
                self._shift += self._last + 1 - dts
                dts = self._last + 1
        self._last = dts
        packet.pts, packet.dts = packet.pts + self._shift, dts
        self._first = packet.pts if self._first is None else min(self._first, packet.pts)
        self._end = max(self._end, packet.pts + (packet.duration or 0))
