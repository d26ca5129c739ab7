"""Decoding along a route: only the packets that wanted frames need, several runs at once.

A run either gives exactly what decoding everything gives, or stops with RunFailed: whatever is damaged or
unexpected is left to the plain decoder, which knows how to tell it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.error import FFmpegError

from qvl_cli.media.container import open_container
from qvl_cli.media.packets import PacketScan
from qvl_cli.media.route import Run

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_READ_ON = 24  # packets: reading over fewer costs less than a seek and a fresh read buffer


class RunFailed(Exception):
    """Raised inside media/ alone: this run needs the plain decoder."""


class RunDecoder:
    """One container and one decoder; `threads` as libav counts them. Holds the decoder's delay in frames."""

    def __init__(self, path: Path, stream_index: int, scan: PacketScan, threads: int) -> None:
        self._path, self._index, self._scan, self.threads = path, stream_index, scan, threads
        self._container: InputContainer | None = None
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._at: int | None = None  # number of the packet that comes next, where that is known

    def close(self) -> None:
        """Free the container; safe to call again."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def frames(self, run: Run) -> Generator[tuple[int, VideoFrame], None, None]:
        """(pts, frame) of the wanted frames, in order. RunFailed at the first sign that one may be wrong."""
        whole = False
        try:
            yield from self._frames(run)
            whole = True
        except FFmpegError as error:
            raise RunFailed from error
        finally:
            if not whole:  # the decoder still holds pictures of this run
                self.close()

    def _frames(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        waiting, wanted = deque(run.wanted), frozenset(run.wanted)
        packet = self._enter(run.first)
        for at in range(run.first, run.stop):
            packet = packet or self._next()
            self._at = at + 1
            if packet.pts != self._scan.order[at] or packet.is_corrupt:
                raise RunFailed
            if not self._scan.spare[at] or packet.pts in wanted:
                yield from _picked(packet.decode(), waiting)
            packet = None
        context = self._stream.codec_context
        yield from _picked(context.decode(None), waiting)
        context.flush_buffers()
        if waiting:
            raise RunFailed

    def _enter(self, first: int) -> Packet[VideoStream] | None:
        """Go to packet number `first`: None where it comes next, else that packet, already read."""
        if self._container is None:
            self._open()
        if self._at is None or not 0 <= first - self._at <= _READ_ON:
            return self._seek(first)
        for at in range(self._at, first):
            if self._next().pts != self._scan.order[at]:
                raise RunFailed
        return None

    def _seek(self, first: int) -> Packet[VideoStream]:
        assert self._container is not None
        self._at = None
        pts = self._scan.order[first]
        key = self._scan.keyframe_before(pts)
        if key is None or key[0] != pts:
            raise RunFailed
        self._container.seek(key[1], stream=self._stream, backward=True)
        self._packets = self._container.demux(self._stream)
        while (packet := self._next()).pts != pts:
            if packet.is_keyframe and packet.pts is not None and packet.pts > pts:
                raise RunFailed  # landed behind it: this container cannot seek
        return packet

    def _next(self) -> Packet[VideoStream]:
        packet = next(self._packets, None)
        if packet is None or not packet.size:
            raise RunFailed
        return packet

    def _open(self) -> None:
        self._container = open_container(self._path)
        stream = self._container.streams[self._index]
        assert isinstance(stream, av.VideoStream)
        self._stream: VideoStream = stream
        stream.thread_type = "AUTO" if self.threads > 1 else "NONE"
        stream.codec_context.thread_count = self.threads
        self._packets = self._container.demux(stream)
        self._at = 0


def _picked(frames: Sequence[VideoFrame], waiting: deque[int]) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted ones of `frames`, struck off `waiting`."""
    for frame in frames:
        if frame.is_corrupt:
            raise RunFailed
        if waiting and frame.pts == waiting[0]:
            yield waiting.popleft(), frame
        elif waiting and frame.pts is not None and frame.pts > waiting[0]:
            raise RunFailed


def walk(
    runs: Sequence[Run], decoders: Sequence[RunDecoder], waiting: int
) -> Generator[tuple[Run, Iterator[tuple[int, VideoFrame]]], None, None]:
    """Each run with its frames, in order; every run's frames may raise RunFailed, and are to be read before
    the next run. At most `waiting` pictures are decoded ahead. Closing the iterator stops all threads."""
    if len(decoders) == 1:
        for run in runs:
            yield run, decoders[0].frames(run)
        return
    crew = _Crew(runs, waiting)
    threads = [
        threading.Thread(target=crew.work, args=(decoder,), name="qvl-decode", daemon=True)
        for decoder in decoders
    ]
    try:
        for thread in threads:
            thread.start()
        for number, run in enumerate(runs):
            yield run, crew.delivered(number)
    finally:
        crew.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


class _Stopped(Exception):
    """Nobody wants the rest."""


class _Crew:
    """Runs taken by decoders in order, their pictures handed over in order."""

    def __init__(self, runs: Sequence[Run], waiting: int) -> None:
        self._runs, self._room = runs, waiting
        self._changed = threading.Condition()
        self._taken = self._turn = self._held = 0
        self._stopped = False
        # None ends a run.
        self._ready: list[deque[tuple[int, VideoFrame] | BaseException | None]] = [deque() for _ in runs]

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def work(self, decoder: RunDecoder) -> None:
        """Decode runs until none is left; on a thread of its own."""
        while True:
            with self._changed:
                number = self._taken
                if self._stopped or number == len(self._runs):
                    return
                self._taken += 1
            try:
                with closing(decoder.frames(self._runs[number])) as frames:
                    for item in frames:
                        self._put(number, item)
                self._put(number, None)
            except _Stopped:
                return
            except BaseException as error:  # noqa: BLE001 - raised again where the run is read
                self._ready[number].append(error)
                with self._changed:
                    self._changed.notify_all()

    def _put(self, number: int, item: tuple[int, VideoFrame] | None) -> None:
        with self._changed:
            # The run whose turn it is always has room, so nobody waits for nobody.
            self._changed.wait_for(
                lambda: self._stopped or number == self._turn or item is None or self._held < self._room
            )
            if self._stopped:
                raise _Stopped
            self._ready[number].append(item)
            self._held += item is not None
            self._changed.notify_all()

    def delivered(self, number: int) -> Iterator[tuple[int, VideoFrame]]:
        """The frames of one run; raises what decoding it raised."""
        with self._changed:
            self._turn = number
            self._changed.notify_all()
        ready = self._ready[number]
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(ready) > 0)
                item = ready.popleft()
                self._held -= isinstance(item, tuple)
                self._changed.notify_all()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
