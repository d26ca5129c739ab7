"""What ask, locate and summarize share: settings -> pipeline -> a written Answer and an exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qvl_cli.cli.console import Console, put
from qvl_cli.cli.options import Options
from qvl_cli.errors import UsageError
from qvl_cli.render import writer_for
from qvl_cli.render.output import check_writable, write_file
from qvl_cli.render.txt import write_evidence

if TYPE_CHECKING:
    from qvl_cli.request import Request


def answer(task: str, file: str, query: str, options: Options) -> int:
    """Run one task and deliver its Answer. What can be refused at once is refused before watching."""
    config = options.config()
    name = config.text("format", "txt")
    writer = writer_for(name)

    from qvl_cli.media.subtitles.sidecar import is_sidecar
    from qvl_cli.pipeline import run
    from qvl_cli.request import make_request

    request = make_request(task, file, query, config, options.start, options.end)
    check_output(options.output, request)
    streams = task == "ask" and name == "txt" and options.output == "-" and sys.stdout.isatty()
    console = Console(config.switch("quiet"), streams, request.show_thinking)
    if options.output != "-" and request.subs == "auto" and is_sidecar(Path(options.output), Path(file)):
        console.note(f"the next run takes {options.output} for the subtitles of {file}: --subs none then")
    try:
        result = run(request, console)
    finally:
        console.close()
    code = result.exit_code(config.switch("fail_empty"))
    if streams:  # the text is on the screen already
        console.end_line()
        put(write_evidence(result))
    else:
        deliver(writer(result, code), options.output)
    return code


def check_output(output: str, request: Request) -> None:
    """Refuse an `-o` that is hopeless or one of what is read, subtitles among it. Raises UsageError."""
    from qvl_cli.media.subtitles.choice import named_file
    from qvl_cli.media.subtitles.sidecar import find_sidecars

    named = named_file(request.subs)
    check_writable(output, request.path, *([str(named)] if named else []))
    old = Path(output)
    beside = find_sidecars(Path(request.path)) if request.subs == "auto" and old.is_file() else []
    if any(old.samefile(each) for each in beside):
        raise UsageError(
            f"cannot write {output}: it holds subtitles of {request.path}",
            "--subs none if they are not to be read, or another file with -o",
        )


def deliver(text: str, output: str) -> None:
    if output == "-":
        put(text)
    else:
        write_file(output, text)
