"""One pass over the packets: when every shown frame is shown, and where decoding can start. No decoding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from av.error import FFmpegError

from qvl_cli.errors import EncryptedMedia, MediaError
from qvl_cli.media.container import CONVERT, mapped, shown

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# The other containers' durations are measured or guessed by libav, not promised by a header.
_STATES_DURATION = {"matroska,webm", "flv", "mov,mp4,m4a,3gp,3g2,mj2", "asf"}
_NOTICEABLE = Fraction(1, 4)  # seconds; shorter gaps are no holes
_RESTART = 1  # seconds; decoding times never run back, but some muxers jitter
# MPEG clocks count to 2^33 and start over, which libav unwraps. It takes a joined file's step back to a much
# earlier time for that, too: a gap of half the clock (13 h) is none.
_HALF_CLOCK = 2**32


@dataclass(frozen=True, slots=True)
class PacketScan:
    """Times in ticks of `time_base`, on the container's clock.

    pts: of every shown frame, ascending. keyframes: (pts, earliest of pts and dts) of every frame decoding
    can start from, ascending, also those an edit list hides. end: end of the last frame. holes: (from, to)
    promised or damaged away. counted: decoded frames carry no usable times; the n-th one is shown at pts[n].
    restarts: the file is several joined ones, and its clock starts over: {number of the first packet of the
    stream after it: what to add from there on}; with it all times above ascend, but none can be sought.
    """

    time_base: Fraction
    pts: tuple[int, ...]
    keyframes: tuple[tuple[int, int], ...]
    end: int
    typical_gap: int
    holes: tuple[tuple[int, int], ...]
    counted: bool = False
    restarts: Mapping[int, int] = field(default_factory=dict)

    def index(self, pts: int) -> int:
        """Which frame is on screen at `pts` (the last one that began); 0 before the first."""
        return max(bisect_right(self.pts, pts) - 1, 0)

    def keyframe_before(self, pts: int, back: int = 0) -> tuple[int, int] | None:
        """The last keyframe at or before `pts`, or the one `back` places earlier; None if there is none."""
        at = bisect_right(self.keyframes, pts, key=lambda key: key[0]) - 1 - back
        return self.keyframes[at] if at >= 0 else None


@dataclass(slots=True)
class _Part:
    """What was read since the clock last started over; times as the packets have them."""

    first_packet: int
    shown_at: dict[int, int] = field(default_factory=dict)  # pts -> duration
    keyframes: dict[int, int] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    first_dts: int | None = None
    last_dts: int | None = None

    def restarts_at(self, packet: Packet[Any], time_base: Fraction, mpeg: bool) -> bool:
        """Whether the clock starts over with `packet`: a joined file, not a reordered picture."""
        dts, first, last = packet.dts, self.first_dts, self.last_dts
        if dts is None or first is None or last is None:
            return False
        if dts < last:  # the second case finds parts shorter than a second
            return (last - dts) * time_base > _RESTART or (packet.is_keyframe and dts <= first)
        return mpeg and dts - last > _HALF_CLOCK


def scan_packets(container: InputContainer, stream: VideoStream, path: Path) -> PacketScan:
    """Read the whole container once. MediaError where it has no frames, EncryptedMedia where locked."""
    time_base = stream.time_base or Fraction(1, 1000)
    parts = [_Part(0)]
    untimed, number, others_end = 0, -1, Fraction(0)
    # AVI stores no presentation times, and what libav derives is wrong for reordered pictures.
    counted = container.format.name == "avi" and stream.codec_context.has_b_frames
    mpeg = container.format.name in ("mpegts", "mpeg")
    tail: int | None = None  # the last packet, if only a part of it was there

    if "enc_key_id" in stream.metadata:
        raise _encrypted(path)
    for packet in _demux(container, stream, path):
        if packet.stream_index != stream.index:
            if packet.pts is not None:
                others_end = max(others_end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            continue
        number += 1
        if packet.has_sidedata("encryption_info"):
            raise _encrypted(path)
        pts = packet.dts if counted else packet.pts
        if pts is None:
            untimed += 1
            continue
        if parts[-1].restarts_at(packet, time_base, mpeg):
            parts.append(_Part(number))
        part = parts[-1]
        if packet.dts is not None:
            part.first_dts = packet.dts if part.first_dts is None else part.first_dts
            part.last_dts = packet.dts
        tail = pts if packet.is_corrupt else None
        if packet.is_corrupt:
            part.broken.add(pts)
        if packet.is_keyframe:
            part.keyframes[pts] = min(pts, pts if packet.dts is None else packet.dts)
        if not packet.is_discard and _is_shown(packet, stream.codec_context.name):
            part.shown_at[pts] = max(packet.duration or 0, part.shown_at.get(pts, 0))
    if tail is not None:
        parts[-1].shown_at.pop(tail, None)
    if untimed > sum(len(part.shown_at) for part in parts):
        raise UntimedStream
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    frame = max(round(1 / (rate * time_base)), 1)
    whole, restarts = _joined(parts, frame)
    shown_at, broken = whole.shown_at, whole.broken
    if not shown_at:
        raise MediaError(f"{shown(path)} has a video track without a single frame", "copy it again")

    times = sorted(shown_at)
    end, typical = _end(shown_at, frame)
    # A joined file's header speaks of one of its parts.
    promised = None if restarts else _promised_end(container, stream, time_base, times[0], end, others_end)
    holes = [
        (a + typical, b)
        for a, b in pairwise(times)
        if (a in broken or b in broken) and (b - a) * time_base > max(3 * typical * time_base, _NOTICEABLE)
    ]
    if promised is not None and (promised - end) * time_base > max(2 * typical * time_base, _NOTICEABLE):
        # Reordered pictures: the tail of a cut-off file may lack some before its last one.
        tail_pairs = pairwise(times[-33:])
        holes += [(a + shown_at[a], b) for a, b in tail_pairs if b - a >= 2 * shown_at[a] > 0]
        holes.append((end, promised))
    starts = () if counted else tuple(sorted(whole.keyframes.items()))
    return PacketScan(
        time_base, tuple(times), starts, end, typical, tuple(sorted(set(holes))), counted, restarts
    )


def _joined(parts: list[_Part], frame: int) -> tuple[_Part, dict[int, int]]:
    """All parts on one clock, each beginning where the one before ends; and PacketScan.restarts.

    frame: ticks of one frame at the stated rate.
    """
    whole = parts[0]
    restarts: dict[int, int] = {}
    end = _end(whole.shown_at, frame)[0] if whole.shown_at else 0
    for part in parts[1:]:
        shift = restarts[part.first_packet] = end - min(part.shown_at, default=0)
        if part.shown_at:
            end = _end(part.shown_at, frame)[0] + shift
        whole.shown_at |= {pts + shift: duration for pts, duration in part.shown_at.items()}
        whole.keyframes |= {pts + shift: start + shift for pts, start in part.keyframes.items()}
        whole.broken |= {pts + shift for pts in part.broken}
    return whole, restarts


def _end(shown_at: Mapping[int, int], frame: int) -> tuple[int, int]:
    """(end of the last frame, typical gap between two), in ticks."""
    times = sorted(shown_at)
    gaps = [b - a for a, b in pairwise(times)]
    last = times[-1]
    typical = sorted(gaps)[len(gaps) // 2] if gaps else shown_at[last] or frame
    durations = [shown_at[time] for time in times[:-1]]
    return last + _last_duration(shown_at[last], durations, gaps, typical), typical


class UntimedStream(Exception):
    """Raised inside media/ alone: most packets carry no time, so frames must be counted instead."""


def count_frames(container: InputContainer, stream: VideoStream, path: Path) -> PacketScan:
    """For elementary streams without any times: decode once, and place frames evenly at the stated rate."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    frames = 0
    for packet in _demux(container, stream, path, flush=True):
        try:
            frames += len(packet.decode())
        except FFmpegError:
            continue
    if not frames:
        raise MediaError(f"no frame of {shown(path)} can be decoded", CONVERT)
    return PacketScan(1 / rate, tuple(range(frames)), (), frames, 1, (), counted=True)


