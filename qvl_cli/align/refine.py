"""Boundaries at step resolution -> the frame: the video is looked at again around them, the aligner asked.

The aligner decides, not a difference of pixels: whatever else changes there, noise and cuts included, it says
where *this* event begins and ends. How a look is made, see `looks`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from qvl_cli.align import Aligned, Aligner
from qvl_cli.align.looks import (
    APART,
    CLOSE_APART,
    CLOSE_LOOKS,
    CLOSE_REACH,
    CLOSE_SPREAD,
    LOOKS,
    REACH,
    SPREAD,
    WIDEST,
    Boundary,
    agreed,
    boundaries,
    close_steps,
    first_frame,
    moved_spans,
    open_still,
    shifted_steps,
    vote,
    windows,
)
from qvl_cli.chunks import FrameChunk, iter_chunks
from qvl_cli.errors import OverBudget, QvlError
from qvl_cli.model.preprocess import resize_frames
from qvl_cli.registry import STEP_TEXT_TOKENS
from qvl_cli.sampling import SamplePlan, SamplingSettings, Step
from qvl_cli.stream import StreamSession
from qvl_cli.timeline import TimeSpan
from qvl_cli.weave import weave

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from qvl_cli.media.info import MediaInfo, Source
    from qvl_cli.model.load import LoadedModel

    Pairs = dict[tuple[Fraction, Fraction], npt.NDArray[np.uint8]]

MOST = 16  # boundaries of one answer
FPS = SamplingSettings().fps  # of looks, whatever the plan's: what checkpoints are trained on
_LEFT = "boundaries left at step resolution"
Ask = Callable[[StreamSession], Aligned]


def refines(choice: bool | None, task: str, aligner: Aligner) -> bool:
    """Whether to refine where the user did not say: `locate`, whose answer the boundaries are, with a trained
    head, to which a look costs a few steps. The textual aligner writes its times anew in every look."""
    return task == "locate" and aligner.name == "head" if choice is None else choice


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of look (see `looks`): how its steps are made, how many seconds it reaches to either side, how
    many may lie between boundaries that share a look, how many the looks may be apart, and how many looks."""

    steps: Callable[[MediaInfo, TimeSpan, Fraction, int], list[tuple[Step, ...]]]
    reach: Fraction
    spread: Fraction
    apart: Fraction
    looks: int = LOOKS


