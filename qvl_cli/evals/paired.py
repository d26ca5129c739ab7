"""What a memory costs in answers: the same drawn videos and questions under full memory and under others.

Right is a moment with IoU >= 0.5 first (locate), or an answer in words that names what the script has (ask).
Differences are taken question by question, in points of a hundred; intervals resample whole videos.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from qvl_cli import pipeline
from qvl_cli.errors import UsageError
from qvl_cli.evals import retrieval
from qvl_cli.evals.cases import Case, write_case
from qvl_cli.evals.document import document
from qvl_cli.evals.drawn import answer_all, locate_all
from qvl_cli.evals.figures import Figures, document_parts, means
from qvl_cli.evals.interval import Floats
from qvl_cli.evals.journal import Journal
from qvl_cli.evals.predictions import Prediction
from qvl_cli.evals.texts import is_right
from qvl_cli.evals.troubles import Troubles
from qvl_cli.evals.watching import VIDEO_TROUBLES, Watcher, trouble_text
from qvl_cli.memory import MemorySettings, what_is_lost
from qvl_cli.request import Request
from qvl_cli.tiny.film import film

FULL = "full"
# `--against`: name -> the memory, and the figure its difference goes by. The default window would hold drawn
# videos whole: they last up to two minutes.
MEMORIES: dict[str, tuple[MemorySettings, str]] = {
    "window": (MemorySettings("window", window=Fraction(30)), "window_accuracy_delta"),
    "retrieve": (MemorySettings("retrieve"), "retrieve_accuracy_delta"),
    "bf16": (MemorySettings("full", kv="bf16"), "kv_accuracy_delta/bf16"),
    "int8": (MemorySettings("full", kv="int8"), "kv_accuracy_delta/int8"),
    "int4": (MemorySettings("full", kv="int4"), "kv_accuracy_delta/int4"),
}


def read_names(text: str) -> tuple[str, ...]:
    """`retrieve,int8` -> its names. Raises UsageError."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in MEMORIES:
            raise UsageError(f"no memory to compare is called {name!r}", f"choose from {', '.join(MEMORIES)}")
    return names


def run(
    seed: int,
    videos: int,
    request: Request,
    against: Sequence[str],
    open_journal: Callable[[Mapping[str, Any]], Journal],
    listener: pipeline.Listener,
) -> dict[str, Any]:
    """Ask about `videos` drawn videos from `seed` on, each watched once under every memory; returns the JSON
    document."""
    cases = {str(each): write_case(each) for each in range(seed, seed + videos)}
    of = {name: case.digest for name, case in cases.items()}
    troubles = Troubles(listener)
    watcher = Watcher(request, listener)
    watchers = {FULL: watcher.with_memory(MemorySettings("full"))}
    watchers |= {name: watcher.with_memory(MEMORIES[name][0]) for name in against}
    told = {**watcher.settings(), "refine": [], "memory": FULL, "against": list(against)}
    journal = open_journal({"suite": "paired", "seed": seed, **told})
    try:
        for number, (name, case) in enumerate(cases.items()):
            listener.progress("evaluating", number, len(cases))
            if journal.get(name, of[name]):
                continue
            try:
                journal.add({"video": name, "of": of[name], "said": _ask(case, watchers)})
            except VIDEO_TROUBLES as error:
                troubles.add("unwatched video", [f"{name}: {trouble_text(error)}"])
        done = {name: case for name, case in cases.items() if journal.get(name, of[name])}
        figures = score(done, {name: journal.records[name]["said"] for name in done}, against)
    finally:
        journal.close()
    results, counts, intervals = document_parts(figures)
    more = {**told, "seed": seed, "left_out": troubles.left_out()}
    return document("drawn", results, {"videos": len(done), **counts}, intervals, **more)


def _ask(case: Case, watchers: Mapping[str, Watcher]) -> dict[str, Any]:
    """Name of the memory -> what was said under it."""
    said: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="qvl-drawn-") as folder:
        path = Path(folder) / "drawn.mp4"
        film(case.script, path, rate=case.rate, crf=case.crf)
        for name, watcher in watchers.items():
            watched = watcher.watch(path, gated=False)
            session, memory, size = watched.session, watcher.request.memory, watcher.spec.block_steps
            said[name] = {
                "located": locate_all(session, case, watcher, ("locates",)),
                "asked": answer_all(session, case, watcher, ("asks",)),
                "lossy": bool(what_is_lost(watched.plan.steps, memory, size, head=True)),
            }
            session.release()
    return said


def score(
    cases: Mapping[str, Case], said: Mapping[str, Mapping[str, Any]], against: Sequence[str]
) -> Figures:
    """said: video -> memory -> what `_ask` has of it."""
    owners: list[str] = []
    kinds: list[str] = []
    right: dict[str, list[float]] = {name: [] for name in (FULL, *against)}
    for video, case in cases.items():
        for name, column in right.items():
            located, answered = _rights(case, said[video][name])
            column += [*located, *answered]
        owners += [video] * (len(located) + len(answered))
        kinds += ["locate"] * len(located) + ["ask"] * len(answered)
    values = {name: np.array(column, float) for name, column in right.items()}
    figures = means({f"accuracy/{name}": column for name, column in values.items()}, owners)
    for name in against:
        lost = 100 * (values[name] - values[FULL])
        columns = {MEMORIES[name][1]: lost}
        for kind in ("locate", "ask"):
            columns[f"{kind}_delta/{name}"] = np.where([each == kind for each in kinds], lost, np.nan)
        columns[f"changed/{name}"] = (values[name] != values[FULL]).astype(float)
        figures |= means(columns, owners)
        # Where nothing is let go there is nothing to lose.
        lossy = np.array([said[video][name]["lossy"] for video in cases], float)
        figures |= means({f"lossy_videos/{name}": lossy}, list(cases))
    return figures


def _rights(case: Case, said: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """0 or 1 for each event to locate, and for each question."""
    suite = retrieval.SUITES["qvhighlights"]
    pairs = [
        [
            (query, Prediction(one["qid"], np.array(one["windows"], float).reshape(-1, 3), text=one["text"]))
            for query, one in zip(case.queries(kind), said[key], strict=True)
        ]
        for kind, key in (("locates", "located"), ("asks", "asked"))
    ]
    located = np.asarray(suite.columns(pairs[0]).values["r1@0.5"], float) if pairs[0] else np.zeros(0)
    answered = [
        is_right(question.family, one.text or "", question.answer)
        for (_, one), question in zip(pairs[1], case.asks, strict=True)
    ]
    return located, np.array(answered, float)
