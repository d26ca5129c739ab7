"""What the `drawn` suite asks of each video: everything follows from the video's seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from qvl_cli.errors import UsageError
from qvl_cli.evals.annotations import Query as TimedQuery
from qvl_cli.tiny.phrases import FAMILIES
from qvl_cli.tiny.pieces import Query, Span
from qvl_cli.tiny.questions import ask_query, locate_query
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import TRAINING_SEEDS, Script, rng_for

SHORTEST, LONGEST = 30.0, 120.0  # seconds
LOCATES, ABSENT, MANY = 4, 1, 1  # per video, besides one question of each family
UNSEEN = 3  # per video, in words or about things that training has kept back
NEEDLES = 20  # per long video
NEEDLE_RATE, NEEDLE_CRF = 10, 23
SHORTEST_GAP = 0.1  # seconds: a frame of the slowest film; in less between two spans nobody sees an end
_TRIES = 40
LOCATE_KINDS = ("locates", "absent", "many")
ASK_KINDS = ("asks", "unseen")


@dataclass(frozen=True, slots=True)
class Case:
    """One drawn video and what is asked of it. many: an event with several spans, where it has one; unseen:
    questions in words or about things that training has kept back."""

    script: Script
    rate: int
    crf: int
    locates: tuple[Query, ...]
    absent: tuple[Query, ...]
    asks: tuple[Query, ...]
    many: tuple[Query, ...]
    unseen: tuple[Query, ...] = ()

    @property
    def digest(self) -> str:
        """Names the script and all that is asked of it."""
        return sha256(repr(self).encode()).hexdigest()[:16]

    def queries(self, kind: str) -> list[TimedQuery]:
        """`locates`, `absent`, `asks`, `many` or `unseen` as queries with true windows."""
        asked: tuple[Query, ...] = getattr(self, kind)
        video = str(self.script.seed)
        return [
            TimedQuery(
                f"{video}/{kind}/{number}",
                video,
                query.prompt.query,
                np.array(query.spans, float).reshape(-1, 2),
                self.script.duration,
            )
            for number, query in enumerate(asked)
        ]


def write_case(seed: int) -> Case:
    """Raises UsageError for a training seed."""
    _refuse_training(seed)
    rng, more = rng_for(seed, "case"), rng_for(seed, "many")
    script = write_script(seed, float(rng.uniform(SHORTEST, LONGEST)))
    others = rng_for(seed, "unseen")

    def ask(family: str) -> tuple[Query, ...]:
        return _first(1, lambda: ask_query(script, rng, family), lambda q: not q.unseen)

    def ask_anew() -> Query | None:
        family = FAMILIES[int(others.integers(len(FAMILIES)))]
        return ask_query(script, others, family, unseen=bool(others.random() < 0.5))

    return Case(
        script,
        int(rng.choice([10, 12, 25])),
        int(rng.choice([18, 23, 28])),
        _first(LOCATES, lambda: locate_query(script, rng, 0.0), lambda q: bool(q.spans) and not q.unseen),
        _first(ABSENT, lambda: locate_query(script, rng, 1.0), lambda q: not q.spans and not q.unseen),
        tuple(query for family in FAMILIES for query in ask(family)),
        _first(MANY, lambda: locate_query(script, more, 0.0), lambda q: len(q.spans) > 1 and not q.unseen),
        _first(UNSEEN, ask_anew, lambda q: q.unseen),
    )


def write_needles(seed: int, seconds: float) -> Case:
    """A long video and up to NEEDLES different events in it, each of which happens once.

    Raises UsageError for a training seed.
    """
    _refuse_training(seed)
    rng = rng_for(seed, "needles")
    script = write_script(seed, seconds)
    found: dict[str, Query] = {}
    for _ in range(_TRIES * NEEDLES):
        query = locate_query(script, rng, absent=0.0)
        if query and len((query := bridged(query)).spans) == 1 and len(found) < NEEDLES:
            found.setdefault(query.prompt.query, query)
    return Case(script, NEEDLE_RATE, NEEDLE_CRF, tuple(found.values()), (), (), ())


def bridged(query: Query) -> Query:
    """The query with spans that are less than SHORTEST_GAP apart as one."""
    spans: list[Span] = []
    for start, end in query.spans:
        if spans and start - spans[-1][1] < SHORTEST_GAP:
            start, _ = spans.pop()
        spans.append((start, end))
    return replace(query, spans=tuple(spans))


def _first(
    count: int, wanted: Callable[[], Query | None], good: Callable[[Query], bool]
) -> tuple[Query, ...]:
    """Up to `count` good ones among _TRIES draws."""
    drawn = (q for _ in range(_TRIES) if (query := wanted()) and good(q := bridged(query)))
    return tuple(query for query, _ in zip(drawn, range(count), strict=False))


def _refuse_training(seed: int) -> None:
    if seed < TRAINING_SEEDS:
        raise UsageError(
            f"seed {seed} belongs to training", f"evaluate with seeds from {TRAINING_SEEDS:,} on"
        )
