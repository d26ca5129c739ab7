"""video -> Activity: the frames at which the picture visibly changes, from one cheap pass over all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from qvl_cli.timeline import TimeSpan

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from qvl_cli.media.source import VideoSource
    from qvl_cli.media.thumbnails import Thumbnail

    Plane = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

_NOISE_WEIGHT = 0.05  # of a new frame in a cell's running noise
_REFRACTORY = 0.4  # seconds: changes of a cell closer together are one
_HALF_LIFE = 5.0  # seconds in which a cell forgets half of its changes
_REPORT_EVERY = 64  # frames


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """start, end: the part that is scanned; None is the video's own. Levels are of 255, areas shares of the
    picture.

    A cell has changed where it differs by `noise_factor` times its own noise, at least `least` and at most
    `most` levels. A change holds for two frames, unless it covers `flash_area`. One smaller than `small_area`
    counts for nothing where each of its cells has just changed `patience` times: a cursor, a clock, leaves.
    """

    start: Fraction | None = None
    end: Fraction | None = None
    least: float = 10.0
    most: float = 30.0
    noise_factor: float = 6.0
    flash_area: float = 0.01
    small_area: float = 0.005
    patience: float = 4.0


@dataclass(frozen=True, slots=True)
class Change:
    """The frame at `time` differs visibly from the frame of the change before (at first: from the first
    frame of the range), in `area` of the picture (0..1]. Slow drifts add up until they show."""

    time: Fraction
    area: float


@dataclass(frozen=True, slots=True)
class Activity:
    """What a scan saw of `span`; changes ascend in time. frames: how many could be decoded."""

    span: TimeSpan
    changes: tuple[Change, ...]
    frames: int


def scan(
    video: VideoSource,
    settings: ScanSettings | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> Activity:
    """Decode every frame of the range once, small, and note where the picture changes.

    progress: called with (seconds scanned, seconds in all). Raises MediaError where the file fails.
    """
    from qvl_cli.media.thumbnails import thumbnails

    settings = settings or ScanSettings()
    duration = video.info.duration
    end = duration if settings.end is None else min(settings.end, duration)
    span = TimeSpan(min(settings.start or Fraction(0), end), end)
    frames = 0

    def counted() -> Iterator[Thumbnail]:
        nonlocal frames
        for each in thumbnails(video, span.start, span.end):
            frames += 1
            if progress is not None and frames % _REPORT_EVERY == 0:
                progress(float(each.time - span.start), float(span.duration))
            yield each

    changes = tuple(find_changes(counted(), settings))
    return Activity(span, changes, frames)


def find_changes(frames: Iterable[Thumbnail], settings: ScanSettings) -> Iterator[Change]:
    """Changes of a run of small frames, cell by cell against the frame of the last change. Holds four frames
    at most."""
    import numpy as np

    frames = iter(frames)
    if (first := next(frames, None)) is None:
        return
    reference = before = first.planes.astype(np.float32)
    cells: _Cells | None = None
    pending: tuple[Thumbnail, Plane, Mask] | None = None
    for frame in frames:
        planes = frame.planes.astype(np.float32)
        moved = np.abs(planes - before).max(0)
        if cells is None:
            cells = _Cells(moved, settings)
        threshold = cells.threshold()
        cells.learn(moved, threshold, float(frame.time))
        before = planes
        changed = np.abs(planes - reference).max(0) > threshold
        if pending is not None:
            seen, pictured, mask = pending
            if mask.mean() >= settings.flash_area or (mask & changed).any():
                yield Change(seen.time, float(mask.mean()))
                reference = pictured
                changed = np.abs(planes - reference).max(0) > threshold
        pending = None
        if cells.only_restless(changed):
            reference = np.where(changed, planes, reference)
        elif changed.any():
            pending = frame, planes, changed
    if pending is not None:  # nothing follows that could tell it from noise
        yield Change(pending[0].time, float(pending[2].mean()))


class _Cells:
    """What each cell [rows, columns] has been like: its noise, and how often it changed of late."""

    def __init__(self, moved: Plane, settings: ScanSettings) -> None:
        import numpy as np

        self._settings = settings
        # One frame tells no cell's noise, but the picture's: most cells of most videos are still.
        self._noise = np.full(moved.shape, np.median(moved), np.float32)
        self._changes = np.zeros(moved.shape, np.float32)
        self._last = np.full(moved.shape, -np.inf)
        self._time = 0.0

    def threshold(self) -> Plane:
        import numpy as np

        settings = self._settings
        limits = settings.least, settings.most
        return np.asarray(np.clip(self._noise * settings.noise_factor, *limits), dtype=np.float32)

    def learn(self, moved: Plane, threshold: Plane, time: float) -> None:
        """moved: greatest difference of each cell from the frame before; time: of this frame, seconds."""
        jumped = moved > threshold
        self._noise[~jumped] += _NOISE_WEIGHT * (moved - self._noise)[~jumped]
        self._changes *= 0.5 ** ((time - self._time) / _HALF_LIFE)
        self._time = time
        fresh = jumped & (time - self._last > _REFRACTORY)
        self._changes[fresh] += 1
        self._last[fresh] = time

    def only_restless(self, changed: Mask) -> bool:
        """Whether a change is small and lies wholly where things never rest."""
        small = 0 < changed.mean() < self._settings.small_area
        return small and bool((self._changes[changed] > self._settings.patience).all())
