"""`qvl summarize FILE`."""

from __future__ import annotations

from qvl_cli.cli.options import Options, VideoFile, takes_options

NAME = "summarize"


def _summarize(
    file: VideoFile,
    options: Options,
) -> int:
    """Split a video into timed sections, with a sentence for each and one for the whole."""
    from qvl_cli.cli.answering import answer

    return answer("summarize", file, "", options)


command = takes_options(_summarize, without=("refine", "show_thinking"))
