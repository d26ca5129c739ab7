"""`qvl watch SOURCE EVENT`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qvl_cli.cli.console import Console, check_reader, put
from qvl_cli.cli.options import Options, takes_options
from qvl_cli.config import parse_rate
from qvl_cli.errors import EXIT_INTERRUPTED, QvlError, Terminated

NAME = "watch"
# Of a stream there is one pass, one policy and one format.
_FILES_ONLY = (
    *("sampling", "max_gap", "start", "backend", "subs", "memory", "kv", "no_index", "cache_cap", "chunk"),
    *("format", "max_spool", "output", "show_thinking", "drop_static", "refine"),
)


def _watch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A stream's URL, - for stdin, or a file, also one that still grows."
        ),
    ],
    event: Annotated[str, typer.Argument(metavar="EVENT", help="What happens: `a van stops`.")],
    options: Options,
    when: Annotated[
        str, typer.Option(metavar="WHEN", help="Report an event at its end, its start, or both.")
    ] = "end",
    every: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="Look this often. [2 with an alignment head, else 10]"),
    ] = None,
    stall: Annotated[
        str,
        typer.Option(metavar="SECONDS", help="Give up a silent stream, end a file that grows no more."),
    ] = "30",
) -> int:
    """Watch a live stream and print every event as it is found, as JSON lines."""
    config = options.config()
    from qvl_cli.live import LiveSettings, watch
    from qvl_cli.render.records import write_record
    from qvl_cli.request import make_request

    settings = LiveSettings(
        when,
        None if every is None else parse_rate("--every", every),
        float(parse_rate("--stall", stall)),
    )
    request = make_request("watch", source, event, config, None, options.end)
    console = Console(config.switch("quiet"))

    def emit(record: dict[str, object]) -> None:
        if record:
            console.clear()
            put(write_record(record))
            sys.stdout.flush()
        else:
            check_reader()

    def failed(status: str, code: int, error: str) -> None:
        emit({"type": "done", "status": status, "exit_code": code, "task": "watch", "error": error})

    try:
        return watch(request, settings, console, emit, config.switch("fail_empty"))
    except QvlError as error:
        failed("error", error.exit_code, str(error))
        raise
    except KeyboardInterrupt:
        failed("interrupted", EXIT_INTERRUPTED, "interrupted before anything was watched")
        raise
    except Terminated as stop:
        failed("terminated", stop.exit_code, str(stop))
        raise
    finally:
        console.close()


command = takes_options(_watch, without=_FILES_ONLY)
