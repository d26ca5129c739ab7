"""The one place that sees every stage: a video file and a request in, an Answer out."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from qvl_cli import registry
from qvl_cli.align import check_aligner, load_aligner
from qvl_cli.answer import Answer, Media, ModelUse, Sampling, SubtitleUse, Usage
from qvl_cli.cache.beside import SECTIONS
from qvl_cli.chunks import iter_chunks
from qvl_cli.coverage import (
    cover,
    dropped_tokens,
    later_warnings,
    promised_end,
)
from qvl_cli.errors import MediaError, OutsideWorld, UsageError
from qvl_cli.fitting import fit, fit_weights, free_on_device
from qvl_cli.index.index import Index, NoIndex
from qvl_cli.index.opened import Subject, fetch_saved, known_media, open_index, saved_plan, video_digest
from qvl_cli.media import open_video
from qvl_cli.media.subtitles.choice import check_named
from qvl_cli.memory import AUTO, MemorySettings
from qvl_cli.registry import ModelSpec
from qvl_cli.request import Request
from qvl_cli.sampling import (
    SCANNED,
    SamplePlan,
    SamplingSettings,
    check_sampling,
    plan_samples,
    sampled_range,
)
from qvl_cli.scan import Activity, ScanSettings, scan
from qvl_cli.sessions import open_session
from qvl_cli.static import StaticPatches
from qvl_cli.subtitled import choose_subtitles
from qvl_cli.weave import size_notes

if TYPE_CHECKING:
    from qvl_cli.align import Aligner
    from qvl_cli.align.refine import Refiner
    from qvl_cli.media.info import MediaInfo, Source
    from qvl_cli.model.load import LoadedModel
    from qvl_cli.model.world_gate import WorldGate
    from qvl_cli.stream import StreamSession
    from qvl_cli.tasks import Findings
    from qvl_cli.tasks.sections import Sections


class Listener(Protocol):
    """Who wants to hear how it goes. Everything said here is said again in the Answer, where it matters."""

    def note(self, line: str) -> None: ...
    def progress(self, stage: str, done: float, total: float) -> None: ...
    def text(self, piece: str, thinking: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Watched:
    """A video that has been watched, just now or before.

    subtitles: name of their source; None: none are read. notes: what the user has been told of it so far.
    """

    video: Source
    sha256: str
    plan: SamplePlan
    session: StreamSession
    aligner: Aligner
    sections: Sections | None
    index: Index | NoIndex
    subtitles: str | None
    notes: tuple[str, ...]
    seconds: float


@contextmanager
def watched(request: Request, listener: Listener) -> Iterator[Watched]:
    """Open, plan, check, load, watch: or take what was saved. Raises the errors of every stage, all qvl's."""
    from qvl_cli.model.load import pick_device, pick_dtype

    check_named(request.subs)
    known = known_media(request.index)
    inputs = replace(request.inputs, progress=listener.progress, known=known)
    with open_video(request.path, request.backend, inputs) as video:
        # Before a checkpoint is downloaded for nothing.
        sampled_range(video.info, request.sampling)
        if request.timed and video.info.unit != "s":
            raise UsageError("pages have no times to write as subtitles", "use -f json")
        spec, chosen = choose_spec(request, listener)
        sha256 = video.content_hash()
        dtype = pick_dtype(request.dtype, pick_device(request.device), spec)
        subtitles = choose_subtitles(request, video.info, spec)
        watches = video_digest(video)
        subject = Subject.of(watches, spec, dtype, request.sampling, request.index, subtitles.digest)
        plan = saved_plan(subject, request.index)
        if plan is None:
            activity = look(video, spec, request.sampling, listener)
            plan = subtitles.woven(plan_samples(video.info, request.sampling, spec, activity), spec)
        for note in subtitles.use(plan):
            listener.note(note)
        notes = (*chosen, *plan.notes, *subtitles.notes, *size_notes(plan))
        for note in notes:
            listener.note(note)
        fitted = fit(plan, spec, request)
        for note in fitted.notes:
            listener.note(note)
        notes = (*request.notes, *notes, *fitted.notes)
        told = _told_key(spec, request) if request.task == "summarize" else None
        # Where there is nothing to wait for and nothing to save, the model is loaded beside the disk's work.
        loaded = load(fitted.spec, request) if fetch_saved(subject, fitted.memory, request.index) else None
        with open_index(subject, plan, fitted.memory, request.index, listener.note, told) as index:
            index.prepare(spec, request.path, video.info)
            model, aligner = loaded or load(fitted.spec, request)

            began = time.monotonic()
            blocks = index.blocks(video.lost)
            session = open_session(model, aligner, plan, fitted.memory, fitted.spilled, blocks)
            rest = replace(plan, steps=index.remaining(session))
            save = partial(index.save, session, video.lost)
            sections = watch(video, rest, session, request, listener, fitted.memory, save)
            index.finish(session, video.lost)
            seconds = time.monotonic() - began
        read = subtitles.source.name if subtitles.source else None
        yield Watched(video, sha256, plan, session, aligner, sections, index, read, notes, seconds)


