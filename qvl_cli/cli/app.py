"""main(): the Typer app, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from qvl_cli import __version__
from qvl_cli.cli import ask, bench, cache, head, index, locate, models, probe, summarize, watch
from qvl_cli.cli import eval as eval_command
from qvl_cli.cli import version as version_command
from qvl_cli.cli.console import put, say
from qvl_cli.cli.failures import EXIT_FAILURE, told
from qvl_cli.errors import EXIT_INTERRUPTED, EXIT_OK, Terminated

# How long a thread of torch spins for its next piece of work before it sleeps. libgomp's own guess keeps the
# cores from everybody else: beside a busy process a question about a saved index took twice as long.
_SPINS = "100000"


def build_app() -> typer.Typer:
    # Typer's own help formatter without rich markup: `--help` is wanted fast more than it is wanted pretty.
    app = typer.Typer(name="qvl", add_completion=False, rich_markup_mode=None, no_args_is_help=False)
    app.callback(help="Ask a long video, get an answer and the seconds that prove it.")(_root)
    for module in (ask, locate, summarize, watch, index, probe, models, eval_command, version_command):
        app.command(module.NAME)(module.command)
    app.add_typer(cache.build())
    app.add_typer(bench.build())
    app.add_typer(head.build())
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        put(f"qvl {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Nothing of its own: the commands do the work."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Every failure is one line; a traceback only on --debug."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in flags
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)  # read when torch is loaded, which it is not yet
    _open_closed_streams()
    if not debug:
        _quieten_libraries()
    code = EXIT_FAILURE
    try:
        _speak_utf8()
        with _signals_clean_up():
            code = _run(arguments)
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        say("qvl: interrupted")
    except Terminated as stop:
        code = stop.exit_code
        say("qvl: terminated")
    except BrokenPipeError:
        # The reader has had enough, as in `| head -1`. What is buffered must not be tried again.
        code = EXIT_OK
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a line and a code, whatever happened
        line, code = told(error)
        say(f"qvl: {line}")
        if debug:
            traceback.print_exception(error)
    return code


def _speak_utf8() -> None:
    """Results are UTF-8 whatever the locale; a terminal gets what it can show, with `?` for the rest."""
    with suppress(AttributeError, ValueError):  # stdout may be no text stream of its own, or closed
        shown = sys.stdout.isatty()
        sys.stdout.reconfigure(encoding=None if shown else "utf-8", errors="replace")  # type: ignore[union-attr]


@contextmanager
def _signals_clean_up() -> Iterator[None]:
    """SIGTERM and SIGHUP end the process as Ctrl-C does: copies are removed, programs ended. A signal that
    whoever started qvl has set to be ignored stays so."""

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up is not to be cut short
        raise Terminated(number)

    ours = []
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, end)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _run(arguments: Sequence[str]) -> int:
    try:
        result = build_app()(arguments, prog_name="qvl", standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # Typer's way with a reader that is gone
            raise stop.__context__ from None
        raise
    if result == EXIT_INTERRUPTED:  # Typer's way with Ctrl-C
        raise KeyboardInterrupt
    if isinstance(result, int) and result > 128:  # a command that ended in order when a signal asked it to
        raise Terminated(result - 128)
    return result if isinstance(result, int) else EXIT_OK


def _open_closed_streams() -> None:
    """`qvl ... >&-` leaves descriptor 1 to the next file opened: fill the gaps with the null device."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _quieten_libraries() -> None:
    """Stderr is qvl's own: what libraries would say there is for --debug."""
    import warnings

    warnings.simplefilter("ignore")
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_VERBOSITY", "error"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)
