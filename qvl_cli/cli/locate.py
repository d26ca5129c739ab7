"""`qvl locate FILE EVENT`."""

from __future__ import annotations

from typing import Annotated

import typer

from qvl_cli.cli.options import Options, VideoFile, takes_options

NAME = "locate"


def _locate(
    file: VideoFile,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="What happens: `a van stops`.")],
    options: Options,
) -> int:
    """Find every time range where something happens, best first."""
    from qvl_cli.cli.answering import answer

    return answer("locate", file, event, options)


command = takes_options(_locate, without=("show_thinking",))
