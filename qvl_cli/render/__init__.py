"""An Answer as text: one writer per format, in one table.

txt     for people          json    the whole Answer, one document
srt     timed cues          jsonl   one record a line; the last is `done` with status and exit code
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qvl_cli.answer import Answer
from qvl_cli.errors import UsageError
from qvl_cli.render.records import write_json, write_jsonl
from qvl_cli.render.srt import write_srt
from qvl_cli.render.txt import write_txt

Writer = Callable[[Answer, int], str]

WRITERS: Mapping[str, Writer] = {"txt": write_txt, "json": write_json, "jsonl": write_jsonl, "srt": write_srt}


def writer_for(name: str) -> Writer:
    """The writer of a format: (answer, exit code) -> the whole output. Raises UsageError."""
    try:
        return WRITERS[name]
    except KeyError:
        raise UsageError(f"unknown format {name!r}", f"choose from {', '.join(WRITERS)}") from None
