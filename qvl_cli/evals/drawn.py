"""The `drawn` suite: fresh videos of the drawn world, encoded, then read and asked as any user's file."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvl_cli import pipeline
from qvl_cli.errors import MediaError, OutsideWorld, OverBudget
from qvl_cli.evals import retrieval
from qvl_cli.evals.annotations import Query
from qvl_cli.evals.cases import FAMILIES, Case, write_case, write_needles
from qvl_cli.evals.document import document
from qvl_cli.evals.figures import Figure, Figures, document_parts, means
from qvl_cli.evals.interval import Floats, statistic_interval
from qvl_cli.evals.journal import Journal
from qvl_cli.evals.predictions import Prediction
from qvl_cli.evals.texts import f1, is_right, named, things_named
from qvl_cli.evals.troubles import Troubles
from qvl_cli.evals.watching import Silent, Turn, Watched, Watcher, each_video, find_videos
from qvl_cli.request import Request
from qvl_cli.tiny.film import film
from qvl_cli.tiny.questions import NUMBERS, section_query
from qvl_cli.tiny.world import COLOUR_NAMES, SHAPES

if TYPE_CHECKING:
    from qvl_cli.align.refine import Refiner
    from qvl_cli.stream import StreamSession
    from qvl_cli.tasks import Findings

LOCATE_KINDS = ("locates", "absent", "many")
_ANSWER_TOKENS = 48
# A guess among equally likely answers; what is counted has no such list (see `most_frequent`).
_CHANCE = {
    "what": 1 / len(SHAPES),
    "colour": 1 / len(COLOUR_NAMES),
    "which": 1 / (len(SHAPES) * len(COLOUR_NAMES)),
}


@dataclass(frozen=True, slots=True)
class Needle:
    """Length of the long videos, as asked for (`10m`) and in seconds."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A drawn video with what the model said of it, and of the video before it (blind)."""

    case: Case
    record: Mapping[str, Any]
    before: Mapping[str, Any] | None


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
    strange = sorted(set(find_videos(outside).values())) if outside else []
    troubles = Troubles(listener)
    watcher = Watcher(request, listener)
    told = watcher.settings()
    journal = open_journal({"suite": "drawn", "seed": seed, "needle": needle and needle.name, **told})
    finished = False
    try:
        _watch_all(cases, watcher, journal, troubles, listener)
        refused = _watch_outside(strange, watcher, troubles, listener)
        befores = [None, *map(journal.records.get, cases)]
        asked = [
            Asked(case, journal.records[name], before)
            for (name, case), before in zip(cases.items(), befores, strict=False)
            if name in journal.records
        ]
        figures = needle_figures(asked, needle) if needle else score(asked, watcher.aligner.name)
        finished = True
    finally:
        journal.close(finished)
    if refused:
        figures |= means({"refusal": np.array(list(refused.values()), float)}, list(refused))
    results, counts, intervals = document_parts(figures)
    more = {**told, "seed": seed, "left_out": troubles.left_out()}
    return document("drawn", results, {"videos": len(asked), **counts}, intervals, **more)


def needle_figures(asked: Sequence[Asked], needle: Needle) -> Figures:
    """`needle_10m_r1@0.5` and what it stands beside."""
    pairs, blind = (_pairs(asked, ("locates",), key) for key in ("located", "blind_located"))
    figures = _span_figures(pairs, blind, ("r1@0.5",), f"needle_{needle.name}_")
    return figures | retrieval.denial_figures(pairs) | _watch_figures(asked)


