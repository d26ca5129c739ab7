"""Predictions, from a file or from a run -> ranked windows per query."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qvl_cli.errors import UsageError
from qvl_cli.evals.annotations import (
    MISREAD,
    Query,
    explain,
    json_entries,
    numbers,
    qid_of,
    read_text,
    spans,
)
from qvl_cli.evals.interval import Floats


@dataclass(frozen=True, slots=True)
class Prediction:
    """windows [n, 3]: start, end, score, as listed, best first. located: whether windows were asked for at
    all; a file may hold highlights alone. scored: whether the scores are the file's own; else they only keep
    its order. saliency: one score a clip. text: an answer in words."""

    qid: Hashable
    windows: Floats
    located: bool = True
    scored: bool = True
    saliency: Floats | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Predictions:
    lines: tuple[Prediction, ...]
    unreadable: tuple[str, ...] = ()


def read_predictions(suite: str, path: Path, queries: Sequence[Query]) -> Predictions:
    """JSON lines or a JSON array, a line a query: `qid` and `pred_relevant_windows` (QVHighlights,
    Charades-STA), `query_id` and `answer` (VUE-TR), `question_id` and `response` (Video-MME).

    A second line for a query counts as unreadable, but for QVHighlights, whose evaluation adds it up.
    Raises UsageError where no line can be read.
    """
    entries = json_entries(read_text(path))
    by_text: dict[tuple[str, str], list[Hashable]] = {}
    for query in queries:
        by_text.setdefault((query.video, query.text), []).append(query.qid)
    lines: list[Prediction] = []
    unreadable = list(entries.unreadable)
    known: set[Hashable] = set()
    for place, entry in entries.entries:
        try:
            for line in _read(suite, entry, by_text):
                if line.qid in known and suite != "qvhighlights":
                    unreadable.append(f"{place}: qid {line.qid!r} comes a second time")
                else:
                    lines.append(line)
                known.add(line.qid)
        except MISREAD as error:
            unreadable.append(f"{place}: {explain(error)}")
    if not lines:
        why = f" ({unreadable[0]})" if unreadable else ""
        raise UsageError(
            f"{path} holds no {suite} prediction that can be read{why}", "see README, Evaluation"
        )
    return Predictions(tuple(lines), tuple(unreadable))


def _read(suite: str, entry: Any, by_text: dict[tuple[str, str], list[Hashable]]) -> list[Prediction]:
    if suite == "video-mme":
        return [
            Prediction(qid_of(each, "question_id"), np.zeros((0, 3)), text=str(each.get("response", "")))
            for each in entry.get("questions", [entry])
        ]
    if suite == "vue-tr":
        answer = entry["answer"]
        windows = spans([] if answer == [[]] else answer)
        return [Prediction(qid_of(entry, "query_id", "id"), ranked(windows), scored=False)]
    if entry.get("qid") is not None:
        qid = qid_of(entry, "qid")
    else:
        known = by_text.get((str(entry["vid"]), str(entry["query"])), [])
        if len(known) != 1:
            raise ValueError(f"no qid, and its vid and query name {len(known)} annotations")
        qid = known[0]
    saliency = entry.get("pred_saliency_scores")
    located = saliency is None or "pred_relevant_windows" in entry
    windows = spans(entry["pred_relevant_windows"] if located else [], (3, 2))
    return [
        Prediction(
            qid,
            windows if windows.shape[1] == 3 else ranked(windows),
            located,
            windows.shape[1] == 3,
            None if saliency is None else numbers(saliency, 1),
        )
    ]


def ranked(windows: Floats) -> Floats:
    """[n, 2] -> [n, 3]: scores that keep the order."""
    return np.column_stack([windows, -np.arange(len(windows), dtype=float)])
