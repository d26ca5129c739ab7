"""`qvl eval SUITE`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from qvl_cli.cli.console import Console, put
from qvl_cli.errors import UsageError

NAME = "eval"
SUITES = ("drawn",)


def command(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="drawn: freshly drawn videos.")],
    seed: Annotated[int, typer.Option(metavar="S", help="First seed; 1,000,000 and up.")] = 1_000_000,
    videos: Annotated[int, typer.Option(metavar="N", help="How many videos.", min=1)] = 100,
    model: Annotated[str, typer.Option(metavar="NAME", help="Which model answers.")] = "tiny",
    aligner: Annotated[str, typer.Option(metavar="KIND", help="auto, head or text.")] = "auto",
    format: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="txt or json.")] = "txt",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and library warnings.")] = False,
) -> int:
    """Measure a model on a suite: every figure with n, a 95 % interval and what trivial answers score."""
    if suite not in SUITES:
        raise UsageError(f"no suite is called {suite!r}", f"choose from {', '.join(SUITES)}")
    if format not in ("txt", "json"):
        raise UsageError(f"no format is called {format!r} here", "choose txt or json")
    from qvl_cli.evals import drawn

    console = Console(quiet)
    try:
        document = drawn.run(
            seed, videos, model, aligner, lambda done, total: console.progress("evaluating", done, total)
        )
    finally:
        console.close()
    put(json.dumps(document) + "\n" if format == "json" else table(document))
    return 0


def table(document: dict[str, object]) -> str:
    """Figures as lines: name, value, interval, n."""
    results, intervals, counts = document["results"], document["ci"], document["n"]
    assert isinstance(results, dict) and isinstance(intervals, dict) and isinstance(counts, dict)
    lines = []
    for name, value in results.items():
        if isinstance(value, dict):
            lines += [f"{name + '.' + key:32} {each:8.3f}" for key, each in value.items()]
            continue
        low, high = intervals.get(name, (None, None))
        spread = "" if low is None else f"  [{low:.3f}, {high:.3f}]  n={counts[name]}"
        lines.append(f"{name:32} {value:8.3f}{spread}")
    return "\n".join(lines) + "\n"
