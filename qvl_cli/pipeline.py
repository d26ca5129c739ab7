"""The one place that sees every stage: a video file and a request in, an Answer out."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qvl_cli import registry
from qvl_cli.align import CHOICES, load_aligner
from qvl_cli.answer import Answer, Coverage, Media, ModelUse, Sampling, SubtitleUse, Usage
from qvl_cli.budget import answer_tokens, check_budget, free_memory
from qvl_cli.chunks import iter_chunks
from qvl_cli.config import Config
from qvl_cli.errors import MediaError, OutsideWorld, UsageError
from qvl_cli.media import content_hash, open_video
from qvl_cli.registry import ModelSpec
from qvl_cli.sampling import DETAIL, SamplePlan, SamplingSettings, plan_samples
from qvl_cli.timeline import TimeSpan, merge, parse_time, subtract
from qvl_cli.weave import size_notes, weave

if TYPE_CHECKING:
    from fractions import Fraction

    from qvl_cli.align import Aligner
    from qvl_cli.media.source import VideoSource
    from qvl_cli.model.load import LoadedModel
    from qvl_cli.model.world_gate import WorldGate
    from qvl_cli.stream import StreamSession
    from qvl_cli.tasks import Findings


class Listener(Protocol):
    """Who wants to hear how it goes. Everything said here is said again in the Answer, where it matters."""

    def note(self, line: str) -> None: ...
    def progress(self, stage: str, done: float, total: float) -> None: ...
    def text(self, piece: str, thinking: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What to do with which video. steps_per_chunk: None = the model's cache block; it changes no result.
    subs: `auto`, `none` or a subtitle file."""

    task: str
    path: str
    query: str
    sampling: SamplingSettings
    model: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    aligner: str = "auto"
    steps_per_chunk: int | None = None
    subs: str = "auto"
    show_thinking: bool = False


def make_request(
    task: str, path: str, query: str, config: Config, start: str | None = None, end: str | None = None
) -> Request:
    """Settings -> Request: a `--detail` preset, single settings over it. Raises UsageError."""
    detail = config.text("detail", "default")
    if detail not in DETAIL:
        raise UsageError(f"unknown detail {detail!r}", f"choose from {', '.join(DETAIL)}")
    aligner = config.text("aligner", "auto")
    if aligner not in CHOICES:
        raise UsageError(f"unknown aligner {aligner!r}", f"choose from {', '.join(CHOICES)}")
    preset = DETAIL[detail]
    return Request(
        task=task,
        path=path,
        query=query.encode("utf-8", "replace").decode(),  # an argument may hold bytes that are no text
        sampling=replace(
            preset,
            fps=config.rate("fps") or preset.fps,
            max_frames=config.count("max_frames") or preset.max_frames,
            max_tokens=config.count("max_tokens") or preset.max_tokens,
            max_pixels=config.count("max_pixels") or preset.max_pixels,
            start=None if start is None else parse_time(start),
            end=None if end is None else parse_time(end),
        ),
        model=config.text("model", "auto"),
        device=config.text("device", "auto"),
        dtype=config.text("dtype", "auto"),
        aligner=aligner,
        steps_per_chunk=config.count("chunk"),
        subs=config.text("subs", "auto"),
        show_thinking=config.switch("show_thinking"),
    )


def run(request: Request, listener: Listener) -> Answer:
    """Open, plan, check, load, watch, answer. Raises the errors of every stage, all in qvl's own tree."""
    if request.task != "summarize" and not request.query.strip():
        raise UsageError(f"nothing to {request.task}", "give a text after the file")
    with open_video(request.path) as video:
        spec, chosen = choose_spec(request, listener)
        plan = plan_samples(video.info, request.sampling, spec)
        plan, subtitles, told = add_subtitles(plan, video, spec, request, listener)
        known = (*chosen, *plan.notes, *told)
        for note in known:
            listener.note(note)
        check_plan(plan, spec, request)
        model, session = load(spec, plan, request)
        aligner = load_aligner(model, request.aligner)

        began = time.monotonic()
        watch(video, plan, session, request, listener)
        watched = time.monotonic()
        findings = answer(session, aligner, request, listener)
        answered = time.monotonic()

        coverage = cover(plan, session, video, request.sampling.end)
        read = sum(len(step.cues) for step in session.steps)
        unread = sum(len(step.cues) for step in plan.steps) - read
        later = (*hole_warnings(coverage), *unread_warnings(unread), *findings.warnings)
        for warning in later:
            listener.note(warning)
        return Answer(
            task=request.task,
            media=Media(str(request.path), float(promised_end(video)), content_hash(request.path)),
            model=ModelUse(spec.name, registry.fingerprint(spec.folder), aligner.name),
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
                tokens=plan.tokens_per_step * len(session.steps),
                coarsened=plan.coarsened,
            ),
            coverage=coverage,
            usage=Usage(round(watched - began, 3), round(answered - watched, 3), peak_megabytes()),
            subtitles=SubtitleUse(subtitles, read) if subtitles else None,
            thinking=findings.thinking if request.show_thinking else None,
            warnings=(*known, *later),
        )


