"""`qvl ask FILE QUESTION`."""

from __future__ import annotations

from typing import Annotated

import typer

from qvl_cli.cli.options import Options, takes_options

NAME = "ask"


@takes_options
def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The video. Write ./-x.mp4 for a name with a dash.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.")],
    options: Options,
) -> int:
    """Answer a question, with the time ranges that prove the answer."""
    from qvl_cli.cli.answering import answer

    return answer("ask", file, question, options)
