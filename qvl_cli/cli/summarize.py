"""`qvl summarize FILE`."""

from __future__ import annotations

from typing import Annotated

import typer

from qvl_cli.cli.options import Options, takes_options

NAME = "summarize"


@takes_options
def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The video. Write ./-x.mp4 for a name with a dash.")],
    options: Options,
) -> int:
    """Split a video into timed sections, with a sentence for each and one for the whole."""
    from qvl_cli.cli.answering import answer

    return answer("summarize", file, "", options)