def choose_spec(request: Request, listener: Listener) -> tuple[ModelSpec, tuple[str, ...]]:
    """The checkpoint that answers, and a note where qvl had to fall back to the embedded one."""

    def on_download(done: int, total: int) -> None:
        listener.progress(f"downloading {request.model}", done, total)

    name, choice = request.model, None
    if name == "auto":
        # Asking a device what it has means starting torch: only where there is something to choose from.
        choice = next(registry.cached_models(), None)
        free, size = free_on_device(request) if choice else (free_memory(), 4)
        name = registry.choose_model(None, free, size)
    spec = registry.read_spec(registry.resolve(name, progress=on_download), name)
    if spec.has_world_gate and request.model == "auto":
        why = "no cached Qwen3-VL fits into memory" if choice else "no Qwen3-VL is cached"
        remedy = "--model 2b fetches a real one"
        return spec, (f"{why}: using the embedded {name!r}, which only knows drawn shapes; {remedy}",)
    return spec, ()


def add_subtitles(
    plan: SamplePlan, video: VideoSource, spec: ModelSpec, request: Request, listener: Listener
) -> tuple[SamplePlan, str | None, tuple[str, ...]]:
    """The plan with the subtitles woven in, the name of their source (None: there are none), and what must be
    told. Raises MediaError where the file the user named gives no cue."""
    from qvl_cli.media.subtitles.choice import find_subtitles, read_subtitles

    source, notes = find_subtitles(Path(request.path), video.info, request.subs)
    if source is None:
        return plan, None, notes
    auto = request.subs == "auto"
    if auto and spec.has_world_gate:
        why = f"{spec.name} was not trained to read any; --subs FILE insists"
        return plan, None, (*notes, f"the subtitles in {source.name} are left out: {why}")
    try:
        track = read_subtitles(source, video.info)
    except MediaError as error:
        if not auto:
            raise
        return plan, None, (*notes, f"no subtitles are used: {error.fact}")
    from qvl_cli.model.tokens import load_codec

    codec = load_codec(spec.folder)
    woven = weave(plan, track.cues, lambda text: len(codec.encode_text(text)))
    used = sum(len(step.cues) for step in woven.steps)
    others = f"; also there: {', '.join(source.others)}" if source.others else ""
    listener.note(
        f"subtitles: {used} of {len(track.cues)} cues of {source.name} lie in what is watched{others}"
    )
    return woven, source.name, (*notes, *track.told(source.name), *size_notes(woven))


def check_plan(plan: SamplePlan, spec: ModelSpec, request: Request) -> None:
    """Refuse before any load what would not fit. Raises OverBudget."""
    from qvl_cli.model.load import pick_device, pick_dtype

    free, _ = free_on_device(request)
    dtype = pick_dtype(request.dtype, pick_device(request.device), spec)
    check_budget(plan, spec, free, dtype.itemsize, request.steps_per_chunk)


def free_on_device(request: Request) -> tuple[int, int]:
    """Free bytes where the model will run, and the bytes one of its weights will take at most."""
    from qvl_cli.model.load import pick_device
    from qvl_cli.model.memory import free_bytes

    device = pick_device(request.device)
    if device.type == "cpu":
        return free_memory(), 4
    return free_bytes(device), 4 if request.dtype == "float32" else 2


def load(spec: ModelSpec, plan: SamplePlan, request: Request) -> tuple[LoadedModel, StreamSession]:
    from qvl_cli.budget import STEP_TEXT_TOKENS
    from qvl_cli.model.load import load_model
    from qvl_cli.stream import StreamSession

    model = load_model(spec, request.device, request.dtype)
    return model, StreamSession(
        model, plan.tokens + len(plan.steps) * STEP_TEXT_TOKENS + sum(plan.text_tokens)
    )


