"""What a drawn run scores: every figure of the suite from what was said of each video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qvl_cli.evals import retrieval
from qvl_cli.evals.cases import LOCATE_KINDS, Case
from qvl_cli.evals.figures import Figure, Figures, means
from qvl_cli.evals.interval import Floats, statistic_interval
from qvl_cli.evals.predictions import Prediction
from qvl_cli.evals.texts import TIME_TOLERANCE, f1, is_right, named, things_named
from qvl_cli.tiny.phrases import FAMILIES
from qvl_cli.tiny.questions import NUMBERS
from qvl_cli.tiny.telling import section_query
from qvl_cli.tiny.world import COLOUR_NAMES, PLACES, SHAPES, WORDS

# A guess among equally likely answers; what is counted has no such list (see `most_frequent`).
_THINGS = len(SHAPES) * len(COLOUR_NAMES)
_CHANCE = {
    "what": 1 / len(SHAPES),
    "colour": 1 / len(COLOUR_NAMES),
    "which": 1 / _THINGS,
    "where": 1 / len(PLACES),
    "order": 1 / 2,
    "written": 1 / len(WORDS),
    "after": 1 / (_THINGS - 1),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A drawn video with what the model said of it, and of the video before it (blind)."""

    case: Case
    record: Mapping[str, Any]
    before: Mapping[str, Any] | None


def needle_figures(asked: Sequence[Asked], needle: str) -> Figures:
    """`needle_10m_r1@0.5` and what it stands beside. needle: length of the videos, as asked for."""
    pairs, blind = (_pairs(asked, ("locates",), key) for key in ("located", "blind_located"))
    figures = _span_figures(pairs, blind, ("r1@0.5",), f"needle_{needle}_")
    return figures | retrieval.denial_figures(pairs) | _watch_figures(asked)


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
    said, blind = (_judge(asked, "asks", key) for key in ("asked", "blind_asked"))
    unseen = _judge(asked, "unseen", "asked")
    columns = {
        "answer_accuracy": said.right,
        **{
            f"answer_by_family/{family}": np.where([f == family for f in said.families], said.right, np.nan)
            for family in FAMILIES
        },
        "random_answer_accuracy": said.chance,
    }
    figures = means(columns, said.owners) | means({"answer_unseen": unseen.right}, unseen.owners)
    proved, blindly = (
        [pair for pair in _pairs(asked, ("asks",), key) if len(pair[0].windows)]
        for key in ("asked", "blind_asked")
    )
    figures |= _span_figures(proved, blindly, ("r1@0.5",), "evidence_")
    if len(blind.right):
        figures |= means({"blind_answer_accuracy": blind.right}, blind.owners)
        figures["blind_over_chance"] = Figure(
            float(blind.right.mean() / blind.chance.mean()),
            len(blind.right),
            statistic_interval(
                lambda rows: float(blind.right[rows].mean() / blind.chance[rows].mean()), blind.owners
            ),
        )
    return figures


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers of one kind of question: right 0 or 1, what guessing scores, whose video it was."""

    right: Floats
    chance: Floats
    families: list[str]
    owners: list[str]


def _judge(asked: Sequence[Asked], kind: str, key: str) -> Judged:
    questions = {
        query.qid: (question, each.case.script.duration)
        for each in asked
        for query, question in zip(each.case.queries(kind), getattr(each.case, kind), strict=True)
    }
    pairs = _pairs(asked, (kind,), key)
    families = [questions[query.qid][0].family for query, _ in pairs]
    expected = [questions[query.qid][0].answer for query, _ in pairs]
    counted = [answer for answer, family in zip(expected, families, strict=True) if family == "count"]
    same = most_frequent([frozenset(named(answer, NUMBERS)) for answer in counted])

    def chance(family: str, duration: float) -> float:
        if family == "when":
            return min(1.0, 2 * TIME_TOLERANCE / duration)
        return same if family == "count" else _CHANCE[family]

    judged = zip(families, pairs, expected, strict=True)
    return Judged(
        np.array([is_right(family, said.text, answer) for family, (_, said), answer in judged], float),
        np.array([chance(f, questions[q.qid][1]) for f, (q, _) in zip(families, pairs, strict=True)]),
        families,
        [query.video for query, _ in pairs],
    )


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