def _watch_all(
    cases: Mapping[str, Case],
    watcher: Watcher,
    journal: Journal,
    troubles: Troubles,
    listener: pipeline.Listener,
) -> None:
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

    def failed(name: str, why: str) -> None:
        troubles.add("unwatched video", [f"{name}: {why}"])

    listener.progress("evaluating", len(journal.records.keys() & cases.keys()), len(cases))
    with films:
        for turn in each_video(cases, journal.records.__contains__, watch, failed):
            journal.add(_record(turn, cases[turn.name], watcher, accepted[turn.name]))
            film_of(turn.name).unlink()
            listener.progress("evaluating", len(journal.records.keys() & cases.keys()), len(cases))


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
        except (MediaError, OverBudget) as error:
            troubles.add("unwatched video", [f"{path}: {error}"])
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
        answered = answer_all(session, case, watcher, refiner)
    return {
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
        found = coarse = locate(session, watcher.aligner, query.text)
        more: dict[str, Any] = {}
        if refiner is not None:
            began = time.monotonic()
            found = locate(session, watcher.aligner, query.text, replace(refiner))
            more = {"coarse": _windows(coarse), "refine_s": time.monotonic() - began}
        said.append(_said(query, found) | more)
    return said


def answer_all(
    session: StreamSession, case: Case, watcher: Watcher, refiner: Refiner | None = None
) -> list[dict[str, Any]]:
    """What is said to each question."""
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
        for query in case.queries("asks")
    ]


def _said(query: Query, found: Findings) -> dict[str, Any]:
    return {"qid": query.qid, "text": found.text, "windows": _windows(found)}


def _windows(found: Findings) -> list[list[float]]:
    return [[moment.start, moment.end, moment.score] for moment in found.moments]


def score(asked: Sequence[Asked], aligner: str) -> Figures:
    """All figures of the suite, each with its n, interval and trivial companions."""
    figures = _locate_figures(asked, aligner) | _answer_figures(asked) | _section_figures(asked)
    return figures | _watch_figures(asked)


def _watch_figures(asked: Sequence[Asked]) -> Figures:
    """How many videos the gate let in, and how fast they were read and watched."""
    accepted = np.array([each.record["accepted"] for each in asked], float)
    figures = means({"acceptance": accepted}, [each.case.script.seed for each in asked])
    played = sum(float(each.record["duration"]) for each in asked)
    watched = sum(float(each.record["watch_s"]) for each in asked)
    figures["realtime_factor"] = Figure(round(played / watched, 1) if watched else None, len(asked))
    return figures


def _pairs(
    asked: Iterable[Asked], kinds: Sequence[str], key: str, windows: str = "windows"
) -> list[retrieval.Pair]:
    return retrieval.pair_up(
        [query for each in asked for kind in kinds for query in each.case.queries(kind)],
        [
            Prediction(said["qid"], np.array(said[windows], float).reshape(-1, 3), text=said["text"])
            for each in asked
            for said in each.record[key]
            if windows in said
        ],
    )[0]


def _locate_figures(asked: Sequence[Asked], aligner: str) -> Figures:
    figures = _span_figures(
        _pairs(asked, ("locates",), "located"),
        _pairs(asked, ("locates",), "blind_located"),
        ("r1@0.3", "r1@0.5", "r1@0.7", "miou"),
    )
    if aligner == "text":
        figures["text_r1@0.5"] = figures["r1@0.5"]
    several, blind = (
        [pair for pair in _pairs(asked, LOCATE_KINDS, key) if len(pair[0].windows) > 1]
        for key in ("located", "blind_located")
    )
    figures |= _span_figures(several, blind, ("map@0.5", "map@0.75", "map"))
    figures |= retrieval.denial_figures(_pairs(asked, ("locates", "absent"), "located"))
    figures |= retrieval.boundary_figures(_pairs(asked, ("locates",), "located"))
    figures |= _refining_figures(asked)
    return figures | retrieval.score_figures(_pairs(asked, LOCATE_KINDS, "located"))


def _refining_figures(asked: Sequence[Asked]) -> Figures:
    """What boundaries were off by at step resolution, and the seconds a located event took to be refined."""
    coarse = _pairs(asked, ("locates",), "located", "coarse")
    if not coarse:  # the user did not want it
        return {}
    figures = retrieval.boundary_figures(coarse, "boundary_error_coarse_s")
    spent = [
        (said["refine_s"], each.case.script.seed)
        for each in asked
        for said in each.record["located"]
        if said["windows"] and "refine_s" in said
    ]
    if spent:
        figures |= means({"refine_s": np.array([seconds for seconds, _ in spent])}, [of for _, of in spent])
    return figures


