"""Pictures without times of their own, one after another: a folder of pictures, the pages of a document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvl_cli.closing import Closes
from qvl_cli.errors import MediaError
from qvl_cli.media.container import shown
from qvl_cli.media.info import Frame, MediaInfo
from qvl_cli.timeline import TimeSpan, merge, subtract

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Stills:
    """count pictures; draw(n) gives number n, uint8 RGB [height, width, 3] upright, or raises MediaError.

    kind, codec: what MediaInfo says. digest: sha256, hex, of what they are. release: called once at the end.
    """

    path: Path
    kind: str
    codec: str
    count: int
    draw: Callable[[int], Pixels]
    digest: Callable[[], str]
    release: Callable[[], None] = lambda: None


class StillSource(Closes):
    """The same contract as VideoSource; picture n is on screen for 1 / rate seconds from first + n / rate.

    The first picture that can be drawn gives the size; others are padded with black to its shape.
    """

    def __init__(
        self,
        stills: Stills,
        rate: Fraction,
        first: Fraction = Fraction(0),
        unit: str = "s",
        alone: bool = True,
    ) -> None:
        self._stills, self._rate, self._first = stills, rate, first
        self.lost: list[TimeSpan] = []
        self.warnings: list[str] = []
        self.on_close: Callable[[], None] | None = None
        self._drawn: tuple[int, Frame | None] | None = None
        self._shape = (0, 0)
        times = tuple(first + n / rate for n in range(stills.count))
        for number in range(stills.count):
            if (frame := self._frame(number)) is not None:
                break
        else:
            self.close()
            raise MediaError(f"nothing in {shown(stills.path)} can be decoded", "convert it first")
        height, width = self._shape = frame.pixels.shape[:2]
        self.info = MediaInfo(
            path=stills.path,
            container=stills.kind,
            codec=stills.codec,
            pixel_format="rgb24",
            coded_width=width,
            coded_height=height,
            width=width,
            height=height,
            rotation=0,
            sample_aspect_ratio=Fraction(1),
            start=Fraction(0),
            duration=first + stills.count / rate,
            average_rate=rate,
            variable_rate=False,
            frame_times=times,
            keyframes=times,
            audio=(),
            subtitles=(),
            begins=first,
            unit=unit,
            alone=alone,
        )

    def close(self) -> None:
        """Free what the pictures come from; safe to call again."""
        self._stills.release()
        if self.on_close is not None:
            self.on_close()

    def content_hash(self) -> str:
        return self._stills.digest()

    def frames(self, times: Sequence[Fraction]) -> Iterator[Frame]:
        """The picture on screen at each of the ascending `times`; see VideoSource.frames."""
        previous = Fraction(0)
        for time in times:
            if time < previous:
                raise ValueError(f"times must ascend from 0: {time} after {previous}")
            previous = time
            number = min(max(int((time - self._first) * self._rate), 0), self._stills.count - 1)
            if (frame := self._frame(number)) is not None:
                yield frame

    def _frame(self, number: int) -> Frame | None:
        """Picture `number`, or None once `lost` holds its time."""
        if self._drawn is None or self._drawn[0] != number:
            time, frame = self._first + number / self._rate, None
            try:
                frame = Frame(time, self._padded(self._stills.draw(number)))
            except MediaError as error:
                span = TimeSpan(time, time + 1 / self._rate)
                if subtract(span, self.lost):
                    self.warnings.append(error.fact)
                self.lost[:] = merge([*self.lost, span])
            self._drawn = number, frame
        return self._drawn[1]

    def _padded(self, pixels: Pixels) -> Pixels:
        """The picture with black borders that give it the first one's shape, at its own resolution."""
        (height, width), (first_height, first_width) = pixels.shape[:2], self._shape
        if not first_width:
            return pixels
        high = max(height, round(width * first_height / first_width))
        wide = max(width, round(height * first_width / first_height))
        if (high, wide) == (height, width):
            return pixels
        note = f"pictures of another shape than {first_width}x{first_height} are padded with black"
        if note not in self.warnings:
            self.warnings.append(note)
        canvas = np.zeros((high, wide, 3), np.uint8)
        top, left = (high - height) // 2, (wide - width) // 2
        canvas[top : top + height, left : left + width] = pixels
        return canvas
