"""The public suites on the user's own files: score given predictions, or run the pipeline and score that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvl_cli import pipeline
from qvl_cli.errors import MediaError, UsageError
from qvl_cli.evals import choices, retrieval
from qvl_cli.evals.annotations import Annotations, Query, read_annotations
from qvl_cli.evals.document import document
from qvl_cli.evals.figures import Figure, Figures, document_parts, means
from qvl_cli.evals.journal import Journal
from qvl_cli.evals.predictions import Prediction, read_predictions
from qvl_cli.evals.qvhighlights import clip_saliency
from qvl_cli.evals.recording import record_all
from qvl_cli.evals.troubles import Troubles
from qvl_cli.evals.videos import NamedVideo, name_videos
from qvl_cli.evals.watching import Turn, Watched, Watcher
from qvl_cli.prompts import choice_prompt
from qvl_cli.request import Request

if TYPE_CHECKING:
    from qvl_cli.align.refine import Refiner
    from qvl_cli.stream import StreamSession

CHOICE_SUITE = "video-mme"

OpenJournal = Callable[[Mapping[str, Any]], Journal]


def score_file(
    suite: str, annotations: Path, predictions: Path, listener: pipeline.Listener
) -> dict[str, Any]:
    """The suite's document for predictions from anywhere; no model runs. Raises UsageError."""
    troubles = Troubles(listener)
    known = _annotations(suite, annotations, troubles)
    said = read_predictions(suite, predictions, known.queries)
    troubles.add("unreadable prediction", said.unreadable)
    figures = _figures(suite, known.queries, said.lines, (), troubles)
    return _document(suite, figures, known.queries, troubles, predictions=str(predictions))


def run(
    suite: str,
    annotations: Path,
    videos: Path,
    request: Request,
    open_journal: OpenJournal,
    listener: pipeline.Listener,
    head: Path | None = None,
) -> dict[str, Any]:
    """Watch every annotated video once, put its queries on forks, score. head: an alignment head instead of
    the checkpoint's own. Raises UsageError, ModelMissing.
    """
    troubles = Troubles(listener)
    known = _annotations(suite, annotations, troubles)
    files = name_videos(dict.fromkeys(query.video for query in known.queries), videos, troubles)
    watcher = Watcher(request, listener, head)
    for note in watcher.notes:
        listener.note(note)
    told = watcher.settings()
    settings = {"suite": suite, "annotations": sha256(annotations.read_bytes()).hexdigest(), **told}
    journal = open_journal(settings)
    try:
        records = _watch_all(suite, known.queries, files, watcher, journal, troubles, listener)
        figures = _run_figures(suite, known.queries, records, troubles)
    finally:
        journal.close()
    warned = [f"{record['video']}: {warning}" for record in records for warning in record["warnings"]]
    return _document(suite, figures, known.queries, troubles, **told, warnings=warned)


def _run_figures(
    suite: str, queries: Sequence[Query], records: Sequence[Mapping[str, Any]], troubles: Troubles
) -> Figures:
    if not records:
        raise MediaError("none of the annotated videos could be watched", "see the notes above")
    durations = {str(record["video"]): float(record["duration"]) for record in records}
    figures = _figures(
        suite,
        retrieval.with_durations(queries, durations),
        [_line(suite, said) for record in records for said in record["said"]],
        [_line(suite, said) for record in records for said in record["blind"]],
        troubles,
    )
    watched = sum(float(record["watch_s"]) for record in records)
    figures["realtime_factor"] = Figure(round(sum(durations.values()) / watched, 1), len(records))
    return figures


def _annotations(suite: str, path: Path, troubles: Troubles) -> Annotations:
    known = read_annotations(suite, path)
    troubles.add("unreadable annotation", known.unreadable)
    return known


def _watch_all(
    suite: str,
    queries: Sequence[Query],
    files: Mapping[str, NamedVideo],
    watcher: Watcher,
    journal: Journal,
    troubles: Troubles,
    listener: pipeline.Listener,
) -> list[dict[str, Any]]:
    """The records of all videos that could be watched, now or before."""
    asked: dict[str, list[Query]] = {}
    for query in queries:
        asked.setdefault(query.video, []).append(query)

    def watch(name: str) -> Watched:
        return watcher.watch(files[name].path)

    def record(turn: Turn) -> dict[str, Any]:
        return _record(suite, turn, asked[turn.name], watcher)

    of = {name: video.identity for name, video in files.items()}
    return list(record_all(of, watch, record, journal, troubles, listener).values())


