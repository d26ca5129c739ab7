"""`qvl eval SUITE`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qvl_cli.cli.console import Console, put
from qvl_cli.cli.options import PlainFormat
from qvl_cli.cli.settings import plain_format, settle
from qvl_cli.config import Config
from qvl_cli.errors import EXIT_OK, EXIT_PARTIAL, UsageError

if TYPE_CHECKING:
    from qvl_cli.evals.journal import Journal

NAME = "eval"
SUITES = ("drawn", "qvhighlights", "charades", "vue-tr", "video-mme")
FIRST_SEED, DRAWN_VIDEOS = 1_000_000, 100


def command(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help=f"One of {', '.join(SUITES)}.")],
    annotations: Annotated[
        str | None, typer.Option(metavar="FILE", help="The suite's annotation file (all but drawn).")
    ] = None,
    predictions: Annotated[
        str | None, typer.Option(metavar="FILE", help="Score these predictions; no model runs.")
    ] = None,
    videos: Annotated[
        str | None,
        typer.Option(metavar="DIR|N", help="The folder of the videos; for drawn, how many. [100]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="S", help="drawn: the first seed, from 1,000,000 on. [1000000]")
    ] = None,
    outside: Annotated[
        str | None, typer.Option(metavar="DIR", help="drawn: videos of another world, to be refused.")
    ] = None,
    needle: Annotated[
        str | None,
        typer.Option(metavar="LENGTH", help="drawn: single events in videos of this length (10m, 1h)."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="drawn: points lost by retrieve, window, bf16, int8, int4."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Keep results here, a line a video, and continue from them."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which model answers. [drawn: tiny, else auto]")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:1. [auto]")] = (
        None
    ),
    aligner: Annotated[str | None, typer.Option(metavar="KIND", help="auto, head or text. [auto]")] = None,
    detail: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="low, default, high or max. [default]")
    ] = None,
    fps: Annotated[str | None, typer.Option(metavar="N", help="Frames watched per second. [2]")] = None,
    refine: Annotated[
        bool | None,
        typer.Option("--refine/--no-refine", help="Look again for the exact frame of boundaries."),
    ] = None,
    format: PlainFormat = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and library warnings.")] = False,
) -> int:
    """Measure a model on a suite: every figure with n, a 95 % interval and what trivial answers score."""
    if suite not in SUITES:
        raise UsageError(f"no suite is called {suite!r}", f"choose from {', '.join(SUITES)}")
    flags = {
        "model": model,
        "device": device,
        "aligner": aligner,
        "detail": detail,
        "fps": fps,
        "refine": refine,
        "format": format,
        "quiet": quiet or None,
    }
    config = settle(flags)
    shown, console = plain_format(config), Console(config.switch("quiet"))
    results = ResultsFile(suite, resume, console)
    try:
        if suite == "drawn":
            _refuse(suite, annotations=annotations, predictions=predictions)
            document = _drawn(videos, seed, outside, needle, against, results, model, config, console)
        else:
            _refuse(suite, seed=seed, outside=outside, needle=needle, against=against)
            watching = {key: flags[key] for key in ("model", "device", "aligner", "detail", "fps", "refine")}
            document = _public(suite, annotations, predictions, videos, results, config, console, watching)
    finally:
        console.close()
    return results.deliver(document, shown)


def deliver(document: Mapping[str, Any], format: str) -> int:
    """Print a suite's document; returns the exit code."""
    put(json.dumps(document) + "\n" if format == "json" else table(document))
    sys.stdout.flush()
    return EXIT_PARTIAL if document.get("left_out") else EXIT_OK


