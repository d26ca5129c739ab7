"""One stream decoded in shown order, and moved about by its keyframes. Damage is counted, never raised."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.error import FFmpegError

from qvl_cli.media.container import open_container
from qvl_cli.media.packets import PacketScan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_SEEK_WORTH = 12  # frames: decoding on over fewer is cheaper than a seek and refilling the decoder
_ERROR_REACH = 64  # packets: reordering and frame threads report an error at most this far from its frame
# After this many failures, pictures up to the next keyframe are drawn over older ones that nobody should see
# again; after one or two they carry a few wrong blocks at most.
_BURST = 3


class Decoder:
    """last: the (pts, frame) most recently passed; ahead: the next one, already decoded, if any.

    Holds only the decoder's own delay in frames, whatever the file's length.
    """

    def __init__(self, path: Path, stream_index: int, scan: PacketScan) -> None:
        self._path, self._index, self._scan = path, stream_index, scan
        self._container: InputContainer | None = None
        self._ready: deque[tuple[int, VideoFrame]] = deque()
        self.last: tuple[int, VideoFrame] | None = None
        self.restart()

    def close(self) -> None:
        """Free the container; safe to call again."""
        self._ready.clear()
        self.last = None
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def ahead(self) -> tuple[int, VideoFrame] | None:
        return self._ready[0] if self._ready else None

    @property
    def near_error(self) -> bool:
        """Whether something failed to decode close to where the decoder stands."""
        return self._failed_at is not None and self._packets_read - self._failed_at <= _ERROR_REACH

    def approach(self, wanted: int) -> None:
        """Stay where decoding on leads to `wanted` soonest, else seek to the keyframe before it."""
        position = self.last[0] if self.last else None
        if self._scan.counted or self._scan.restarts:
            if position is not None and wanted < position:
                self.restart()
            return
        if position is None and wanted == self._scan.pts[0] and not self.sought:
            return
        key = self._scan.keyframe_before(wanted)
        here = self._scan.index(position) if position is not None else 0
        behind = position is not None and wanted < position
        if behind or (key is not None and self._scan.index(key[0]) - here > _SEEK_WORTH):
            self.seek(wanted, back=0)

    def seek(self, wanted: int, back: int) -> None:
        """Move to the keyframe before `wanted`, or `back` keyframes earlier; to the start without one."""
        key = self._scan.keyframe_before(wanted, back)
        if key is None or self._container is None or self._scan.counted or self._scan.restarts:
            self.restart()
            return
        try:
            self._container.seek(key[1], stream=self._stream, backward=True)
        except FFmpegError:
            self.restart()
            return
        self._begin(sought=True)

    def restart(self) -> None:
        """Reopen the file: some containers cannot seek at all."""
        self.close()
        self._container = open_container(self._path)
        stream = self._container.streams[self._index]
        assert isinstance(stream, av.VideoStream)
        self._stream: VideoStream = stream
        # With several threads, what a damaged picture looks like and whether it is told depends on chance.
        stream.codec_context.thread_count = 1
        self._begin(sought=False)

    def run_to(self, wanted: int) -> VideoFrame | None:
        """Decode up to `wanted`; its frame, or None where the next one is later or nothing is left."""
        if self.last is not None and self.last[0] == wanted:
            return self.last[1]
        while self._fill():
            pts, frame = self._ready[0]
            if pts > wanted:
                return None
            self.last = self._ready.popleft()
            if pts == wanted:
                return frame
        return None

    def _begin(self, sought: bool) -> None:
        assert self._container is not None
        self.sought = sought
        self.drained = False
        self.last = None
        self._ready.clear()
        self._count = 0
        self._held_back: int | None = None  # packets read in front of the first frame
        self._stale = 0  # frames to come whose numbers are wrong
        self._packets_read = 0
        self._number, self._shift = -1, 0  # packets with something in them; see PacketScan.restarts
        self._failed_at: int | None = None
        self._failed: list[int] = []  # pts that failed since the last keyframe
        self._packets: Iterator[Packet[VideoStream]] = self._container.demux(self._stream)

    def _fill(self) -> bool:
        """Make sure a frame is ready; False at the end."""
        while not self._ready and not self.drained:
            packet: Packet[VideoStream] | None = None
            try:
                packet = next(self._packets, None)
                self._packets_read += 1
                if packet is not None and packet.size:
                    self._rejoin(packet)
                frames = packet.decode() if packet is not None else []
                self.drained = packet is None
                if packet is not None and packet.is_corrupt:
                    self._failed_at = self._packets_read
            except FFmpegError as error:
                self._fail(None if packet is None else packet.dts if self._scan.counted else packet.pts)
                self.drained = isinstance(error, av.error.EOFError)
                continue
            for frame in frames:
                self._take(frame)
        return bool(self._ready)

    def _rejoin(self, packet: Packet[VideoStream]) -> None:
        """Put a joined file's packet on the scan's clock, and predict nothing across a joint."""
        self._number += 1
        if self._number in self._scan.restarts:
            context = self._stream.codec_context
            try:
                for frame in context.decode(None):
                    self._take(frame)
            except FFmpegError:
                self._fail(None)
            context.flush_buffers()
            self._shift = self._scan.restarts[self._number]
            # Pictures that lean on what came before the cut are left out in silence.
            self._failed, self._failed_at = [], self._packets_read
        if self._shift:
            packet.pts = None if packet.pts is None else packet.pts + self._shift
            packet.dts = None if packet.dts is None else packet.dts + self._shift

    def _take(self, frame: VideoFrame) -> None:
        """Queue a decoded frame, unless what it shows cannot be trusted."""
        pts = self._counted(frame) if self._scan.counted else frame.pts
        if self._stale:  # of before the failure, and only now given out
            self._stale -= 1
            return
        if pts is None:
            return
        if frame.key_frame:
            self._failed = [failed for failed in self._failed if failed > pts]
        if frame.is_corrupt:  # concealed: parts of it are invented
            self._fail(pts)
        elif sum(failed < pts for failed in self._failed) < _BURST and not self._behind_a_hole(pts):
            self._ready.append((pts, frame))

    def _behind_a_hole(self, pts: int) -> bool:
        """Whether pictures are missing between this one and the keyframe it depends on: more than a burst."""
        key = self._scan.keyframe_before(pts) if self._scan.holes else None
        return key is not None and any(key[0] < end <= pts for _, end in self._scan.holes)

    def _counted(self, frame: VideoFrame) -> int | None:
        """The pts of a frame without one. It comes out with the packet that is as many packets later as the
        decoder holds back, whatever failed on the way; frames of packets without times are numbered."""
        if frame.dts is not None:
            packet = self._scan.index(frame.dts)
            if self._held_back is None:
                held_back = self._stream.codec_context.has_b_frames
                self._held_back = packet if self._failed_at is None else int(held_back)
            self._count = max(packet - self._held_back, self._count)
        pts = self._scan.pts[self._count] if self._count < len(self._scan.pts) else None
        self._count += 1
        return pts

    def _fail(self, pts: int | None) -> None:
        self._failed_at = self._packets_read
        self._stale = (self._held_back or 1) if self._scan.counted else 0
        if pts is not None:
            self._failed.append(pts)
