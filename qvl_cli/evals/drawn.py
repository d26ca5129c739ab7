"""The `drawn` suite: fresh videos of the drawn world, encoded, then read and asked as any user's file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvl_cli import pipeline
from qvl_cli.errors import OutsideWorld
from qvl_cli.evals.annotations import Query
from qvl_cli.evals.cases import ASK_KINDS, LOCATE_KINDS, Case, write_case, write_needles
from qvl_cli.evals.document import document
from qvl_cli.evals.drawn_figures import Asked, needle_figures, score
from qvl_cli.evals.figures import document_parts, means
from qvl_cli.evals.journal import Journal
from qvl_cli.evals.recording import record_all
from qvl_cli.evals.troubles import Troubles
from qvl_cli.evals.videos import list_videos
from qvl_cli.evals.watching import (
    VIDEO_TROUBLES,
    Silent,
    Turn,
    Watched,
    Watcher,
    trouble_text,
)
from qvl_cli.request import Request
from qvl_cli.tiny.film import film

if TYPE_CHECKING:
    from qvl_cli.align.refine import Refiner
    from qvl_cli.stream import StreamSession
    from qvl_cli.tasks import Findings

_ANSWER_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Needle:
    """Length of the long videos, as asked for (`10m`) and in seconds."""

    name: str
    seconds: float


def run(
    seed: int,
    videos: int,
    request: Request,
    open_journal: Callable[[Mapping[str, Any]], Journal],
    listener: pipeline.Listener,
    outside: Path | None = None,
    needle: Needle | None = None,
) -> dict[str, Any]:
    """Score `videos` drawn videos from `seed` on; returns the JSON document of the suite.

    Every video is encoded to H.264, opened, planned, watched once and asked on forks: the code behind the
    commands. outside: a folder of videos that are not of the drawn world, each to be refused. needle: long
    videos instead, and only events that happen once in them.
    """
    seeds = range(seed, seed + videos)
    cases = {str(s): write_needles(s, needle.seconds) if needle else write_case(s) for s in seeds}
    strange = list_videos(outside) if outside else []
    troubles = Troubles(listener)
    watcher = Watcher(request, listener)
    told = watcher.settings()
    journal = open_journal({"suite": "drawn", "seed": seed, "needle": needle and needle.name, **told})
    try:
        records = _watch_all(cases, watcher, journal, troubles, listener)
        refused = _watch_outside(strange, watcher, troubles, listener)
        befores = [None, *map(records.get, cases)]
        asked = [
            Asked(case, records[name], before)
            for (name, case), before in zip(cases.items(), befores, strict=False)
            if name in records
        ]
        figures = needle_figures(asked, needle.name) if needle else score(asked, watcher.aligner.name)
    finally:
        journal.close()
    if refused:
        figures |= means({"refusal": np.array(list(refused.values()), float)}, list(refused))
    results, counts, intervals = document_parts(figures)
    warned = [f"{name}: {warning}" for name in records for warning in records[name]["warnings"]]
    more = {**told, "seed": seed, "left_out": troubles.left_out(), "warnings": warned}
    return document("drawn", results, {"videos": len(asked), **counts}, intervals, **more)


def _watch_all(
    cases: Mapping[str, Case],
    watcher: Watcher,
    journal: Journal,
    troubles: Troubles,
    listener: pipeline.Listener,
) -> dict[str, dict[str, Any]]:
    """The records of all videos that could be watched, now or before."""
    accepted: dict[str, bool] = {}
    films = tempfile.TemporaryDirectory(prefix="qvl-drawn-")

    def film_of(name: str) -> Path:
        return Path(films.name, f"{name}.mp4")

    def watch(name: str) -> Watched:
        case, path = cases[name], film_of(name)
        film(case.script, path, rate=case.rate, crf=case.crf)
        try:
            watched = watcher.watch(path, gated=True)
            accepted[name] = True
        except OutsideWorld:
            watched = watcher.watch(path, gated=False)
            accepted[name] = False
        return watched

    def record(turn: Turn) -> dict[str, Any]:
        try:
            return _record(turn, cases[turn.name], watcher, accepted[turn.name])
        finally:
            film_of(turn.name).unlink()

    of = {name: case.digest for name, case in cases.items()}
    with films:
        return record_all(of, watch, record, journal, troubles, listener)


def _watch_outside(
    files: Sequence[Path], watcher: Watcher, troubles: Troubles, listener: pipeline.Listener
) -> dict[str, bool]:
    """File -> whether the embedded model's gate refused it."""
    refused = {}
    for number, path in enumerate(files):
        listener.progress("refusing", number, len(files))
        try:
            watcher.watch(path, gated=True)
            refused[str(path)] = False
        except OutsideWorld:
            refused[str(path)] = True
        except VIDEO_TROUBLES as error:
            troubles.add("unwatched video", [f"{path}: {trouble_text(error)}"])
    return refused