def run(request: Request, listener: Listener) -> Answer:
    """Watch the video, or remember it, and answer."""
    if request.task != "summarize" and not request.query.strip():
        raise UsageError(f"nothing to {request.task}", "give a text after the file")
    from qvl_cli.align.whole_steps import WholeSteps

    with watched(request, listener) as it:
        plan, session, spec = it.plan, it.session, it.session.model.spec
        began = time.monotonic()
        info, refines = it.video.info, refiner(it, request, listener)
        aligner = WholeSteps(it.aligner) if info.alone else it.aligner
        findings = answer(session, aligner, request, listener, info, it.sections, it.index, refines)
        answered = time.monotonic() - began

        coverage = cover(plan, session, it.video, request.sampling.end)
        read = sum(len(step.cues) for step in session.steps)
        later = (*later_warnings(it.video, plan, session, coverage), *findings.warnings)
        for warning in later:
            listener.note(warning)
        return Answer(
            task=request.task,
            media=Media(
                str(request.path),
                float(promised_end(it.video) - info.begins),
                it.sha256,
                info.unit,
                float(info.lead),
            ),
            model=ModelUse(spec.name, registry.fingerprint(spec.folder), it.aligner.name),
            query=request.query,
            text=findings.text,
            found=findings.found,
            moments=findings.moments,
            sections=findings.sections,
            sampling=Sampling(
                steps=len(session.steps),
                considered=plan.considered,
                fps=float(plan.fps),
                frame=(plan.width, plan.height),
                tokens=session.vision_tokens,
                coarsened=plan.coarsened,
                mode=plan.mode,
                kept=dict(plan.kept),
                dropped=dropped_tokens(plan, session),
            ),
            coverage=coverage,
            usage=Usage(round(it.seconds, 3), round(answered, 3), peak_megabytes(), it.index.state),
            subtitles=SubtitleUse(it.subtitles, read) if it.subtitles else None,
            thinking=findings.thinking if request.show_thinking else None,
            warnings=(*it.notes, *later),
        )


def refiner(it: Watched, request: Request, listener: Listener) -> Refiner | None:
    """What moves the boundaries of moments to the frame, where that is wanted."""
    from qvl_cli.align.refine import Refiner, refines

    if not refines(request.refine, request.task, it.aligner):
        return None

    def on_progress(done: int, total: int) -> None:
        listener.progress("refining", done, total)

    return Refiner(it.video, it.plan, it.session.steps, it.session.model, on_progress=on_progress)


def look(video: Source, spec: ModelSpec, sampling: SamplingSettings, listener: Listener) -> Activity | None:
    """Scan for changes where the sampling chooses by them; None where it does not."""
    if sampling.mode not in SCANNED or sampling.max_frames == 1:
        return None
    span = check_sampling(video.info, sampling, spec)
    return scan(
        video,
        ScanSettings(span.start, span.end),
        lambda done, total: listener.progress("scanning", done, total),
    )


def choose_spec(request: Request, listener: Listener) -> tuple[ModelSpec, tuple[str, ...]]:
    """The checkpoint that answers, its rotation as asked for; notes on that, and where qvl had to fall back
    to the embedded one."""

    from qvl_cli.model.load import check_dtype, pick_device

    def on_download(done: int, total: int) -> None:
        listener.progress(f"downloading {request.model}", done, total)

    def usable(found: ModelSpec) -> ModelSpec:
        check_aligner(found, request.aligner)
        return registry.with_rope(found, request.rope)

    def worth_fetching(promised: ModelSpec) -> None:
        fit_weights(usable(replace(promised, name=name)), request)

    pick_device(request.device)
    check_dtype(request.dtype)
    name, choice = request.model, None
    if name == "auto":
        choice = next(registry.cached_models(), None)
        free, of_weight = free_on_device(request)
        name = registry.choose_model(None, min(free, request.max_memory or free), of_weight)
    folder = registry.resolve(name, progress=on_download, check=worth_fetching)
    spec = usable(registry.read_spec(folder, name))
    notes = registry.rope_notes(spec)
    if spec.has_world_gate and request.model == "auto":
        why = "no cached Qwen3-VL fits into memory" if choice else "no Qwen3-VL is cached"
        remedy = "--model 2b fetches a real one"
        fallen = f"{why}: using the embedded {name!r}, which only knows drawn shapes; {remedy}"
        return spec, (fallen, *notes)
    return spec, notes


def load(spec: ModelSpec, request: Request) -> tuple[LoadedModel, Aligner]:
    from qvl_cli.model.load import load_model

    model = load_model(spec, request.device, request.dtype)
    return model, load_aligner(model, request.aligner)


