"""The loop of every suite that watches: each video once, its record kept before the next one is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qvl_cli.evals.journal import Journal
from qvl_cli.evals.troubles import Troubles
from qvl_cli.evals.watching import VIDEO_TROUBLES, Turn, Watched, each_video, trouble_text
from qvl_cli.pipeline import Listener


def record_all(
    of: Mapping[str, object],
    watch: Callable[[str], Watched],
    record: Callable[[Turn], dict[str, Any]],
    journal: Journal,
    troubles: Troubles,
    listener: Listener,
) -> dict[str, dict[str, Any]]:
    """The records of all videos that can be watched, now or before, in the order of `of`.

    of: video -> what its record is made of (see Journal). record: what a watched video leaves, its `warnings`
    among it.
    """

    def failed(name: str, why: str) -> None:
        troubles.add("unwatched video", [f"{name}: {why}"])

    def kept(name: str) -> dict[str, Any] | None:
        return journal.get(name, of[name])

    done = sum(kept(name) is not None for name in of)
    listener.progress("evaluating", done, len(of))
    for turn in each_video(of, lambda name: kept(name) is not None, watch, failed):
        try:
            found = record(turn)
        except VIDEO_TROUBLES as error:
            failed(turn.name, trouble_text(error))
            continue
        journal.add({"of": of[turn.name], **found})
        for warning in found["warnings"]:
            listener.note(f"{turn.name}: {warning}")
        done += 1
        listener.progress("evaluating", done, len(of))
    return {name: before for name in of if (before := kept(name)) is not None}
