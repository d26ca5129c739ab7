"""`qvl watch SOURCE EVENT`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from qvl_cli.cli.console import Console, check_reader, put
from qvl_cli.cli.failures import told
from qvl_cli.cli.options import Options, takes_options
from qvl_cli.config import parse_rate
from qvl_cli.errors import EXIT_INTERRUPTED, Terminated

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
    try:
        return _tell(source, event, options, when, every, stall)
    except BrokenPipeError:  # nobody is there to read how it ended
        raise
    except KeyboardInterrupt:
        _put_end("interrupted", EXIT_INTERRUPTED, "interrupted before anything was watched", "interrupt")
        raise
    except Terminated as stop:
        _put_end("terminated", stop.exit_code, str(stop), "signal")
        raise
    except Exception as error:
        line, code = told(error)
        _put_end("error", code, line, "error")
        raise


def _tell(source: str, event: str, options: Options, when: str, every: str | None, stall: str) -> int:
    config = options.config()
    from qvl_cli.live import LiveSettings, watch
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
            _put(record)
        else:
            check_reader()

    try:
        return watch(request, settings, console, emit, config.switch("fail_empty"))
    finally:
        console.close()


def _put_end(status: str, code: int, error: str, ended: str) -> None:
    """The last record, where there is nothing to say of what was watched."""
    why = {"status": status, "exit_code": code, "task": "watch", "error": error, "ended": ended}
    _put({"type": "done", **why})


def _put(record: dict[str, Any]) -> None:
    from qvl_cli.render.records import write_record

    put(write_record(record))
    sys.stdout.flush()


command = takes_options(_watch, without=_FILES_ONLY)