def _record(suite: str, turn: Turn, queries: Sequence[Query], watcher: Watcher) -> dict[str, Any]:
    """What a finished video leaves in the journal."""
    warnings = list(turn.watched.warnings)
    with watcher.refiner(turn.watched, "locate") as refiner:
        said = [_ask(suite, query, turn.watched.session, watcher, warnings, refiner) for query in queries]
    blind = [_ask(suite, query, turn.other, watcher, []) for query in queries] if turn.other else []
    if suite == "qvhighlights":
        for each, query in zip(said, queries, strict=True):
            length = query.duration or turn.watched.duration
            each["saliency"] = clip_saliency(np.array(each["windows"]).reshape(-1, 3), length).tolist()
    return {
        "video": turn.name,
        "duration": turn.watched.duration,
        "watch_s": turn.watched.seconds,
        "said": said,
        "blind": blind,
        "warnings": list(dict.fromkeys(warnings)),
    }


def _ask(
    suite: str,
    query: Query,
    session: StreamSession,
    watcher: Watcher,
    warnings: list[str],
    refiner: Refiner | None = None,
) -> dict[str, Any]:
    if suite == CHOICE_SUITE:
        from qvl_cli.generate import answer_settings

        settings = answer_settings(watcher.spec)
        prompt = choice_prompt(query.text, choices.option_texts(query.options))
        tokens = list(session.ask(prompt, settings))
        if len(tokens) >= settings.max_new_tokens:
            warnings.append(f"an answer was cut off after {settings.max_new_tokens} tokens")
        return {"qid": query.qid, "text": "".join(token.text for token in tokens if not token.thinking)}
    from qvl_cli.tasks.locate import locate

    found = locate(session, watcher.aligner, query.text, replace(refiner) if refiner else None)
    warnings += found.warnings
    return {"qid": query.qid, "windows": [[m.start, m.end, m.score] for m in found.moments]}


def _line(suite: str, said: Mapping[str, Any]) -> Prediction:
    if suite == CHOICE_SUITE:
        return Prediction(said["qid"], np.zeros((0, 3)), text=said["text"])
    saliency = np.array(said["saliency"]) if "saliency" in said else None
    return Prediction(said["qid"], np.array(said["windows"], float).reshape(-1, 3), saliency=saliency)


def _figures(
    suite: str,
    queries: Sequence[Query],
    lines: Sequence[Prediction],
    blind: Sequence[Prediction],
    troubles: Troubles,
) -> Figures:
    pairs, unknown, unanswered = retrieval.pair_up(queries, lines)
    troubles.add("prediction of no annotated query", [str(qid) for qid in unknown])
    troubles.add("query without a prediction", [str(qid) for qid in unanswered])
    if not pairs:
        raise UsageError("no prediction belongs to an annotated query", "give files of the same suite")
    other = retrieval.pair_up(queries, blind)[0]
    if suite == CHOICE_SUITE:
        return choice_figures(pairs, other)
    if not any(query.duration for query, _ in pairs):
        troubles.listener.note("no durations: what random spans and the whole video score is left out")
    return retrieval.score(retrieval.SUITES[suite], pairs, other)


def choice_figures(pairs: Sequence[retrieval.Pair], blind: Sequence[retrieval.Pair]) -> Figures:
    """Accuracy, also by attribute; an answer that settles on no option is wrong, and counted."""

    def rights(
        some: Sequence[retrieval.Pair],
    ) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        letters = [choices.chosen_letter(said.text, query.options) for query, said in some]
        right = [letter == query.answer for letter, (query, _) in zip(letters, some, strict=True)]
        return (
            [q.video for q, _ in some],
            np.array(right, float),
            np.array([x is None for x in letters], float),
        )

    owners, right, unclear = rights(pairs)
    chance = np.array([1 / len(query.options) for query, _ in pairs])
    columns = {"answer_accuracy": right, "unclear_answers": unclear, "random_answer_accuracy": chance}
    for name in sorted({name for query, _ in pairs for name, _ in query.attributes}):
        kinds = [dict(query.attributes).get(name) for query, _ in pairs]
        for kind in sorted({kind for kind in kinds if kind is not None}):
            mine = np.array([each == kind for each in kinds])
            columns[f"answer_by_{name}/{kind}"] = np.where(mine, right, np.nan)
    figures = means(columns, owners)
    if blind:
        owners, right, _ = rights(blind)
        over = right * np.array([len(query.options) for query, _ in blind])
        figures |= means({"blind_answer_accuracy": right, "blind_over_chance": over}, owners)
    return figures


def _document(
    suite: str, figures: Figures, queries: Sequence[Query], troubles: Troubles, **more: Any
) -> dict[str, Any]:
    results, counts, intervals = document_parts(figures)
    whole = {"videos": len({query.video for query in queries}), "queries": len(queries)}
    return document(suite, results, {**whole, **counts}, intervals, left_out=troubles.left_out(), **more)
