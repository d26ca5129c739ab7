"""`qvl probe FILE`."""

from __future__ import annotations

from typing import Annotated

import typer

from qvl_cli.cli.options import MaxSpool, OutputPath, PlainFormat, VideoFile
from qvl_cli.cli.settings import plain_format, settle
from qvl_cli.errors import EXIT_OK

NAME = "probe"


def command(
    file: VideoFile,
    format: PlainFormat = None,
    max_spool: MaxSpool = None,
    output: OutputPath = "-",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and library warnings.")] = False,
) -> int:
    """Print what a file holds: duration, size, rate, codec, keyframes."""
    import json

    from qvl_cli.cli.answering import deliver
    from qvl_cli.media import MAX_SPOOL, InputSettings, info_dict, open_video
    from qvl_cli.media.container import shown
    from qvl_cli.render.output import check_writable

    config = settle({"max_spool": max_spool, "format": format})
    shown_as = plain_format(config)
    check_writable(output, file)
    with open_video(file, settings=InputSettings(config.count("max_spool") or MAX_SPOOL)) as video:
        document = info_dict(video.info) | {"path": file}
    if shown_as == "json":
        deliver(json.dumps(document, ensure_ascii=False) + "\n", output)
    else:
        document["path"] = shown(file)
        deliver("".join(f"{key:<20} {_plain(value)}\n" for key, value in document.items()), output)
    return EXIT_OK


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        shown = ", ".join(_plain(item) for item in value[:8])
        return f"{shown}, ... ({len(value)} in all)" if len(value) > 8 else shown or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
