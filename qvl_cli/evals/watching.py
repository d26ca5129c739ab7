"""The pipeline as a suite uses it: one loaded model, many videos, each watched once for all questions."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from qvl_cli import pipeline, registry
from qvl_cli.coverage import cover, hole_warnings, promised_end
from qvl_cli.errors import BackendFailed, MediaError, OutsideWorld, OverBudget
from qvl_cli.fitting import fit
from qvl_cli.media import open_video
from qvl_cli.memory import MemorySettings
from qvl_cli.request import Request
from qvl_cli.sampling import SamplePlan, plan_samples
from qvl_cli.sessions import open_session

if TYPE_CHECKING:
    from qvl_cli.align import Aligner
    from qvl_cli.align.refine import Refiner
    from qvl_cli.model.load import LoadedModel
    from qvl_cli.stream import StreamSession

# What keeps one video from being watched or asked, and none of the others.
VIDEO_TROUBLES = (MediaError, OverBudget, OutsideWorld, BackendFailed, MemoryError)


@dataclass(frozen=True, slots=True)
class Watched:
    """path, plan: what was watched of which file. seconds: how long reading and watching took. warnings: what
    the user should know of this video."""

    path: str
    plan: SamplePlan
    session: StreamSession
    duration: float
    seconds: float
    warnings: tuple[str, ...]


class Watcher:
    """A model and its aligner, loaded once. Suites ask about pictures: no subtitles are read.

    head: an alignment head instead of the checkpoint's own.
    """

    def __init__(self, request: Request, listener: pipeline.Listener, head: Path | None = None) -> None:
        from qvl_cli.align import load_aligner
        from qvl_cli.align.head import HeadAligner
        from qvl_cli.model.load import load_model

        self.request = replace(request, subs="none")
        self.spec, self.notes = pipeline.choose_spec(request, listener)
        self.model: LoadedModel = load_model(self.spec, request.device, request.dtype)
        self.aligner: Aligner = (
            HeadAligner.load(self.model, head) if head else load_aligner(self.model, request.aligner)
        )
        self._head = sha256(head.read_bytes()).hexdigest() if head else None

    def with_memory(self, memory: MemorySettings) -> Watcher:
        """The same model, remembering in another way."""
        twin = copy.copy(self)
        twin.request = replace(self.request, memory=memory)
        return twin

    def watch(self, path: Path, gated: bool | None = None) -> Watched:
        """gated: whether the embedded model may refuse what is not of its world; by default where it was not
        asked for by name, as in the commands. Raises what the pipeline raises."""
        gated = self.request.model == "auto" if gated is None else gated
        request = replace(self.request, path=str(path), model="auto" if gated else self.spec.name)
        began = time.monotonic()
        with open_video(request.path, request.backend) as video:
            activity = pipeline.look(video, self.spec, request.sampling, Silent())
            plan = plan_samples(video.info, request.sampling, self.spec, activity)
            fitted = fit(plan, self.spec, request, loaded=True)
            notes = (*plan.notes, *fitted.notes)
            session = open_session(self.model, self.aligner, plan, fitted.memory, fitted.spilled)
            pipeline.watch(video, plan, session, request, Silent(), fitted.memory)
            coverage = cover(plan, session, video, request.sampling.end)
            return Watched(
                request.path,
                plan,
                session,
                float(promised_end(video)),
                time.monotonic() - began,
                (*notes, *video.warnings, *hole_warnings(coverage, video.info.unit)),
            )

    @contextmanager
    def refiner(self, watched: Watched, task: str) -> Iterator[Refiner | None]:
        """What moves the boundaries of this video's moments to the frame, where the task wants that; a copy
        for each answer. Raises MediaError where the file has gone."""
        from qvl_cli.align.refine import Refiner, refines

        if not refines(self.request.refine, task, self.aligner):
            yield None
            return
        with open_video(watched.path, self.request.backend) as video:
            yield Refiner(video, watched.plan, watched.session.steps, self.model)

    def settings(self) -> dict[str, object]:
        """What decides the answers, for the results file and the document."""
        from qvl_cli.align.refine import refines

        sampling = {
            key: value if value is None else str(value)
            for key, value in asdict(self.request.sampling).items()
        }
        return {
            "model": self.spec.name,
            "fingerprint": registry.fingerprint(self.spec.folder),
            "aligner": self.aligner.name,
            **({"head": self._head} if self._head else {}),
            **({"rope": self.spec.rope.text} if self.spec.rope.text else {}),
            "dtype": str(self.model.dtype),
            "sampling": sampling,
            "refine": [t for t in ("ask", "locate") if refines(self.request.refine, t, self.aligner)],
            "memory": {key: str(value) for key, value in asdict(self.request.memory).items()},
        }


class Silent:
    """A listener that has heard enough: the suite has its own progress."""

    def note(self, line: str) -> None: ...
    def progress(self, stage: str, done: float, total: float) -> None: ...
    def text(self, piece: str, thinking: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Turn:
    """One video of a run: what was watched, and the session of another video for the blind questions."""

    name: str
    watched: Watched
    other: StreamSession | None


def each_video(
    names: Iterable[str],
    done: Callable[[str], bool],
    watch: Callable[[str], Watched],
    failed: Callable[[str, str], None],
) -> Iterator[Turn]:
    """Every video that is not done yet, beside the readable one before it.

    After an interruption that one is watched again, so that the blind questions meet the frames they would
    have met; where it no longer can be, the one before that. `failed(name, why)` hears of each video that
    cannot be watched.
    """
    before: Watched | None = None
    earlier: list[str] = []
    for name in names:
        if done(name):
            if before is not None:
                before.session.release()
            before = None
            earlier.append(name)
            continue
        if before is None:
            before = _first_watched(reversed(earlier), watch)
        try:
            watched = watch(name)
        except VIDEO_TROUBLES as error:
            failed(name, trouble_text(error))
            continue
        yield Turn(name, watched, before.session if before else None)
        if before is not None:
            before.session.release()
        before = watched
        earlier.append(name)


def trouble_text(error: Exception) -> str:
    return str(error) or "out of memory"  # a MemoryError says nothing itself


def _first_watched(names: Iterable[str], watch: Callable[[str], Watched]) -> Watched | None:
    for name in names:
        try:
            return watch(name)
        except VIDEO_TROUBLES:
            continue
    return None
