"""One pass over the packets: when every shown frame is shown, and where decoding can start. No decoding."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from av.error import FFmpegError

from qvl_cli.errors import EncryptedMedia, MediaError
from qvl_cli.media.bitstream import References, is_shown
from qvl_cli.media.container import CONVERT, mapped, shown
from qvl_cli.media.info import HALF_CLOCK, NOTICEABLE

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# The other containers' durations are measured or guessed by libav, not promised by a header.
_STATES_DURATION = {"matroska,webm", "flv", "mov,mp4,m4a,3gp,3g2,mj2", "asf"}
_TRACKS = {"video", "audio", "subtitle"}
_REORDERED = 16  # pictures that H.264 and HEVC may show before one that was decoded earlier
_RESTART = 1  # seconds; decoding times never run back, but some muxers jitter


@dataclass(frozen=True, slots=True)
class PacketScan:
    """Times in ticks of `time_base`, on the container's clock; in arrays, because hours hold very many.

    pts: of every shown frame, ascending. keyframes: (pts, earliest of pts and dts) of every frame decoding
    can start from, ascending, also those an edit list hides. end: end of the last frame. holes: (from, to)
    promised or damaged away. counted: decoded frames carry no usable times; the n-th one is shown at pts[n].
    restarts: the file is several joined ones, and its clock starts over: {number of the first packet of the
    stream after it: what to add from there on}; with it all times above ascend, but none can be sought.
    order: pts of every packet, in the order of the file, and spare: 1 for each packet whose picture no other
    needs; both empty where packets cannot be told by their pts, or one of them is damaged.
    """

    time_base: Fraction
    pts: Sequence[int]
    keyframes: tuple[tuple[int, int], ...]
    end: int
    typical_gap: int
    holes: tuple[tuple[int, int], ...]
    counted: bool = False
    restarts: Mapping[int, int] = field(default_factory=dict)
    order: Sequence[int] = ()
    spare: bytes = b""

    def index(self, pts: int) -> int:
        """Which frame is on screen at `pts` (the last one that began); 0 before the first."""
        return max(bisect_right(self.pts, pts) - 1, 0)

    def shows(self, pts: int) -> bool:
        """Whether a frame begins at exactly `pts`."""
        return self.pts[self.index(pts)] == pts

    def keyframe_before(self, pts: int, back: int = 0) -> tuple[int, int] | None:
        """The last keyframe at or before `pts`, or the one `back` places earlier; None if there is none."""
        at = bisect_right(self.keyframes, pts, key=lambda key: key[0]) - 1 - back
        return self.keyframes[at] if at >= 0 else None


@dataclass(slots=True)
class _Part:
    """What was read since the clock last started over; times as the packets have them."""

    first_packet: int
    pts: array[int] = field(default_factory=lambda: array("q"))  # of shown frames, in the order of the file
    durations: array[int] = field(default_factory=lambda: array("q"))
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
        return mpeg and dts - last > HALF_CLOCK

    def shown(self) -> _Shown:
        return _Shown.of(np.array(self.pts, np.int64), np.array(self.durations, np.int64))


@dataclass(frozen=True, slots=True)
class _Shown:
    """int64 [frames]: presentation times, ascending, and the durations that packets state."""

    times: npt.NDArray[np.int64]
    durations: npt.NDArray[np.int64]

    @classmethod
    def of(cls, times: npt.NDArray[np.int64], durations: npt.NDArray[np.int64]) -> _Shown:
        """In any order; of packets with one time the longest duration counts."""
        each, which = np.unique(times, return_inverse=True)
        longest = np.zeros(len(each), np.int64)
        np.maximum.at(longest, which, durations)
        return cls(each, longest)

    def end(self, frame: int) -> tuple[int, int]:
        """(end of the last frame, typical gap between two), in ticks; frame: ticks at the stated rate."""
        gaps = np.diff(self.times)
        typical = int(np.sort(gaps)[len(gaps) // 2]) if len(gaps) else int(self.durations[-1]) or frame
        # The last packet's own duration, where durations can be believed; some muxers write 1 everywhere.
        believed = np.abs(self.durations[:-1] - gaps) <= np.maximum(1, gaps // 4)
        stated = int(self.durations[-1])
        last = stated if stated > 0 and 2 * int(believed.sum()) >= len(gaps) else typical
        return int(self.times[-1]) + last, typical


def scan_packets(container: InputContainer, stream: VideoStream, path: Path) -> PacketScan:
    """Read the whole container once. MediaError where it has no frames, EncryptedMedia where locked."""
    time_base = stream.time_base or Fraction(1, 1000)
    parts = [_Part(0)]
    untimed, number, others_end = 0, -1, Fraction(0)
    # AVI stores no presentation times, and what libav derives is wrong for reordered pictures.
    counted = container.format.name == "avi" and stream.codec_context.has_b_frames
    mpeg = container.format.name in ("mpegts", "mpeg")
    tail: int | None = None  # the last packet, if only a part of it was there
    references = References(stream.codec_context.codec.canonical_name, stream.codec_context.extradata)
    order = array("q")

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
        data = memoryview(packet)
        order.append(pts)
        references.read(data)
        if not packet.is_discard and is_shown(data, stream.codec_context.name):
            part.pts.append(pts)
            part.durations.append(packet.duration or 0)
    if untimed > sum(len(part.pts) for part in parts):
        raise UntimedStream
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    frame = max(round(1 / (rate * time_base)), 1)
    whole, broken, keyframes, restarts = _joined(parts, tail, frame)
    times = whole.times
    if not len(times):
        raise MediaError(f"{shown(path)} has a video track without a single frame", "copy it again")

    end, typical = whole.end(frame)
    # A joined file's header speaks of one of its parts.
    promised = (
        None if restarts else _promised_end(container, stream, time_base, int(times[0]), end, others_end)
    )
    gaps = np.diff(times)
    noticeable = max(Fraction(3 * typical), NOTICEABLE / time_base)
    wide = np.flatnonzero(gaps > int(noticeable)) if broken else ()
    holes = [
        (int(times[n]) + typical, int(times[n + 1])) for n in wide if _broken_near(int(n), times, broken)
    ]
    if promised is not None and (promised - end) * time_base > max(2 * typical * time_base, NOTICEABLE):
        # Reordered pictures: the tail of a cut-off file may lack some before its last one.
        for at, stated, gap in zip(times[-33:-1], whole.durations[-33:-1], gaps[-32:], strict=True):
            if gap >= 2 * stated > 0:
                holes.append((int(at + stated), int(at + gap)))
        holes.append((end, promised))
    starts = () if counted else tuple(sorted(keyframes.items()))
    told_apart = not (counted or restarts or untimed or broken) and len(np.unique(order)) == len(order)
    return PacketScan(
        time_base,
        array("q", times.tobytes()),
        starts,
        end,
        typical,
        tuple(sorted(set(holes))),
        counted,
        restarts,
        order if told_apart else (),
        references.spare() if told_apart else b"",
    )


def _broken_near(frame: int, times: npt.NDArray[np.int64], broken: set[int]) -> bool:
    """Whether a packet at the gap behind a frame is broken. Of reordered pictures the first behind a gap in
    the file is not the first behind it in time."""
    first = int(times[max(frame - _REORDERED, 0)])
    last = int(times[min(frame + 1 + _REORDERED, len(times) - 1)])
    return any(first <= pts <= last for pts in broken)


def _joined(
    parts: list[_Part], tail: int | None, frame: int
) -> tuple[_Shown, set[int], dict[int, int], dict[int, int]]:
    """All parts on one clock, each beginning where the one before ends: shown frames, broken packets,
    keyframes, and PacketScan.restarts.

    tail: a last packet to leave out. frame: ticks of one frame at the stated rate.
    """
    shown, broken, keyframes, restarts = [], set[int](), dict[int, int](), dict[int, int]()
    end: int | None = None
    for part in parts:
        each, shift = part.shown(), 0
        if tail is not None and part is parts[-1]:
            stays = each.times != tail
            each = _Shown(each.times[stays], each.durations[stays])
        if part is not parts[0]:
            first = int(each.times[0]) if len(each.times) else 0
            shift = restarts[part.first_packet] = (end or 0) - first
        each = _Shown(each.times + shift, each.durations)
        if len(each.times):
            end = each.end(frame)[0]
        shown.append(each)
        keyframes |= {pts + shift: start + shift for pts, start in part.keyframes.items()}
        broken |= {pts + shift for pts in part.broken}
    whole = shown[0]
    if len(shown) > 1:
        whole = _Shown.of(
            np.concatenate([each.times for each in shown]), np.concatenate([each.durations for each in shown])
        )
    return whole, broken, keyframes, restarts


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
    return PacketScan(1 / rate, range(frames), (), frames, 1, (), counted=True)


def _demux(
    container: InputContainer, stream: VideoStream, path: Path, flush: bool = False
) -> Iterator[Packet[Any]]:
    """Packets up to the end, or up to where the file breaks off. Other tracks only where their end matters.

    flush: also the empty last packet that makes a decoder give out what it still holds.
    """
    wanted = [stream.index]
    if stream.duration is None and container.duration:
        wanted += [s.index for s in container.streams if s.type in _TRACKS and s.index != stream.index]
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
