"""Which subtitle stream inside a video is text, and reading it. Pictures of text are named, never read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.error import FFmpegError
from av.stream import Disposition

from qvl_cli.media.container import mapped, open_container
from qvl_cli.media.subtitles import ass, srt, vtt
from qvl_cli.media.subtitles.cue import Track, make_track


def _plain(payload: bytes) -> str:
    return srt.clean(payload.decode("utf-8"))


def _web(payload: bytes) -> str:
    if payload[4:8] in (b"vttc", b"vtte"):  # boxes of MP4, which libav hands over as they are
        raise ValueError("WebVTT in MP4 boxes")
    return vtt.clean(payload.decode("utf-8"))


def _substation(payload: bytes) -> str:
    """ReadOrder, Layer, Style, Name, three margins, Effect, Text (as Matroska stores a line)."""
    return ass.clean(payload.decode("utf-8").split(",", 8)[8])


def _timed_text(payload: bytes) -> str:
    """3GPP timed text: a length, the text, boxes of style (ETSI TS 126 245, 5.17.1)."""
    text = payload[2 : 2 + int.from_bytes(payload[:2])]
    marked = text[:2] in (b"\xfe\xff", b"\xff\xfe")
    return text.decode("utf-16" if marked else "utf-8")


_TEXT: Mapping[str, Callable[[bytes], str]] = {
    "subrip": _plain,
    "text": _plain,
    "webvtt": _web,
    "ass": _substation,
    "ssa": _substation,
    "mov_text": _timed_text,
}


@dataclass(frozen=True, slots=True)
class TextStream:
    """A stream of text inside a container. name: what notes call it, `stream 2 (subrip eng)`."""

    index: int
    codec: str
    name: str


def find_streams(video: Path) -> tuple[list[TextStream], list[str]]:
    """Text streams of `video`, the one to use first (the container's default, then in its order, forced ones
    last), and the names of the subtitle streams that hold no text."""
    text: list[tuple[tuple[bool, bool, int], TextStream]] = []
    others: list[str] = []
    with mapped(video), open_container(video) as container:
        for stream in container.streams:
            if stream.type != "subtitle":
                continue
            context = stream.codec_context  # None where libav has no decoder
            codec = "unknown" if context is None else str(context.codec.canonical_name)
            language = stream.language if stream.language and stream.language != "und" else ""
            name = f"stream {stream.index} ({' '.join(part for part in (codec, language) if part)})"
            if codec not in _TEXT:
                others.append(name)
                continue
            forced = bool(stream.disposition & Disposition.forced)
            default = bool(stream.disposition & Disposition.default)
            text.append(((forced, not default, stream.index), TextStream(stream.index, codec, name)))
    return [stream for _, stream in sorted(text, key=lambda each: each[0])], others


def read_stream(video: Path, stream: TextStream, start: Fraction) -> Track:
    """The cues of a text stream. start: the first frame on the container's clock (`MediaInfo.start`).

    Where the file breaks off, what was read before is returned, with a note.
    """
    raw: list[tuple[Fraction, Fraction, str]] = []
    faults: list[str] = []
    notes: list[str] = []
    read = _TEXT[stream.codec]
    with mapped(video), open_container(video) as container:
        packets = container.demux(container.streams[stream.index])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except FFmpegError as error:
                notes.append(f"{stream.name} breaks off: {(error.strerror or 'damaged').lower()}")
                break
            payload = bytes(packet)
            if not payload:  # the end of the stream, or a pause between two cues
                continue
            if packet.pts is None:
                faults.append("one has no time")
                continue
            base = packet.time_base
            begin = packet.pts * base - start
            try:
                text = read(payload)
            except (UnicodeDecodeError, ValueError, IndexError):
                faults.append(f"the one at {float(begin):.1f} s is no text")
                continue
            raw.append((begin, begin + (packet.duration or 0) * base, text))
    return make_track(raw, faults, notes)