def watch(
    video: Source,
    plan: SamplePlan,
    session: StreamSession,
    request: Request,
    listener: Listener,
    memory: MemorySettings = AUTO,
    save: Callable[[], None] = lambda: None,
) -> Sections | None:
    """Stream the plan's chunks through the session, and `save` after each; stop early where the model does
    not know this world.

    Returns the sections of a summary, where they must be written before the session lets them go.
    """
    from qvl_cli.generate import answer_settings
    from qvl_cli.model.preprocess import resize_frames
    from qvl_cli.tasks.sections import Sections

    spec = session.model.spec
    sections, size = None, request.steps_per_chunk or spec.block_steps
    if request.task == "summarize" and memory.policy == "window" and plan.steps:
        sections, size = Sections(answer_settings(spec), video.info.alone), spec.block_steps
    gate = world_gate(spec, request) if session.told_tokens is None else None
    judge = gate.judge() if gate else None

    def check() -> None:
        """Judged at every whole block, so that the verdict is the same for every chunk size, and for what was
        watched before."""
        while judge is not None and judge.steps + spec.block_steps <= len(session.steps):
            fresh = session.vision_means[judge.steps : judge.steps + spec.block_steps]
            check_world(judge.accepts(fresh), spec.name)

    check()
    total = len(session.steps) + len(plan.steps)
    static = None
    if request.sampling.drop_static:
        side = spec.patch_size * spec.merge_size
        static = StaticPatches(side, spec.block_steps, len(session.steps))
    chunks = iter_chunks(video, plan, size, resize_frames, static=static, block_steps=spec.block_steps)
    # Closed before the video is: the prefetch thread must not decode from a file that is gone.
    with closing(chunks):
        for chunk in chunks:
            if sections is not None:
                sections.coming(session, chunk.steps, memory.window)
            session.watch(chunk)
            if sections is not None:
                sections.watched(session)
            listener.progress("watching", len(session.steps), total)
            check()
            save()
    if judge is not None and judge.steps < len(session.steps):
        check_world(judge.accepts(session.vision_means[judge.steps :]), spec.name)
    if not session.steps:
        raise MediaError(f"no frame of {request.path} could be decoded", "repair or convert the file")
    if sections is not None:
        sections.rest(session)
    return sections


def world_gate(spec: ModelSpec, request: Request) -> WorldGate | None:
    """What judges whether the checkpoint knows a video; None where it knows all, or the user insists."""
    if not _is_judged(spec, request):
        return None
    from qvl_cli.model.world_gate import WorldGate

    return WorldGate.load(spec.folder)


def _is_judged(spec: ModelSpec, request: Request) -> bool:
    return spec.has_world_gate and request.model == "auto"


def check_world(accepted: bool, name: str) -> None:
    """Raises OutsideWorld where the gate of the checkpoint `name` has not accepted what was watched."""
    if not accepted:
        raise OutsideWorld(
            f"this video is not of the drawn world the embedded model {name!r} knows",
            f"use a real model (--model 2b), or insist with --model {name}",
        )


def answer(
    session: StreamSession,
    aligner: Aligner,
    request: Request,
    listener: Listener,
    info: MediaInfo,
    sections: Sections | None = None,
    index: Index | NoIndex | None = None,
    refiner: Refiner | None = None,
) -> Findings:
    """Run the task on the watched session. info: of the video. sections: of a summary, where they are written
    already. index: of the session; a summary is kept with it, and taken from it. refiner: for the boundaries
    of moments."""
    from qvl_cli.generate import answer_settings
    from qvl_cli.tasks.ask import ask
    from qvl_cli.tasks.locate import locate
    from qvl_cli.tasks.summarize import summarize
    from qvl_cli.tasks.told import Summary

    settings = answer_settings(session.model.spec)
    if request.task == "ask":
        return ask(session, aligner, request.query, settings, listener.text, refiner)
    if request.task == "locate":
        return locate(session, aligner, request.query, refiner, info.unit)
    if request.task == "summarize":

        def on_progress(done: int, total: int) -> None:
            listener.progress("summarizing", done, total)

        key = _summary_key(session.model.spec)
        kept = index.recall(Summary, SECTIONS) if index else None
        if kept is not None and kept.key == key:
            listener.note("the sections were written before")
            return kept.findings()
        findings = summarize(session, settings, on_progress, sections, info.alone)
        if index:
            index.keep(SECTIONS, Summary.of(findings, key))
        return findings
    raise ValueError(f"no task is called {request.task!r}")


def _summary_key(spec: ModelSpec) -> str:
    from qvl_cli.generate import answer_settings
    from qvl_cli.tasks.told import summary_key

    return summary_key(answer_settings(spec))


def _told_key(spec: ModelSpec, request: Request) -> str:
    """Of a summary that stands without what was watched: nothing can judge that any more."""
    return f"{_summary_key(spec)} {'judged' if _is_judged(spec, request) else 'as it is'}"


def peak_megabytes() -> float:
    """Most memory this process has held; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
