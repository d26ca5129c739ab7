"""The flags that `ask`, `locate` and `summarize` share: one dataclass, expanded into each signature.

Values stay text here: config.py parses a flag exactly as it parses the same setting from a file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer

from qvl_cli.cli.settings import settle
from qvl_cli.config import Config

VideoFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A video, a picture, a folder of pictures, a PDF, a URL or - for stdin; ./-x.mp4 for a dash.",
    ),
]
MaxSpool = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Most of stdin or a URL to copy to disk. [8G]")
]
PlainFormat = Annotated[
    str | None, typer.Option("--format", "-f", metavar="FORMAT", help="txt or json. [txt]")
]
OutputPath = Annotated[str, typer.Option("--output", "-o", metavar="PATH", help="Write here; - is stdout.")]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said; None (or False) where it said nothing."""

    fps: Annotated[str | None, typer.Option(metavar="N", help="Frames watched per second. [2]")] = None
    max_frames: Annotated[str | None, typer.Option(metavar="N", help="Most frames to watch.")] = None
    max_tokens: Annotated[
        str | None, typer.Option(metavar="N", help="Most video tokens. [the model's own: 12288]")
    ] = None
    max_pixels: Annotated[str | None, typer.Option(metavar="N", help="Most pixels per frame.")] = None
    sampling: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="uniform, adaptive, scene or keyframe: where steps lie. [uniform]"),
    ] = None
    max_gap: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="Longest time adaptive and scene pass without a look. [10]"),
    ] = None
    drop_static: Annotated[
        bool, typer.Option("--drop-static", help="Show the model only patches that change.")
    ] = False
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Watch from here (90, 1:30, 01:02:03.5).")
    ] = None
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Watch up to here.")] = None
    detail: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="low, default, high or max: a preset of the budgets.")
    ] = None
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="auto, an alias (`qvl models`), a hub id or a folder. [auto]"),
    ] = None
    device: Annotated[str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:1. [auto]")] = (
        None
    )
    dtype: Annotated[
        str | None, typer.Option(metavar="NAME", help="auto, float32, bfloat16 or float16. [auto]")
    ] = None
    aligner: Annotated[
        str | None, typer.Option(metavar="KIND", help="Text to time by auto, head or text. [auto]")
    ] = None
    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Decode with pyav, decord, or auto: whichever works. [pyav]"),
    ] = None
    chunk: Annotated[
        str | None, typer.Option(metavar="STEPS", help="Steps per chunk; changes memory, never results. [8]")
    ] = None
    subs: Annotated[
        str | None, typer.Option(metavar="WHICH", help="Subtitles to read: auto, none or a file. [auto]")
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="What is kept: auto, full, window or retrieve. [auto]"),
    ] = None
    max_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most memory to use, like 8G. [what is free]")
    ] = None
    kv: Annotated[
        str | None, typer.Option(metavar="KIND", help="Keys and values as none, bf16, int8 or int4. [none]")
    ] = None
    window: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="What window and retrieve keep in view. [120]")
    ] = None
    yarn: Annotated[
        str | None, typer.Option(metavar="N", help="Stretch the model's positions N times, like 3. [no]")
    ] = None
    rope_prune: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Rotary pairs to drop from queries and keys, like 0.15. [0]"),
    ] = None
    rope_prune_end: Annotated[
        str | None, typer.Option(metavar="END", help="Which frequencies to drop: low or high. [low]")
    ] = None
    no_index: Annotated[
        bool, typer.Option("--no-index", help="Neither use nor save what was watched (see `qvl cache`).")
    ] = False
    cache_cap: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most that saved indexes may take on disk. [10GiB]")
    ] = None
    format: Annotated[
        str | None, typer.Option("--format", "-f", metavar="FORMAT", help="txt, json, jsonl or srt. [txt]")
    ] = None
    max_spool: MaxSpool = None
    output: OutputPath = "-"
    fail_empty: Annotated[bool, typer.Option("--fail-empty", help="Exit 10 where nothing is found.")] = False
    show_thinking: Annotated[
        bool, typer.Option("--show-thinking", help="Keep the thinking of Thinking models in the answer.")
    ] = False
    refine: Annotated[
        bool | None,
        typer.Option("--refine/--no-refine", help="Look again for the exact frame of boundaries."),
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress on stderr.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and library warnings.")] = False

    def config(self) -> Config:
        """The flags over the environment and the files. Raises UsageError."""
        own = ("start", "end", "output", "debug")  # of this one run: not settings
        flags = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in own}
        # A switch that was not given says nothing, so that a file can still turn it on.
        silent = [each.name for each in fields(self) if each.default is False]
        return settle(
            {key: None if value is False and key in silent else value for key, value in flags.items()}
        )


def takes_options(command: Callable[..., int], without: Collection[str] = ()) -> Callable[..., int]:
    """`command(..., options: Options)` as Typer sees it: its own parameters, then the flags of Options.

    without: fields of Options that mean nothing to this command.
    """
    offered = [each for each in fields(Options) if each.name not in without]

    def run(**given: Any) -> int:
        values = {each.name: given.pop(each.name) for each in offered}
        return command(**given, options=Options(**values))

    own = [
        each
        for name, each in inspect.signature(command, eval_str=True).parameters.items()
        if name != "options"
    ]
    hints = get_type_hints(Options, include_extras=True)
    shared = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )
        for each in offered
    ]
    run.__signature__ = inspect.Signature([*own, *shared], return_annotation=int)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run
