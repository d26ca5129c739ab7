"""Source x plan -> FrameChunks, decoded and resized on a prefetch thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from qvl_cli.budget import chunk_sizes
from qvl_cli.sampling import SamplePlan, Step
from qvl_cli.static import StaticPatches

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from qvl_cli.media.info import Source
    from qvl_cli.media.subtitles.cue import Cue

    Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FrameChunk:
    """Consecutive steps and their frames, the unit of streaming.

    frames: uint8 RGB [steps, 2, height, width, 3], already at the plan's size.
    kept: bool [steps, rows, columns], the vision tokens that the language model gets; None: all of them.
    """

    steps: tuple[Step, ...]
    frames: npt.NDArray[np.uint8]
    kept: npt.NDArray[np.bool_] | None = None

    def part(self, first: int, last: int) -> FrameChunk:
        """Its steps [first, last)."""
        kept = None if self.kept is None else self.kept[first:last]
        return FrameChunk(self.steps[first:last], self.frames[first:last], kept)


def iter_chunks(
    video: Source,
    plan: SamplePlan,
    steps_per_chunk: int,
    resize: Callable[[list[Pixels], int, int], Pixels],
    prefetch: int = 2,
    static: StaticPatches | None = None,
    block_steps: int = 1,
) -> Generator[FrameChunk, None, None]:
    """The plan's steps in order, up to `steps_per_chunk` at a time. A chunk ends wherever `block_steps` steps
    are full, or holds several times as many.

    resize(frames [h, w, 3], width, height) -> uint8 [n, height, width, 3] runs once a step, so that no
    chunk size changes a bit of it. prefetch: chunks made ahead on a thread; 0 makes them on the caller's.
    static: chooses the tokens that are kept; None keeps all.
    A step whose frames are lost is left out and leaves its subtitles to the next; `video.lost`
    says so. Errors of the thread are raised here; closing the iterator stops the thread and leaves `video` to
    its owner.
    """
    if steps_per_chunk < 1:
        raise ValueError("a chunk holds at least one step")
    stop = threading.Event()
    sizes = chunk_sizes(steps_per_chunk, block_steps)
    chunks = _chunks(_watched(video, plan, resize, stop), sizes, static)
    return _one_by_one(chunks, prefetch, stop) if prefetch > 0 else chunks


def _one_by_one(
    chunks: Iterator[FrameChunk], ahead: int, stop: threading.Event
) -> Generator[FrameChunk, None, None]:
    with closing(_prefetched(chunks, ahead, stop)) as ready:
        for each in ready:
            yield from each


def _chunks(
    watched: Iterator[tuple[Step, Pixels]], sizes: Iterator[int], static: StaticPatches | None
) -> Generator[FrameChunk, None, None]:
    import numpy as np

    while batch := list(islice(watched, next(sizes))):
        kept = None if static is None else np.stack([static.keep(pair) for _, pair in batch])
        yield FrameChunk(tuple(step for step, _ in batch), np.stack([pair for _, pair in batch]), kept)


def _watched(
    video: Source,
    plan: SamplePlan,
    resize: Callable[[list[Pixels], int, int], Pixels],
    stop: threading.Event,
) -> Iterator[tuple[Step, Pixels]]:
    """(step, its pair [2, height, width, 3]) for every step with both frames, until `stop` is set."""
    import numpy as np

    wanted = sorted({time for step in plan.steps for time in (step.t0, step.t1)})
    frames = video.frames(wanted)
    held: dict[Fraction, Pixels] = {}
    carried: tuple[Cue, ...] = ()  # of steps that were lost
    upto = Fraction(-1)  # every frame up to here has come or never will
    for step in plan.steps:
        if stop.is_set():  # asked here and not for every chunk: a chunk may be the whole video
            return
        held = {time: pixels for time, pixels in held.items() if time >= step.t0}
        while upto < step.t1:
            frame = next(frames, None)
            if frame is None:
                upto = plan.range.end + step.t1
                break
            held[frame.time], upto = frame.pixels, frame.time
        if step.t0 in held and step.t1 in held:
            alone = step.t0 == step.t1
            pair = resize(
                [held[step.t0]] if alone else [held[step.t0], held[step.t1]], plan.width, plan.height
            )
            shown = replace(step, cues=carried + step.cues) if carried else step
            carried = ()
            yield shown, np.concatenate([pair, pair]) if alone else pair
        else:
            carried += step.cues


def iter_ready(
    steps: Iterator[tuple[Step, Pixels]], turn: int, halt: Callable[[], None], idle: float
) -> Generator[FrameChunk | None, None, None]:
    """Steps of a stream as they are made on a thread: all that wait, at least one, so that whoever is behind
    catches up in larger chunks and whoever is not waits for nothing.

    No chunk goes beyond a multiple of `turn` steps. None after every `idle` seconds without a step. halt:
    called when the iterator is closed, makes `steps` come to an end.
    """
    import numpy as np

    with closing(_prefetched(steps, 2 * turn, threading.Event(), turn, halt, idle)) as made:
        for ready in made:
            if ready:
                yield FrameChunk(tuple(step for step, _ in ready), np.stack([pair for _, pair in ready]))
            else:
                yield None


class _Failure:
    """An exception on its way from the thread to the caller."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


_Item = TypeVar("_Item")


def _prefetched(
    items: Iterator[_Item],
    ahead: int,
    stop: threading.Event,
    turn: int = 1,
    halt: Callable[[], None] = lambda: None,
    idle: float | None = None,
) -> Generator[list[_Item], None, None]:
    """`items`, made on a thread that is at most `ahead` of them in front; those that wait come together, but
    not beyond a multiple of `turn`. An empty list after `idle` seconds. Sets `stop` and calls `halt` when it
    ends."""
    ready: queue.Queue[_Item | _Failure | None] = queue.Queue(ahead)

    def put(item: _Item | _Failure | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            put(_Failure(error))
        else:
            put(None)

    thread = threading.Thread(target=work, name="qvl-prefetch", daemon=True)
    thread.start()
    given = 0
    try:
        over = False
        while not over:
            waiting: list[_Item] = []
            failed: BaseException | None = None
            try:
                item = ready.get(timeout=idle)
                while True:
                    if item is None or isinstance(item, _Failure):
                        over, failed = True, item.error if item else None
                        break
                    waiting.append(item)
                    if (given + len(waiting)) % turn == 0:
                        break
                    item = ready.get_nowait()
            except queue.Empty:
                pass
            given += len(waiting)
            if waiting or not over:
                yield waiting
            if failed is not None:
                raise failed
    finally:
        # The thread may be inside the decoder: wait, so that closing the video cannot pull it away.
        stop.set()
        halt()
        thread.join()
