"""path -> MediaInfo: the packets say when, one decoded frame says how it looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.logging
import numpy as np
from av.error import FFmpegError

from qvl_cli.digests import FileDigests
from qvl_cli.errors import MediaError
from qvl_cli.media.boxes import is_cut_off
from qvl_cli.media.container import (
    CONVERT,
    Orientation,
    check_file,
    first_start,
    main_stream,
    mapped,
    open_container,
    orientation,
    sample_aspect,
    shown,
    url,
)
from qvl_cli.media.info import FrameTimes, MediaInfo
from qvl_cli.media.packets import PacketScan, UntimedStream, count_frames, scan_packets
from qvl_cli.timeline import TimeSpan

if TYPE_CHECKING:
    from av.codec import CodecContext
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


_ISO = "mp4"  # among libav's names of the ISO base media format


@dataclass(frozen=True, slots=True)
class Examined:
    """Everything a decoder needs to know of a file before it starts."""

    info: MediaInfo
    stream_index: int
    packets: PacketScan
    orientation: Orientation


def probe(path: str | Path) -> MediaInfo:
    """What the file holds. Reads all of it once, decodes one frame.

    Raises MediaError (missing, empty, not a video, audio only, no frames, undecodable codec) and
    EncryptedMedia.
    """
    return examine(Path(path)).info


def examine(path: Path) -> Examined:
    """`probe` and what it learnt on the way."""
    check_file(path)
    with mapped(path), open_container(path) as container:
        stream = main_stream(container, path)
        index, codec = stream.index, _codec(stream, path)
        audio = tuple(_describe(s) for s in container.streams if s.type == "audio")
        subtitles = tuple(_describe(s) for s in container.streams if s.type == "subtitle")
        format_name, rate = container.format.name, stream.average_rate
        aspect, begins = sample_aspect(stream), first_start(container)
        try:
            packets = scan_packets(container, stream, path)
        except UntimedStream:
            packets = None
    if packets is None:
        with mapped(path), open_container(path) as container:
            packets = count_frames(container, main_stream(container, path), path)
    first = _first_frame(path, index)
    turn = orientation(first)
    width, height = turn.shown_size(first.width, first.height, aspect)

    base, origin = packets.time_base, packets.pts[0]
    times = FrameTimes(packets.pts, origin, base)
    duration = (packets.end - origin) * base
    info = MediaInfo(
        path=path,
        container=format_name,
        codec=codec,
        pixel_format=first.format.name,
        coded_width=first.width,
        coded_height=first.height,
        width=width,
        height=height,
        rotation=turn.degrees,
        sample_aspect_ratio=aspect,
        start=origin * base,
        lead=Fraction(0) if begins is None else max(Fraction(0), origin * base - begins),
        duration=duration,
        average_rate=_average_rate(times, duration, rate),
        variable_rate=_is_variable(packets),
        frame_times=times,
        keyframes=tuple((pts - origin) * base for pts, _ in packets.keyframes if packets.shows(pts)),
        audio=audio,
        subtitles=subtitles,
        holes=tuple(TimeSpan((a - origin) * base, (b - origin) * base) for a, b in packets.holes),
        cut_off=_ISO in format_name.split(",") and is_cut_off(path),
    )
    return Examined(info, index, packets, turn)


def info_dict(info: MediaInfo) -> dict[str, Any]:
    """MediaInfo for JSON: seconds as floats, ratios also as exact "num/den" texts."""
    start, duration = info.start + info.begins, info.duration - info.begins
    return {
        "path": str(info.path),
        "container": info.container,
        "codec": info.codec,
        "pixel_format": info.pixel_format,
        "coded_size": [info.coded_width, info.coded_height],
        "display_size": [info.width, info.height],
        "rotation": info.rotation,
        "sample_aspect_ratio": str(info.sample_aspect_ratio),
        "start": float(start),
        "start_exact": str(start),
        "duration": float(duration),
        "duration_exact": str(duration),
        "average_rate": float(info.average_rate),
        "average_rate_exact": str(info.average_rate),
        "variable_rate": info.variable_rate,
        "frames": len(info.frame_times),
        "keyframes": [float(time) for time in info.keyframes],
        "audio": list(info.audio),
        "subtitles": list(info.subtitles),
        "cut_off": info.cut_off,
        "unit": info.unit,
        "holes": [[float(hole.start), float(hole.end)] for hole in info.holes],
    }


def content_hash(path: str | Path, digest: Callable[[Path], str] | None = None) -> str:
    """sha256 of the file's bytes, hex. digest: what finds it, where it may be known already."""
    path = Path(path)
    check_file(path)
    try:
        return (digest or FileDigests().digest)(path)
    except OSError as error:
        raise MediaError(f"{shown(path)} cannot be read: {error.strerror}", "copy it again") from error


def _codec(stream: VideoStream, path: Path) -> str:
    """The codec's own name (not its decoder's); MediaError where no decoder is built in."""
    context: CodecContext | None = stream.codec_context  # None where libav has no decoder
    if context is None:
        raise MediaError(
            f"{shown(path)} is {_name_in_log(path)} video, which cannot be decoded here", CONVERT
        )
    return str(context.codec.canonical_name)


def _name_in_log(path: Path) -> str:
    """`vvc vvc1`: libav names a codec it cannot decode in its log alone."""
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)  # the second file of a codec is told like the first
    try:
        with av.logging.Capture() as logs, av.open(url(path), metadata_errors="replace"):
            text = " ".join(message for _, _, message in logs)
    finally:
        av.logging.set_level(None)
    found = re.search(r"Video: (\w+)[^,]*\((\w+) / ", text)
    names = [name for name in found.groups() if name != "none"] if found else []
    return " ".join(dict.fromkeys(names)) or "unknown"


def _first_frame(path: Path, index: int) -> VideoFrame:
    """The first frame that decodes; MediaError if none does."""
    with mapped(path), open_container(path) as container:
        stream = container.streams[index]
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        damaged: VideoFrame | None = None
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, FFmpegError):
                break
            try:
                frames = packet.decode()
            except (FFmpegError, NotImplementedError):
                continue
            for frame in frames:
                if not frame.is_corrupt:
                    return frame
                damaged = damaged or frame
        if damaged is not None:
            return damaged
        name = context.codec.canonical_name
    raise MediaError(f"no frame of the {name} video in {shown(path)} can be decoded", CONVERT)


def _describe(stream: Stream) -> str:
    """`aac 48000 Hz stereo eng`, as far as the container tells."""
    context = stream.codec_context
    parts = [context.codec.canonical_name if context is not None else "unknown"]
    if isinstance(stream, av.AudioStream) and context is not None:
        parts += [f"{stream.sample_rate} Hz", stream.layout.name]
    if stream.language and stream.language != "und":
        parts.append(stream.language)
    return " ".join(parts)


def _average_rate(times: Sequence[Fraction], duration: Fraction, stated: Fraction | None) -> Fraction:
    """Frames per second as measured; the container's rounder number where it agrees within 1 %."""
    measured = (len(times) - 1) / times[-1] if len(times) > 1 else 1 / duration
    return stated if stated and abs(stated - measured) <= measured / 100 else measured


def _is_variable(packets: PacketScan) -> bool:
    """Gaps differ by more than a coarse clock's rounding (one tick, if a tick is small beside a gap)."""
    gaps = np.diff(np.array(packets.pts, np.int64))
    if not len(gaps):
        return False
    slack = 1 if gaps.min() >= 4 else 0
    return bool(gaps.max() - gaps.min() > slack)
