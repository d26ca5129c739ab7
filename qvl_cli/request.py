"""Settings -> Request: what to do with which video, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from qvl_cli.align import CHOICES
from qvl_cli.config import Config
from qvl_cli.errors import UsageError
from qvl_cli.index import IndexSettings
from qvl_cli.media import BACKENDS, MAX_SPOOL, InputSettings
from qvl_cli.memory import AUTO, MemorySettings
from qvl_cli.registry import RopeSettings
from qvl_cli.registry.rope import PLAIN_ROPE
from qvl_cli.sampling import DETAIL, MODES, SamplingSettings
from qvl_cli.timeline import parse_time


@dataclass(frozen=True, slots=True)
class Request:
    """What to do with which video. steps_per_chunk: None = the model's cache block; it changes no result.
    subs: `auto`, `none` or a subtitle file.
    refine: whether boundaries are looked at again, frame by frame; None: those of `locate` with an alignment
    head.
    max_memory: bytes; None is what the machine has. timed: whether the answer is written as subtitles, which
    takes seconds. notes: what the user has been told of the settings. index: None neither uses nor saves what
    was watched."""

    task: str
    path: str
    query: str
    sampling: SamplingSettings
    model: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    aligner: str = "auto"
    backend: str = "pyav"
    inputs: InputSettings = field(default_factory=InputSettings)
    steps_per_chunk: int | None = None
    subs: str = "auto"
    memory: MemorySettings = AUTO
    max_memory: int | None = None
    rope: RopeSettings = PLAIN_ROPE
    show_thinking: bool = False
    refine: bool | None = None
    timed: bool = False
    notes: tuple[str, ...] = ()
    index: IndexSettings | None = None


def make_request(
    task: str, path: str, query: str, config: Config, start: str | None = None, end: str | None = None
) -> Request:
    """Settings -> Request: a `--detail` preset, single settings over it. Raises UsageError."""
    detail = _choice(config, "detail", "default", DETAIL)
    mode = _choice(config, "sampling", "uniform", MODES)
    aligner = _choice(config, "aligner", "auto", CHOICES)
    backend = _choice(config, "backend", "pyav", BACKENDS)
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
            mode=mode,
            max_gap=config.rate("max_gap"),
            drop_static=config.switch("drop_static"),
            start=None if start is None else parse_time(start),
            end=None if end is None else parse_time(end),
        ),
        model=config.text("model", "auto"),
        device=config.text("device", "auto"),
        dtype=config.text("dtype", "auto"),
        aligner=aligner,
        backend=backend,
        inputs=InputSettings(
            config.count("max_spool") or MAX_SPOOL,
            # A habit that a settings file tells is about videos.
            picture_rate=config.rate("fps") if config.source("fps") == "--fps" else None,
        ),
        steps_per_chunk=config.count("chunk"),
        subs=config.text("subs", "auto"),
        memory=MemorySettings(
            policy=config.text("memory", "auto"),
            window=config.rate("window") or AUTO.window,
            kv=config.text("kv", "none"),
        ),
        max_memory=config.count("max_memory"),
        rope=RopeSettings(
            config.rate("yarn"),
            config.rate("rope_prune") or PLAIN_ROPE.prune,
            config.text("rope_prune_end", PLAIN_ROPE.end),
        ),
        show_thinking=config.switch("show_thinking"),
        refine=config.choice("refine"),
        timed=config.text("format", "txt") == "srt",
        notes=config.notes,
        index=IndexSettings.of(config, insist=task == "index"),
    )


def _choice(config: Config, key: str, default: str, choices: Collection[str]) -> str:
    chosen = config.text(key, default)
    if chosen not in choices:
        raise UsageError(f"unknown {key} {chosen!r}", f"choose from {', '.join(choices)}")
    return chosen
