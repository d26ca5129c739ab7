"""`qvl ask FILE QUESTION`."""

from __future__ import annotations

from typing import Annotated

import typer

from qvl_cli.cli.options import Options, VideoFile, takes_options

NAME = "ask"


@takes_options
def command(
    file: VideoFile,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.")],
    options: Options,
) -> int:
    """Answer a question, with the time ranges that prove the answer."""
    from qvl_cli.cli.answering import answer

    return answer("ask", file, question, options)
