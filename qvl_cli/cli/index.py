"""`qvl index FILE`."""

from __future__ import annotations

import json
from dataclasses import replace

from qvl_cli.cli.console import Console, put
from qvl_cli.cli.options import Options, PlainFormat, VideoFile, takes_options
from qvl_cli.cli.settings import plain_format

NAME = "index"
_ANSWERING = ("aligner", "no_index", "format", "output", "fail_empty", "show_thinking", "refine")


def _index(
    file: VideoFile,
    options: Options,
    format: PlainFormat = None,
) -> int:
    """Watch a video and save it: later questions about it take seconds."""
    config = replace(options, format=format).config()
    shown = plain_format(config)
    from qvl_cli.indexing import index
    from qvl_cli.request import make_request

    console = Console(config.switch("quiet"))
    request = make_request("index", file, "", config, options.start, options.end)
    try:
        report = index(replace(request, aligner="auto", timed=False), console)
    finally:
        console.close()
    if shown == "json":
        put(json.dumps(report.to_dict(), ensure_ascii=False) + "\n")
    else:
        done = "was there already" if report.state == "used" else f"in {report.watch_s:.1f} s"
        put(f"{report.name[:12]}  {report.steps} steps, {report.bytes / 2**20:,.1f} MiB, {done}\n")
    return report.exit_code


command = takes_options(_index, without=_ANSWERING)