def watch(
    video: VideoSource, plan: SamplePlan, session: StreamSession, request: Request, listener: Listener
) -> None:
    """Stream the plan's chunks through the session; stop early where the model does not know this world."""
    from qvl_cli.model.preprocess import resize_frames

    spec = session.model.spec
    gate, judged = None, 0
    if spec.has_world_gate and request.model == "auto":
        from qvl_cli.model.world_gate import WorldGate

        gate = WorldGate.load(spec.folder)
    chunks = iter_chunks(video, plan, request.steps_per_chunk or spec.block_steps, resize_frames)
    # Closed before the video is: the prefetch thread must not decode from a file that is gone.
    with closing(chunks):
        for chunk in chunks:
            session.watch(chunk)
            listener.progress("watching", len(session.steps), len(plan.steps))
            # Judged at every whole block, so that the verdict is the same for every chunk size.
            while gate is not None and judged + spec.block_steps <= len(session.steps):
                judged += spec.block_steps
                check_world(gate, session, judged)
    if gate is not None:
        check_world(gate, session, len(session.steps))
    if not session.steps:
        raise MediaError(f"no frame of {request.path} could be decoded", "repair or convert the file")


def check_world(gate: WorldGate, session: StreamSession, steps: int) -> None:
    """Raises OutsideWorld where the first `steps` steps are not what the checkpoint knows."""
    name = session.model.spec.name
    if steps and not gate.accepts(session.vision_means[:steps]):
        raise OutsideWorld(
            f"this video is not of the drawn world the embedded model {name!r} knows",
            f"use a real model (--model 2b), or insist with --model {name}",
        )


def answer(session: StreamSession, aligner: Aligner, request: Request, listener: Listener) -> Findings:
    """Run the task on the watched session."""
    from qvl_cli.generate import DecodeSettings
    from qvl_cli.tasks.ask import ask
    from qvl_cli.tasks.locate import locate
    from qvl_cli.tasks.summarize import summarize

    settings = DecodeSettings(max_new_tokens=answer_tokens(session.model.spec))
    if request.task == "ask":
        return ask(session, aligner, request.query, settings, listener.text)
    if request.task == "locate":
        return locate(session, aligner, request.query)
    if request.task == "summarize":

        def on_progress(done: int, total: int) -> None:
            listener.progress("summarizing", done, total)

        return summarize(session, settings, on_progress)
    raise ValueError(f"no task is called {request.task!r}")


def promised_end(video: VideoSource) -> Fraction:
    """The end of the media as its container has it: later than the last frame where the file was cut off."""
    return max((video.info.duration, *(hole.end for hole in video.info.holes)))


def cover(
    plan: SamplePlan, session: StreamSession, video: VideoSource, asked_end: Fraction | None
) -> Coverage:
    """Seen: the intervals of the watched steps without what was lost in them. Gaps: the rest of what was
    asked for, the cut-off end of a file included."""
    end = promised_end(video) if asked_end is None else min(asked_end, promised_end(video))
    whole = TimeSpan(plan.range.start, max(plan.range.end, end))
    holes = [part for hole in (*video.info.holes, *video.lost) if (part := hole.intersection(whole))]
    watched = merge(step.interval for step in session.steps)
    seen = [part for span in watched for part in subtract(span, holes)]
    cut_off = video.info.cut_off and (asked_end is None or asked_end > video.info.duration)
    return Coverage(_floats(seen), _floats(subtract(whole, seen)), cut_off)


def hole_warnings(coverage: Coverage) -> tuple[str, ...]:
    if coverage.cut_off:
        return (
            "the file is cut off in the middle: what followed its last frame is lost",
            *_gap_warnings(coverage),
        )
    return _gap_warnings(coverage)


def unread_warnings(cues: int) -> tuple[str, ...]:
    """cues: subtitles that no step was left to carry."""
    return (f"subtitles not read, because no later frame could be: {cues}",) if cues else ()


def _gap_warnings(coverage: Coverage) -> tuple[str, ...]:
    if not coverage.gaps:
        return ()
    shown = ", ".join(f"{start:.1f}-{end:.1f} s" for start, end in coverage.gaps[:5])
    more = f" and {len(coverage.gaps) - 5} more" if len(coverage.gaps) > 5 else ""
    return (f"parts of the video could not be read: {shown}{more}",)


def _floats(spans: list[TimeSpan]) -> tuple[tuple[float, float], ...]:
    return tuple((float(span.start), float(span.end)) for span in spans)


def peak_megabytes() -> float:
    """Most memory this process has held; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