def _span_figures(
    pairs: Sequence[retrieval.Pair], blind: Sequence[retrieval.Pair], names: Sequence[str], prefix: str = ""
) -> Figures:
    """The figures of these names as QVHighlights has them, with what random, whole-video and blind spans
    score."""
    suite = retrieval.SUITES["qvhighlights"]
    found: Figures = {}
    for trivial, some in (("", pairs), ("blind_", blind)):
        columns = suite.columns(some)
        found |= means({f"{trivial}{name}": columns.values[name] for name in names}, columns.owners)
    known = retrieval.trivial_figures(suite, [query for query, _ in pairs])
    found |= {key: figure for key, figure in known.items() if key.partition("_")[2] in names}
    return {_prefixed(key, prefix): figure for key, figure in found.items()}


def _prefixed(key: str, prefix: str) -> str:
    """`blind_r1@0.5` -> `blind_evidence_r1@0.5`."""
    trivial, mark, name = key.rpartition("_")
    return f"{trivial}{mark}{prefix}{name}"


def _answer_figures(asked: Sequence[Asked]) -> Figures:
    questions = {
        query.qid: question
        for each in asked
        for query, question in zip(each.case.queries("asks"), each.case.asks, strict=True)
    }

    def rights(pairs: Sequence[retrieval.Pair]) -> Floats:
        return np.array(
            [is_right(questions[q.qid].family, said.text, questions[q.qid].answer) for q, said in pairs],
            float,
        )

    pairs, blind = (_pairs(asked, ("asks",), key) for key in ("asked", "blind_asked"))
    right, families = rights(pairs), [questions[query.qid].family for query, _ in pairs]
    counted = [questions[q.qid].answer for q, _ in pairs if questions[q.qid].family == "count"]
    chance = {**_CHANCE, "count": most_frequent([frozenset(named(said, NUMBERS)) for said in counted])}
    columns = {
        "answer_accuracy": right,
        **{
            f"answer_by_family/{family}": np.where([f == family for f in families], right, np.nan)
            for family in FAMILIES
        },
        "random_answer_accuracy": np.array([chance[family] for family in families]),
    }
    figures = means(columns, [query.video for query, _ in pairs])
    proved = [pair for pair in pairs if len(pair[0].windows)]
    blindly = [pair for pair in blind if len(pair[0].windows)]
    figures |= _span_figures(proved, blindly, ("r1@0.5",), "evidence_")
    if blind:
        owners, blind_right = [query.video for query, _ in blind], rights(blind)
        guessed = np.array([chance[questions[query.qid].family] for query, _ in blind])
        figures |= means({"blind_answer_accuracy": blind_right}, owners)
        figures["blind_over_chance"] = Figure(
            float(blind_right.mean() / guessed.mean()),
            len(blind),
            statistic_interval(lambda rows: float(blind_right[rows].mean() / guessed[rows].mean()), owners),
        )
    return figures


def most_frequent(answers: Sequence[Hashable]) -> float:
    """The share of the most frequent answer: what saying always the same scores at best; 0 for none."""
    return max(Counter(answers).values(), default=0) / max(len(answers), 1)


def _section_figures(asked: Sequence[Asked]) -> Figures:
    """F1 of the (colour, shape) pairs each section names against those its part of the script has; blind:
    the sections of the video before it."""
    columns: dict[str, list[float]] = {"section_f1": [], "blind_section_f1": []}
    owners: dict[str, list[int]] = {name: [] for name in columns}
    for each in asked:
        for name, record in (("section_f1", each.record), ("blind_section_f1", each.before)):
            for start, end, text in record["sections"] if record else ():
                last = min(end, each.case.script.duration)
                if start < last:
                    true = things_named(section_query(each.case.script, start, last).answer)
                    columns[name].append(f1(things_named(text), true))
                    owners[name].append(each.case.script.seed)
    figures: Figures = {}
    for name, values in columns.items():
        figures |= means({name: np.array(values)}, owners[name])
    return figures
