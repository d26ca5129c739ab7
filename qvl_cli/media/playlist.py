"""HLS playlists: libav walks the list, qvl opens every address in it, and the packets become one local file.

So one rule decides what a playlist may lead to, a part that cannot be had is an error instead of a gap that
nobody notices, and everything after this reads an ordinary file.
"""

from __future__ import annotations

import re
from fractions import Fraction
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
    return clock.jumps


def _open(part: str, options: dict[str, str], address: str, remote: bool) -> Any:
    scheme = urlsplit(part).scheme.lower()
    if scheme.startswith("crypto"):
        raise _encrypted(address)
    if scheme in ("http", "https"):
        first, end = int(options.get("offset", 0)), int(options.get("end_offset", 0))
        return WholeResponse(part, open_url(part, first, end - 1 if end else None))
    if scheme in ("", "file") and not remote:
        try:
            return Path(part.removeprefix("file:")).open("rb")
        except OSError as error:
            raise MediaError(
                f"{address} names {part.removeprefix('file:')}: {error.strerror}",
                "complete the playlist's files",
            ) from error
    raise MediaError(f"{address} leads to {part}, which is not followed", _NAME)


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
        base = stream.time_base or Fraction(1, 90_000)
        self._second = round(1 / base)
        self._shift, self._end = 0, 0
        self._last: int | None = None  # decoding time, as placed
        self.jumps = 0

    def place(self, packet: Packet[VideoStream]) -> None:
        """Move the packet's times. Decoding times come out ascending, as muxers insist."""
        assert packet.pts is not None and packet.dts is not None
        dts = packet.dts + self._shift
        if self._last is not None:
            if not -self._second < dts - self._last < _JUMP * self._second:
                self.jumps += 1
                self._shift = self._end - packet.pts
                dts = packet.dts + self._shift
            if dts <= self._last:
                self._shift += self._last + 1 - dts
                dts = self._last + 1
        self._last = dts
        packet.pts, packet.dts = packet.pts + self._shift, dts
        self._end = max(self._end, packet.pts + (packet.duration or 0))
