"""`qvl head train` and `qvl head eval`: an alignment head for a checkpoint that has none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qvl_cli.cli.console import Console
from qvl_cli.cli.eval import ResultsFile, deliver
from qvl_cli.cli.options import PlainFormat
from qvl_cli.cli.settings import plain_format, settle
from qvl_cli.config import Config
from qvl_cli.errors import UsageError
from qvl_cli.render.output import check_writable, is_stdout

NAME = "head"
HEAD = "alignment_head.safetensors"

Data = Annotated[str, typer.Argument(metavar="DATA.jsonl", help="Queries and windows in QVHighlights' form.")]
Videos = Annotated[str, typer.Option(metavar="DIR", help="The folder of the videos.")]
Model = Annotated[str, typer.Option(metavar="NAME", help="The checkpoint, which stays frozen.")]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:1. [auto]")]
Fps = Annotated[str | None, typer.Option(metavar="N", help="Frames watched per second. [2]")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and library warnings.")]


def build() -> typer.Typer:
    group = typer.Typer(name=NAME, add_completion=False, rich_markup_mode=None, no_args_is_help=False)
    group.callback(help="Train and score alignment heads: text to time for any checkpoint.")(_root)
    group.command("train")(train)
    group.command("eval")(evaluate)
    return group


def _root() -> None:
    """Nothing of its own."""


def train(
    data: Data,
    videos: Videos,
    model: Model,
    features: Annotated[
        str, typer.Option(metavar="DIR", help="Store what the checkpoint says here, and reuse it.")
    ] = "qvl-head-features",
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The head.")] = HEAD,
    epochs: Annotated[int, typer.Option(metavar="N", help="Rounds over all videos.", min=1)] = 60,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the first weights and the order.", min=0)] = 0,
    device: Device = None,
    fps: Fps = None,
    format: PlainFormat = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Train a head on videos with known windows; a fifth of them calibrates its scores."""
    config, shown, console = _settle(model, device, fps, format, quiet)
    check_writable(output, data)
    if is_stdout(output):
        raise UsageError("a head cannot go to stdout: its figures do", "name a file with -o")
    from qvl_cli.heads.train import Sources, run
    from qvl_cli.request import make_request

    sources = Sources(Path(data), Path(videos), Path(features))
    try:
        document = run(sources, Path(output), epochs, seed, make_request("locate", "", "", config), console)
    finally:
        console.close()
    return deliver(document, shown)


def evaluate(
    data: Data,
    videos: Videos,
    model: Model,
    head: Annotated[str, typer.Option(metavar="FILE", help="The head to score.")] = HEAD,
    resume: Annotated[
        str | None, typer.Option(metavar="FILE", help="Keep results here, and continue from them.")
    ] = None,
    device: Device = None,
    fps: Fps = None,
    format: PlainFormat = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Score a head as `qvl eval qvhighlights` scores a model."""
    config, shown, console = _settle(model, device, fps, format, quiet)
    from qvl_cli.evals import public
    from qvl_cli.request import make_request

    results = ResultsFile("head", resume, console)
    try:
        document = public.run(
            "qvhighlights",
            Path(data),
            Path(videos),
            make_request("locate", "", "", config),
            results.open,
            console,
            Path(head),
        )
    finally:
        console.close()
    return results.deliver(document, shown)


def _settle(
    model: str, device: str | None, fps: str | None, format: str | None, quiet: bool
) -> tuple[Config, str, Console]:
    """The settings, the format of the figures, and who tells how it goes."""
    flags = {"model": model, "device": device, "fps": fps, "format": format, "quiet": quiet or None}
    config = settle({**flags, "aligner": "auto"})
    return config, plain_format(config), Console(config.switch("quiet"))
