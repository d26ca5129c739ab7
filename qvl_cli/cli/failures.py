"""The table from what went wrong to the line a user reads and the exit code."""

from __future__ import annotations

import typer

from qvl_cli.errors import QvlError, ran_out_of_memory

EXIT_FAILURE = 1
EXIT_MEMORY = 5


def told(error: Exception) -> tuple[str, int]:
    """One line and the exit code: qvl's own tree carries its codes, Typer's usage errors 2, memory 5; what is
    left is a bug."""
    if isinstance(error, QvlError):
        return _one_line(error), error.exit_code
    if isinstance(error, typer.TyperException):
        command = getattr(getattr(error, "ctx", None), "command_path", None) or "qvl"
        return f"{_one_line(error.format_message())} -- see `{command} --help`", error.exit_code
    if ran_out_of_memory(error):
        return "out of memory -- lower --max-tokens or --fps, or use a smaller --model", EXIT_MEMORY
    if isinstance(error, OSError) and error.strerror:
        return _one_line(error), EXIT_FAILURE
    return (
        f"unexpected {type(error).__name__}: {_one_line(error)} -- add --debug and report this",
        EXIT_FAILURE,
    )


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
