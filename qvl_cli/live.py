"""A stream without an end: watched through a window, each event told as it is found. `qvl watch`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvl_cli import pipeline, registry
from qvl_cli.answer import Answer, Coverage, Media, ModelUse, Moment, Sampling, Usage
from qvl_cli.chunks import iter_ready
from qvl_cli.errors import EXIT_INTERRUPTED, EXIT_PARTIAL, Terminated, UsageError
from qvl_cli.fitting import fit
from qvl_cli.render.records import done_record, moment_record
from qvl_cli.request import Request
from qvl_cli.sampling.grid import up_to_a_hole
from qvl_cli.sampling.live import live_steps, plan_view
from qvl_cli.sampling.plan import SamplePlan, Step
from qvl_cli.sessions import open_session
from qvl_cli.tasks.events import LOOKS_AGREE, WHEN, EventTracker, Found
from qvl_cli.timeline import TimeSpan, subtract

if TYPE_CHECKING:
    from qvl_cli.media.live import LiveSource
    from qvl_cli.model.world_gate import WorldGate
    from qvl_cli.stream import StreamSession

Record = dict[str, Any]
IDLE = 1.0  # seconds between two signs of life where nothing comes
_EVERY = {"head": Fraction(2), "text": Fraction(10)}  # seconds of video between two looks
_BEHIND = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """when: see EventTracker. every: seconds of video between two looks; None is what the aligner can do.
    patience: seconds without anything new after which a stream is given up and a file is finished."""

    when: str = "end"
    every: Fraction | None = None
    patience: float = 30.0

    def __post_init__(self) -> None:
        if self.when not in WHEN:
            raise UsageError(f"no time to report is called {self.when!r}", f"choose from {', '.join(WHEN)}")


class Watcher:
    """One stream being watched. What it says can be asked for at any time, also after an interrupt."""

    def __init__(
        self,
        request: Request,
        settings: LiveSettings,
        source: LiveSource,
        listener: pipeline.Listener,
        ignored: Sequence[str] = (),
    ) -> None:
        """ignored: what of the user's settings means nothing to a stream, in sentences."""
        self.request, self.settings, self.source, self.listener = request, settings, source, listener
        self.notes = list(request.notes)
        spec, chosen = pipeline.choose_spec(request, listener)
        sinks = request.memory.sinks
        plan, self._share = plan_view(source.info, request.sampling, spec, request.memory.window, sinks)
        self.plan: SamplePlan = plan
        fitted = fit(plan, spec, request)
        for note in (*ignored, *chosen, *plan.notes, *fitted.notes):
            self._note(note)
        model, self.aligner = pipeline.load(fitted.spec, request)
        self.session: StreamSession = open_session(model, self.aligner, plan, fitted.memory, fitted.spilled)
        self._gate = pipeline.world_gate(spec, request)
        each = 2 / plan.fps / self._share  # seconds of a step
        every, settle = settings.every or _EVERY[self.aligner.name], 2 * each
        most = max((fitted.memory.window - settle) / LOOKS_AGREE, each)
        if every > most:
            self._note(
                f"looks {float(every):g} s apart would miss events: in a window of "
                f"{float(fitted.memory.window):g} s there is one every {float(most):g} s"
            )
        self._turn = max(min(round(every / each), int(most / each)), 1)
        self._tracker = EventTracker(settings.when, settle)
        self._began = time.monotonic()
        self._looked = 0.0
        self._told_behind = _BEHIND
        self._said: set[str] = set()
        self.steps = 0
        self.watched = Fraction(0)  # the end of the last step

    def run(self) -> Generator[Record, None, None]:
        """The `moment` records, each as soon as there is one; errors of every stage are qvl's."""
        spec = self.session.model.spec
        chunks = iter_ready(self._pairs(), self._turn, self.source.stop, IDLE)
        # Closed before the source is: the thread must not decode from a stream that is gone.
        with closing(chunks):
            for chunk in chunks:
                self._pass_on()
                if chunk is not None:
                    self.session.watch(chunk)
                    self.session.forget()
                    before, self.steps = self.steps, self.steps + len(chunk.steps)
                    self.watched = chunk.steps[-1].interval.end
                    if self._gate is not None and before // spec.block_steps < self.steps // spec.block_steps:
                        self._check_world(self._gate)
                    if self.steps % self._turn == 0:
                        yield from map(self._moment, self._look())
                    self._mind_the_clock()
                self.listener.progress("watching, seconds", float(self.watched), 0)
                yield {}
        self._pass_on()
        if self._gate is not None:
            self._check_world(self._gate)
        if self.steps % self._turn:
            yield from map(self._moment, self._look())
        yield from map(self._moment, self._tracker.finish(self.watched, sure=True))

    def _check_world(self, gate: WorldGate) -> None:
        if self.session.steps:
            pipeline.check_world(gate.accepts(self.session.vision_means), self.session.model.spec.name)

    def interrupted(self) -> list[Record]:
        """What was on its way to be told when it was stopped."""
        return [self._moment(found) for found in self._tracker.finish(self.watched, sure=False)]

    def done(self, stopped_by: BaseException | None, fail_empty: bool) -> Record:
        """The last record. stopped_by: the interrupt that ended it."""
        answer = self._answer()
        status, code = answer.status, answer.exit_code(fail_empty)
        ended = self.source.ended or "limit"
        if isinstance(stopped_by, Terminated):
            status, code, ended = "terminated", stopped_by.exit_code, "signal"
        elif stopped_by is not None:
            status, code, ended = "interrupted", EXIT_INTERRUPTED, "interrupt"
        elif ended in ("stall", "break"):
            status, code = "partial", EXIT_PARTIAL
        return {**done_record(answer, status, code), "ended": ended, "events": self._tracker.count}

    def _pairs(self) -> Iterator[tuple[Step, Any]]:
        """(step, its two frames [2, height, width, 3]); runs on the prefetch thread."""
        import numpy as np

        from qvl_cli.model.preprocess import resize_frames

        plan = self.plan
        end = self.request.sampling.end
        steps = live_steps(self.source.pictures(), plan.fps, lambda: self.source.end, end, self._share)
        for each in steps:
            step = up_to_a_hole(each.step, self.source.lost)
            one, other = each.pictures
            if one is other:
                pair = resize_frames([one.pixels()], plan.width, plan.height)
                yield step, np.concatenate([pair, pair])
            else:
                frames = [one.pixels(), other.pixels()]
                yield step, resize_frames(frames, plan.width, plan.height)

    def _look(self) -> list[Found]:
        began = time.monotonic()
        aligned = self.aligner.locate(self.session, self.request.query.strip())
        for warning in aligned.warnings:
            if (kind := re.sub(r"[\d.]+", "", warning)) not in self._said:
                self._said.add(kind)
                self._note(warning)
        first = self.session.views[0].start
        view = TimeSpan(self.session.steps[first].interval.start, self.watched)
        self._looked += time.monotonic() - began
        return self._tracker.look(aligned.spans, view)

    def _moment(self, found: Found) -> Record:
        moment = Moment(
            float(found.span.start), float(found.span.end), round(found.score, 4), self.request.query.strip()
        )
        return {
            **moment_record(moment),
            "event": found.number,
            "ongoing": found.ongoing,
            "told_at": float(self.watched),
        }

    def _mind_the_clock(self) -> None:
        """Say so where the stream runs away."""
        behind = time.monotonic() - self._began - float(self.watched)
        if behind > self._told_behind and "://" in self.request.path:
            self._told_behind = 2 * behind
            self._note(
                f"{behind:.0f} s behind the stream at {float(self.watched):.0f} s: "
                "lower --fps or --max-tokens, or use a smaller model"
            )

    def _note(self, line: str) -> None:
        self.notes.append(line)
        self.listener.note(line)

    def _pass_on(self) -> None:
        """Tell what the source has to say."""
        while self.source.warnings:
            self._note(self.source.warnings.pop(0))

    def _answer(self) -> Answer:
        self._pass_on()
        session, plan, lost = self.session, self.plan, self.source.lost
        whole = TimeSpan(Fraction(0), self.watched)
        gaps = [part for each in lost if (part := each.intersection(whole))]
        spec = session.model.spec
        if gaps:
            self._note(f"parts of the stream are missing or could not be decoded: {len(gaps)}")
        return Answer(
            task="watch",
            media=Media(self.request.path, float(self.watched), ""),
            model=ModelUse(spec.name, registry.fingerprint(spec.folder), self.aligner.name),
            query=self.request.query,
            text=f"{self._tracker.count} events",
            found=self._tracker.count > 0,
            sampling=Sampling(
                steps=self.steps,
                considered=self.steps,
                fps=float(plan.fps),
                frame=(plan.width, plan.height),
                tokens=plan.tokens_per_step * self.steps,
                coarsened=plan.coarsened,
            ),
            coverage=Coverage(_floats(subtract(whole, gaps)), _floats(gaps)),
            usage=Usage(
                round(time.monotonic() - self._began - self._looked, 3),
                round(self._looked, 3),
                pipeline.peak_megabytes(),
            ),
            warnings=tuple(self.notes),
        )