class ResultsFile:
    """Opened once a run knows its settings; gone once its figures are out, unless something is left to
    continue with or the user has named the file."""

    def __init__(self, suite: str, resume: str | None, console: Console) -> None:
        self.resume = resume
        self._suite, self._console = suite, console
        self._journal: Journal | None = None

    def open(self, settings: Mapping[str, Any]) -> Journal:
        from qvl_cli.evals.journal import Journal, default_path

        path = Path(self.resume) if self.resume else default_path(self._suite, settings)
        self._journal = journal = Journal(path, settings, keep=self.resume is not None)
        if journal.records:
            self._console.note(f"continuing after {len(journal.records):,} videos in {path}")
        return journal

    def deliver(self, document: Mapping[str, Any], format: str) -> int:
        code = deliver(document, format)
        if self._journal is not None and code == EXIT_OK:
            self._journal.discard()
        return code


def _refuse(suite: str, **flags: object) -> None:
    for flag, value in flags.items():
        if value is not None:
            raise UsageError(f"--{flag} says nothing to the suite {suite}", "leave it out")


def _public(
    suite: str,
    annotations: str | None,
    predictions: str | None,
    videos: str | None,
    results: ResultsFile,
    config: Config,
    console: Console,
    given: Mapping[str, object],
) -> dict[str, Any]:
    """given: flags that say how videos are watched."""
    if annotations is None:
        raise UsageError(f"{suite} needs --annotations FILE", "qvl has none of its own")
    if (predictions is None) == (videos is None):
        raise UsageError(
            f"{suite} needs either predictions or videos",
            "give --predictions FILE to score, or --videos DIR to watch",
        )
    from qvl_cli.evals import public

    if predictions is not None:
        _refuse(f"{suite} --predictions", resume=results.resume, **given)
        return public.score_file(suite, Path(annotations), Path(predictions), console)
    from qvl_cli.request import make_request

    request = make_request("locate", "", "", config)
    return public.run(suite, Path(annotations), Path(str(videos)), request, results.open, console)


def _drawn(
    videos: str | None,
    seed: int | None,
    outside: str | None,
    needle: str | None,
    against: str | None,
    results: ResultsFile,
    model: str | None,
    config: Config,
    console: Console,
) -> dict[str, Any]:
    try:
        count = DRAWN_VIDEOS if videos is None else int(videos)
    except ValueError:
        count = 0
    if count < 1:
        raise UsageError(f"--videos {videos} is no number of drawn videos", "give a whole number from 1 on")
    from dataclasses import replace

    from qvl_cli.evals import drawn
    from qvl_cli.request import make_request

    request = replace(make_request("locate", "", "", config), model=model or "tiny")
    if model is None and (usual := config.text("model", "tiny")) != "tiny":
        console.note(
            f"the embedded model is measured; --model {usual} measures that of {config.source('model')}"
        )
    first = FIRST_SEED if seed is None else seed
    if against is not None:
        from qvl_cli.evals import paired

        _refuse("drawn --against", outside=outside, needle=needle)
        return paired.run(first, count, request, paired.read_names(against), results.open, console)
    folder = Path(outside) if outside else None
    long = drawn.Needle(needle, _length(needle)) if needle else None
    return drawn.run(first, count, request, results.open, console, folder, long)


def _length(text: str) -> float:
    """`90s`, `10m`, `1h` -> seconds."""
    found = re.fullmatch(r"([1-9]\d{0,4})([smh])", text)
    if found is None:
        raise UsageError(f"--needle {text} is no length", "write 90s, 10m or 1h")
    return float(int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]])


def table(document: Mapping[str, Any]) -> str:
    """Figures as lines: name, value, interval, n."""
    return "".join(f"{line}\n" for line in _rows(document["results"], document["ci"], document["n"]))


def _rows(
    results: Mapping[str, Any], intervals: Mapping[str, Any], counts: Mapping[str, Any], indent: str = ""
) -> Iterator[str]:
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield indent + name
            yield from _rows(value, intervals.get(name) or {}, counts.get(name) or {}, indent + "  ")
            continue
        ends = intervals.get(name)
        spread = f"  [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
        number = "-" if value is None else f"{value:.3f}"
        yield f"{indent + name:32} {number:>9}{spread:22}  n={counts.get(name, '-')}"
