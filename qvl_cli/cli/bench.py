"""`qvl bench NAME`: one command per row of the table, with the row's own flags."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Annotated, Any

import typer

from qvl_cli.bench.row import ROUNDS, Bench
from qvl_cli.bench.table import BENCHES
from qvl_cli.cli.console import Console, check_reader, put, say
from qvl_cli.cli.settings import settle
from qvl_cli.errors import EXIT_OK

NAME = "bench"

Repeats = Annotated[int, typer.Option(metavar="N", help="Runs of every variant.", min=1)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and library warnings.")]


def build() -> typer.Typer:
    """The group of all benchmarks."""
    group = typer.Typer(name=NAME, add_completion=False, rich_markup_mode=None, no_args_is_help=False)
    group.callback(invoke_without_command=True, help="Measure speed and memory, side by side.")(_list)
    for bench in BENCHES.values():
        group.command(bench.name)(_command(bench))
    return group


def _list(context: typer.Context) -> None:
    """Without a name: the benchmarks there are."""
    if context.invoked_subcommand is None:
        put("".join(f"{bench.name:<12} {bench.measures}\n" for bench in BENCHES.values()))


def _command(bench: Bench) -> Callable[..., int]:
    """The row as Typer sees it: its own flags, then those all benchmarks share."""

    def run(repeats: int, quiet: bool, debug: bool, **own: str) -> int:
        return _measure(
            bench, {flag.name: own[_parameter(flag.name)] for flag in bench.flags}, repeats, quiet
        )

    shared: list[tuple[str, Any, Any]] = [
        ("repeats", Repeats, bench.repeats), ("quiet", Quiet, False), ("debug", Debug, False),
    ]  # fmt: skip
    flags = [
        (
            _parameter(flag.name),
            Annotated[str, typer.Option(f"--{flag.name}", metavar="TEXT", help=flag.help)],
            flag.default,
        )
        for flag in bench.flags
    ]
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, kind, default in (*flags, *shared)
        ],
        return_annotation=int,
    )
    run.__annotations__ = {name: kind for name, kind, _ in (*flags, *shared)}
    run.__doc__ = f"{bench.measures[:1].upper()}{bench.measures[1:]}.{_why_few(bench.repeats)}"
    return run


def _why_few(repeats: int) -> str:
    if repeats >= ROUNDS:
        return ""
    told = "one has no range" if repeats == 1 else "a range of few says little"
    return f" A round of the default size takes minutes, so the default is {repeats}: {told}."


def _parameter(flag: str) -> str:
    return flag.replace("-", "_")


def _measure(bench: Bench, settings: Mapping[str, str], repeats: int, quiet: bool) -> int:
    """What ends the benchmark before its last round ends the command, behind the figures of whole rounds."""
    from qvl_cli.bench import harness

    console = Console(settle({"quiet": quiet or None}).switch("quiet"))
    document: dict[str, Any] = {}

    def progress(name: str, done: int, total: int) -> None:
        console.progress(f"running {name}", done, total)

    try:
        with closing(harness.run(bench, settings, repeats, progress)) as documents:
            for so_far in documents:
                document = so_far
    except BaseException:
        console.close()
        if document:
            say(f"qvl: stopped early: the figures stand on {document['n']['rounds']} of {repeats} rounds")
            with suppress(BrokenPipeError):  # Ctrl-C ends the reader too, and is what there is to tell
                check_reader()
                _deliver(bench, document, console)
        raise
    console.close()
    _deliver(bench, document, console)
    return EXIT_OK


def _deliver(bench: Bench, document: Mapping[str, Any], console: Console) -> None:
    console.table(f"{bench.name}: {bench.measures}", ("figure", "median", "least", "most"), _rows(document))
    console.note(f"peak_mb is {document['memory']}")
    put(json.dumps(document) + "\n")


def _rows(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in document["results"].items():
        ranges = document["ci"][key]
        if isinstance(value, Mapping):
            yield from ((f"{key} {name}", *_numbers(one, ranges[name])) for name, one in value.items())
        else:
            yield (key, *_numbers(value, ranges))


def _numbers(value: float, ends: Sequence[float] | None) -> tuple[str, ...]:
    return (f"{value:g}", *(f"{end:g}" for end in ends)) if ends else (f"{value:g}", "-", "-")