def _record(turn: Turn, case: Case, watcher: Watcher, accepted: bool) -> dict[str, Any]:
    """What a finished video leaves in the results file: what was said, to be scored at the end."""
    from qvl_cli.generate import DecodeSettings
    from qvl_cli.tasks.summarize import summarize

    settings = DecodeSettings(max_new_tokens=_ANSWER_TOKENS)
    session = turn.watched.session
    sections = summarize(session, settings, lambda done, total: None).sections if case.asks else ()
    # Blind answers have no boundaries to be exact about.
    with watcher.refiner(turn.watched, "locate") as refiner:
        located = locate_all(session, case, watcher, refiner=refiner)
    with watcher.refiner(turn.watched, "ask") as refiner:
        answered = answer_all(session, case, watcher, refiner=refiner)
    warned = [warning for said in (*located, *answered) for warning in said.pop("warnings")]
    return {
        "warnings": list(dict.fromkeys([*turn.watched.warnings, *warned])),
        "video": turn.name,
        "duration": turn.watched.duration,
        "watch_s": turn.watched.seconds,
        "accepted": accepted,
        "located": located,
        "asked": answered,
        "sections": [[part.start, part.end, part.text] for part in sections],
        "blind_located": locate_all(turn.other, case, watcher) if turn.other else [],
        "blind_asked": answer_all(turn.other, case, watcher) if turn.other else [],
    }


def locate_all(
    session: StreamSession,
    case: Case,
    watcher: Watcher,
    kinds: Sequence[str] = LOCATE_KINDS,
    refiner: Refiner | None = None,
) -> list[dict[str, Any]]:
    """What is said of each event of these kinds, in their order; with a refiner also what was said before it
    looked again."""
    from qvl_cli.tasks.locate import locate

    said = []
    for query in (query for kind in kinds for query in case.queries(kind)):
        began = time.monotonic()
        found = coarse = locate(session, watcher.aligner, query.text)
        more: dict[str, Any] = {}
        if refiner is not None:
            between = time.monotonic()
            found = locate(session, watcher.aligner, query.text, replace(refiner))
            refining = (time.monotonic() - between) - (between - began)  # beyond what finding it takes
            more = {"coarse": _windows(coarse), "refine_s": max(refining, 0.0)}
        said.append(_said(query, found) | more)
    return said


def answer_all(
    session: StreamSession,
    case: Case,
    watcher: Watcher,
    kinds: Sequence[str] = ASK_KINDS,
    refiner: Refiner | None = None,
) -> list[dict[str, Any]]:
    """What is said to each question of these kinds."""
    from qvl_cli.generate import DecodeSettings
    from qvl_cli.tasks.ask import ask

    settings, silent = DecodeSettings(max_new_tokens=_ANSWER_TOKENS), Silent()
    return [
        _said(
            query,
            ask(
                session,
                watcher.aligner,
                query.text,
                settings,
                silent.text,
                replace(refiner) if refiner else None,
            ),
        )
        for kind in kinds
        for query in case.queries(kind)
    ]


def _said(query: Query, found: Findings) -> dict[str, Any]:
    windows, warnings = _windows(found), list(found.warnings)
    return {"qid": query.qid, "text": found.text, "windows": windows, "warnings": warnings}


def _windows(found: Findings) -> list[list[float]]:
    return [[moment.start, moment.end, moment.score] for moment in found.moments]