@dataclass(slots=True)
class Refiner:
    """For the moments of one answer about one watched video, which is still open.

    steps: those of `plan` that were watched. most: boundaries still to be looked at. on_progress(done,
    total) hears of every boundary of one text.
    """

    video: Source
    plan: SamplePlan
    steps: Sequence[Step]
    model: LoadedModel
    most: int = MOST
    on_progress: Callable[[int, int], None] = lambda done, total: None
    _unread: int = 0  # looks with frames that could not be read again
    _failed: dict[tuple[int, bool], str] = field(default_factory=dict)  # a boundary -> why no look was made
    _broken: str = ""  # why none can be made any more

    def refine(self, aligned: Aligned) -> Aligned:
        """The same spans in the same order, each boundary at the frame that most looks agree on; `refined`
        are those of which one was found again. The others stay, and what was not looked at is a warning."""
        info = self.video.info
        if aligned.again is None or info.alone:
            return aligned
        found = boundaries(aligned.spans, self.steps, FPS)
        if self.plan.fps >= info.average_rate:  # the steps are the frames, but where they were thinned
            found = [each for each in found if each.within > APART / FPS]
        near = [each for each in found if 2 * each.within <= WIDEST / FPS]
        warnings: list[str] = []
        if len(near) < len(found):
            warnings.append(f"{_LEFT}, because the steps lie far apart: {len(found) - len(near)}")
        if len(near) > self.most:
            warnings.append(f"{_LEFT}, because there are too many: {len(near) - self.most}")
            near = near[: self.most]
        self.most -= len(near)
        self._unread, self._failed, self._broken, lost = 0, {}, "", list(self.video.lost)
        try:
            moved = self._moved(near, aligned.again)
        finally:
            # Frames that only a look missed are no hole in what was watched.
            self.video.lost[:] = lost
        for why, count in Counter(why for key, why in self._failed.items() if key not in moved).items():
            warnings.append(f"{_LEFT}, because the video could not be looked at again ({why}): {count}")
        if self._unread:
            warnings.append(f"looks for the frame of a boundary that met unreadable frames: {self._unread}")
        spans = moved_spans(aligned.spans, moved)
        return replace(aligned, spans=spans, warnings=(*aligned.warnings, *warnings))

    def _moved(self, found: Sequence[Boundary], ask: Ask) -> dict[tuple[int, bool], Fraction]:
        """(number of the span, whether its start) -> the frame, for the boundaries that were found again."""
        near = APART / FPS
        shifted = Kind(shifted_steps, REACH / FPS, SPREAD / FPS, near)
        # Where the steps lay further apart than the grid, one look finds the place for the others.
        far = [each for each in found if each.within > near]
        widest = max((2 * each.within for each in far), default=near)
        placed = self._look(far, ask, replace(shifted, reach=widest, looks=1))
        left = [each for each in found if each.within <= near]
        left += [replace(each, time=time, within=near) for each, time in placed.items()]
        seen = self._look(left, ask, Kind(close_steps, CLOSE_REACH, CLOSE_SPREAD, CLOSE_APART, CLOSE_LOOKS))
        seen |= self._look([each for each in left if each not in seen], ask, shifted)
        info = self.video.info
        frames = {(each.of, each.is_start): first_frame(info, time) for each, time in seen.items()}
        return {key: frame for key, frame in frames.items() if frame <= self.plan.range.end}

    def _look(self, found: Sequence[Boundary], ask: Ask, kind: Kind) -> dict[Boundary, Fraction]:
        """Those of the boundaries that most looks agree on, with their times. Where a look is too large the
        others are made all the same; where the video cannot be read none is."""
        seen: dict[Boundary, Fraction] = {}
        for window, own in windows(found, kind.reach, kind.spread, self.plan.range):
            keys = [(each.of, each.is_start) for each in own]
            if not self._broken:
                try:
                    seen |= self._seen(own, window, ask, kind)
                    self._failed = {key: why for key, why in self._failed.items() if key not in keys}
                except OverBudget as error:  # a shorter stretch may fit
                    self._failed |= dict.fromkeys(keys, error.fact)
                except (QvlError, OSError) as error:
                    self._broken = error.fact if isinstance(error, QvlError) else str(error.strerror)
            if self._broken:
                self._failed |= dict.fromkeys(keys, self._broken)
            self.on_progress(len(seen), len(found))
        return seen

    def _seen(
        self, found: Sequence[Boundary], window: TimeSpan, ask: Ask, kind: Kind
    ) -> dict[Boundary, Fraction]:
        """The same of one stretch. Raises QvlError and OSError."""
        grids = kind.steps(self.video.info, window, FPS, kind.looks)
        pairs = self._frames(step for grid in grids for step in grid)
        votes: dict[Boundary, list[Fraction | None]] = {each: [] for each in found}
        for grid in grids:
            # A look with a hole would see the event end there.
            whole = all((step.t0, step.t1) in pairs for step in grid)
            self._unread += not whole
            spans = self._asked(grid, pairs, window, ask) if whole else []
            for each, cast in votes.items():
                cast.append(vote(each, grid, spans))
            if not any(open_still(cast, len(grids)) for cast in votes.values()):
                break
        times = {
            each: agreed(cast, kind.apart) if open_still(cast, len(grids)) else None
            for each, cast in votes.items()
        }
        return {each: time for each, time in times.items() if time is not None}

    def _asked(self, grid: tuple[Step, ...], pairs: Pairs, window: TimeSpan, ask: Ask) -> list[TimeSpan]:
        """What the aligner finds in a session that watches `grid` alone, with the subtitles of that time."""
        import numpy as np

        cues = list(dict.fromkeys(cue for step in self.steps for cue in step.cues))
        plan = weave(replace(self.plan, steps=grid, range=window), cues, self._count)
        steps, size = plan.steps, self.model.spec.block_steps
        tokens = plan.tokens + len(steps) * STEP_TEXT_TOKENS + sum(plan.text_tokens)
        session = StreamSession(self.model, tokens)
        try:
            for first in range(0, len(steps), size):
                some = steps[first : first + size]
                session.watch(FrameChunk(some, np.stack([pairs[step.t0, step.t1] for step in some])))
            return [each.span for each in ask(session).spans]
        finally:
            session.release()

    def _frames(self, steps: Iterable[Step]) -> Pairs:
        """The two frames of each step that has both, decoded once for all looks."""
        wanted = {(step.t0, step.t1): step for step in steps}
        plan = replace(self.plan, steps=tuple(wanted[times] for times in sorted(wanted)))
        return {
            (step.t0, step.t1): pair
            for chunk in iter_chunks(self.video, plan, self.model.spec.block_steps, resize_frames, 0)
            for step, pair in zip(chunk.steps, chunk.frames, strict=True)
        }

    def _count(self, text: str) -> int:
        return len(self.model.codec.encode_text(text))