def _demux(
    container: InputContainer, stream: VideoStream, path: Path, flush: bool = False
) -> Iterator[Packet[Any]]:
    """Packets up to the end, or up to where the file breaks off. Other tracks only where their end matters.

    flush: also the empty last packet that makes a decoder give out what it still holds.
    """
    wanted = [stream.index]
    if stream.duration is None and container.duration:
        wanted += [s.index for s in container.streams if s.type == "audio"]
    packets = container.demux([container.streams[index] for index in wanted])
    seen = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except FFmpegError:
            if seen:
                return
            with mapped(path):
                raise
        seen += 1
        if flush or packet.size:
            yield packet


def _encrypted(path: Path) -> EncryptedMedia:
    return EncryptedMedia(f"{shown(path)} is encrypted (DRM)", "use a copy without copy protection")


def _is_shown(packet: Packet[VideoStream], codec: str) -> bool:
    """VP8 and VP9 store reference pictures that are never shown (bitstream guides: frame tag; 6.2)."""
    if codec in ("vp8", "libvpx"):
        return bool(memoryview(packet)[0] & 0x10)
    if codec in ("vp9", "libvpx-vp9"):
        data = memoryview(packet)
        last = data[-1]
        size_bytes, count = ((last >> 3) & 3) + 1, (last & 7) + 1
        index = 2 + size_bytes * count
        if last & 0xE0 == 0xC0 and len(data) > index and data[-index] == last:
            at, table = 0, data[len(data) - index + 1 : -1]
            for n in range(count):
                if at < len(data) and _vp9_shown(data[at]):
                    return True
                at += int.from_bytes(table[n * size_bytes : (n + 1) * size_bytes], "little")
            return False
        return _vp9_shown(data[0])
    return True


def _vp9_shown(head: int) -> bool:
    if head & 0x30 == 0x30:  # profile 3 has one more reserved bit
        head <<= 1
    return bool(head & 0x08 or head & 0x02)  # show_existing_frame, show_frame


def _last_duration(stated: int, durations: list[int], gaps: list[int], typical: int) -> int:
    """The last packet's own duration, where durations can be believed; some muxers write 1 everywhere."""
    believed = sum(abs(d - g) <= max(1, g // 4) for d, g in zip(durations, gaps, strict=True))
    return stated if stated > 0 and 2 * believed >= len(gaps) else typical


def _promised_end(
    container: InputContainer,
    stream: VideoStream,
    time_base: Fraction,
    first: int,
    end: int,
    others_end: Fraction,
) -> int | None:
    """Where the header says the video ends; None where none says, or another track reaches that far."""
    if stream.duration is not None:
        return first + stream.duration
    if container.duration is None or container.format.name not in _STATES_DURATION:
        return None
    promised = Fraction(container.duration, 1_000_000)
    return int(promised / time_base) if promised - max(others_end, end * time_base) > Fraction(1, 2) else None
