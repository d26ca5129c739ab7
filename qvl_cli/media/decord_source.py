"""decord as a second decoder, in a process that can be killed: it hangs, crashes and errs now and then.

Times, orientation and damage are the packet scan's as with PyAV; decord only gives pixels. It has to agree
with PyAV: on the time of every frame, and on the pixels of the wanted ones, or of many of them.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.video.format import VideoFormat

from qvl_cli.errors import BackendFailed, BackendMissing
from qvl_cli.media.container import shown
from qvl_cli.media.decord_child import DONE, LENGTH, NUMBER, REPLY, SIZE
from qvl_cli.media.info import Frame
from qvl_cli.media.source import VideoSource

if TYPE_CHECKING:
    import numpy.typing as npt

_CHILD = ("-m", "qvl_cli.media.decord_child")
_PATIENCE = 60.0  # seconds for one answer: a GOP of 4K takes a few on a slow core
# Of the wanted frames, spread evenly, are decoded by PyAV too: all of a short video's. PyAV takes half of the
# time that decord takes for a frame.
_COMPARED = 64
# Mean difference of 0..255 in pictures of more than 8 bits, which the two convert differently: 0.1 to 0.9.
# Pictures of 8 bits are equal to the last bit.
_LEVELS = 1.0
_SECONDS = 0.001
_REMEDY = "use --backend pyav"


def check_decord() -> None:
    """BackendMissing where decord is not installed."""
    if find_spec("decord") is None:
        raise BackendMissing(
            "decord is not installed here; its package exists for Linux on x86-64 alone", _REMEDY
        )


class DecordSource(VideoSource):
    """As VideoSource, with the pixels from decord.

    fall_back: where decord fails, go on with PyAV and say so in `warnings`; else BackendFailed is raised.
    """

    def __init__(self, path: str | Path, fall_back: bool, patience: float = _PATIENCE) -> None:
        super().__init__(path)
        self._fall_back, self._patience = fall_back, patience
        self._child: DecordChild | None = None
        self._failed = False

    def close(self) -> None:
        super().close()
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _decoded(self, numbers: Sequence[int]) -> Generator[tuple[int, Frame | None], None, None]:
        done = 0
        try:
            if numbers and not self._failed:
                picked = _spread(numbers)
                with closing(super()._decoded(picked)) as truth:
                    for at in numbers:
                        pixels = self._pixels(at)
                        if at in picked:
                            self._compare(pixels, next(truth)[1])
                        yield at, Frame(self.info.frame_times[at], pixels)
                        done += 1
        except BackendFailed as failure:
            self._failed = True
            if self._child is not None:
                self._child.kill()
            if not self._fall_back:
                raise
            self.warnings.append(f"{failure.fact}: PyAV decodes instead")
        if done < len(numbers):
            with closing(super()._decoded(numbers[done:])) as rest:
                yield from rest

    def _pixels(self, at: int) -> npt.NDArray[np.uint8]:
        if self._child is None:
            self._child = DecordChild(self.info.path, self._patience)
            self._check_times(self._child.times)
        return self._child.pixels(at)

    def _check_times(self, theirs: npt.NDArray[np.float64]) -> None:
        ours = np.array([float(time) for time in self.info.frame_times])
        if len(theirs) != len(ours):
            raise BackendFailed(
                f"decord counts {len(theirs)} frames in {shown(self.info.path)}, PyAV {len(ours)}", _REMEDY
            )
        # decord computes in float32, whose last bit is worth a quarter of a millisecond at an hour.
        apart = np.abs(theirs - theirs[0] - ours)
        if (worst := int(np.argmax(apart))) >= 0 and apart[worst] > _SECONDS + ours[worst] * 2**-23:
            raise BackendFailed(
                f"decord shows frame {worst} of {shown(self.info.path)} {apart[worst]:.3f} s off", _REMEDY
            )

    def _compare(self, theirs: npt.NDArray[np.uint8], frame: Frame | None) -> None:
        """BackendFailed where decord's picture is not PyAV's."""
        if frame is None:
            raise BackendFailed(f"{shown(self.info.path)} is damaged, which decord hides", _REMEDY)
        agree = theirs.shape == frame.pixels.shape
        if agree:
            deep = VideoFormat(self.info.pixel_format).components[0].bits > 8
            apart = np.abs(theirs.astype(np.int16) - frame.pixels).mean()
            agree = apart <= (_LEVELS if deep else 0)
        if not agree:
            at = f"{float(frame.time):.3f} s of {shown(self.info.path)}"
            raise BackendFailed(f"decord and PyAV differ in the frame at {at}", _REMEDY)


def _spread(numbers: Sequence[int]) -> list[int]:
    """At most _COMPARED of the ascending numbers, the first and the last among them."""
    if len(numbers) <= _COMPARED:
        return list(numbers)
    return sorted({numbers[n * (len(numbers) - 1) // (_COMPARED - 1)] for n in range(_COMPARED)})


class DecordChild:
    """The child process. BackendFailed where an answer takes more than `patience` seconds, and where it dies.

    times: float64 [frames], seconds on the container's clock.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self._name, self._patience = shown(path), patience
        self._process = subprocess.Popen(
            [sys.executable, "-P", *_CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is the parent's to deal with
        )
        name = os.fsencode(path.absolute())
        try:
            self.times = np.frombuffer(self._ask(LENGTH.pack(len(name)) + name), "<f8")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL: a decord that hangs listens to nothing else. Safe to call again."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def pixels(self, number: int) -> npt.NDArray[np.uint8]:
        """uint8 RGB [height, width, 3] of the frame with this number."""
        reply = self._ask(NUMBER.pack(number))
        height, width = SIZE.unpack_from(reply)
        picture = np.frombuffer(reply, np.uint8, offset=SIZE.size)
        if len(picture) != height * width * 3:
            raise BackendFailed(f"decord gave no whole picture of {self._name}", _REMEDY)
        return picture.reshape(height, width, 3)

    def _ask(self, request: bytes) -> bytearray:
        assert self._process.stdin is not None
        until = time.monotonic() + self._patience
        try:
            self._process.stdin.write(request)
        except OSError as error:
            raise self._died() from error
        status, size = REPLY.unpack(self._read(REPLY.size, until))
        payload = self._read(size, until)
        if status != DONE:
            lines = payload.decode("utf-8", "replace").split("\n")
            raise BackendFailed(f"decord cannot read {self._name} ({lines[0].strip()})", _REMEDY)
        return payload

    def _read(self, size: int, until: float) -> bytearray:
        assert self._process.stdout is not None
        data = bytearray(size)
        view, descriptor = memoryview(data), self._process.stdout.fileno()
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        while view:
            if not ready.poll(max(until - time.monotonic(), 0) * 1000):
                raise BackendFailed(
                    f"decord gave no answer about {self._name} for {self._patience:g} s", _REMEDY
                )
            count = os.readv(descriptor, [view])
            if not count:
                raise self._died()
            view = view[count:]
        return data

    def _died(self) -> BackendFailed:
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return BackendFailed(f"decord's process ended while it read {self._name} ({how})", _REMEDY)