def watch(
    request: Request,
    settings: LiveSettings,
    listener: pipeline.Listener,
    emit: Callable[[Record], None],
    fail_empty: bool = False,
) -> int:
    """Watch what `request.path` names until it ends, or an interrupt ends it; returns the exit code.

    emit: called with each record, and with an empty one at least every IDLE seconds; what it raises ends the
    watching. Raises the errors of every stage.
    """
    from qvl_cli.media.live import open_live

    if not request.query.strip():
        raise UsageError("nothing to watch for", "give a text after the address")
    ignored = []
    if request.memory.policy not in ("auto", "window"):
        ignored.append(f"a stream is watched through a window: memory {request.memory.policy} has no effect")
    if request.sampling.mode != "uniform":
        ignored.append(f"a stream is sampled evenly: sampling {request.sampling.mode} has no effect")
    if request.sampling.drop_static:
        ignored.append("of a stream every step is read whole: drop_static has no effect")
    if request.refine:
        ignored.append("a stream cannot be looked at again: refine has no effect")
    ignored += _unread_subtitles(request)
    memory = replace(request.memory, policy="window", positions="shrink")
    request = replace(request, memory=memory, index=None, subs="none")
    stopped_by: BaseException | None = None
    with open_live(request.path, settings.patience) as source:
        watcher = Watcher(request, settings, source, listener, ignored)
        try:
            with closing(watcher.run()) as records:
                for record in records:
                    emit(record)
        except (KeyboardInterrupt, Terminated) as stop:
            stopped_by = stop
            for record in watcher.interrupted():
                emit(record)
        done = watcher.done(stopped_by, fail_empty)
    emit(done)
    return int(done["exit_code"])


def _unread_subtitles(request: Request) -> list[str]:
    """Why those that another command would read, or was told to, are not."""
    from qvl_cli.media.subtitles.choice import named_file
    from qvl_cli.media.subtitles.sidecar import find_sidecars

    if named_file(request.subs):
        return [f"a stream is watched without subtitles: subs {request.subs} has no effect"]
    beside = find_sidecars(Path(request.path)) if request.subs == "auto" else []
    return [f"a stream is watched without subtitles: {beside[0].name} is not read"] if beside else []


def _floats(spans: list[TimeSpan]) -> tuple[tuple[float, float], ...]:
    return tuple((float(span.start), float(span.end)) for span in spans)
