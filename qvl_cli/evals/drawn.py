"""The `drawn` suite: fresh videos of the drawn world, encoded, then read and asked as any user's file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvl_cli import pipeline
from qvl_cli.errors import OutsideWorld, UsageError
from qvl_cli.evals.document import document
from qvl_cli.evals.interval import bootstrap, mean
from qvl_cli.evals.spans import random_ious, top_iou, whole_iou
from qvl_cli.evals.texts import is_right
from qvl_cli.media import open_video
from qvl_cli.sampling import DETAIL, plan_samples
from qvl_cli.tiny.film import film
from qvl_cli.tiny.questions import Query, ask_query, locate_query
from qvl_cli.tiny.world import TRAINING_SEEDS, Script, rng_for, write_script

if TYPE_CHECKING:
    from qvl_cli.align import Aligner
    from qvl_cli.model.load import LoadedModel
    from qvl_cli.stream import StreamSession

FAMILIES = ("what", "colour", "which", "count")
SHORTEST, LONGEST = 30.0, 60.0  # seconds
LOCATES, ABSENT = 4, 1  # per video, besides one question of each family
RANDOM_DRAWS = 50
_TRIES = 40

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One drawn video and what is asked of it."""

    script: Script
    rate: int
    crf: int
    locates: tuple[Query, ...]
    absent: tuple[Query, ...]
    asks: tuple[Query, ...]


@dataclass(slots=True)
class Tally:
    """Per video and figure, the values of its questions."""

    videos: list[dict[str, list[float]]] = field(default_factory=list)

    def open_video(self) -> None:
        self.videos.append({})

    def add(self, figure: str, value: float) -> None:
        self.videos[-1].setdefault(figure, []).append(value)

    def groups(self, figure: str) -> list[list[float]]:
        return [video[figure] for video in self.videos if figure in video]

    def figures(self) -> list[str]:
        return sorted({figure for video in self.videos for figure in video})


def write_case(seed: int) -> Case:
    """Everything about one video follows from its seed. Raises UsageError for a training seed."""
    if seed < TRAINING_SEEDS:
        raise UsageError(
            f"seed {seed} belongs to training", f"evaluate with seeds from {TRAINING_SEEDS:,} on"
        )
    rng = rng_for(seed, "case")
    script = write_script(seed, float(rng.uniform(SHORTEST, LONGEST)))

    def first(
        count: int, wanted: Callable[[], Query | None], good: Callable[[Query], bool]
    ) -> tuple[Query, ...]:
        drawn = (query for _ in range(_TRIES) if (query := wanted()) and good(query))
        return tuple(query for query, _ in zip(drawn, range(count), strict=False))

    return Case(
        script,
        int(rng.choice([10, 12, 25])),
        int(rng.choice([18, 23, 28])),
        first(LOCATES, lambda: locate_query(script, rng, absent=0.0), lambda q: bool(q.spans)),
        first(ABSENT, lambda: locate_query(script, rng, absent=1.0), lambda q: not q.spans),
        tuple(q for f in FAMILIES for q in first(1, lambda f=f: ask_query(script, rng, f), lambda q: True)),  # type: ignore[misc]
    )


def run(
    seed: int, videos: int, model: str = "tiny", aligner: str = "auto", progress: Progress | None = None
) -> dict[str, Any]:
    """Score `videos` drawn videos from `seed` on; returns the JSON document of the suite.

    Every video is encoded to H.264, opened, planned, watched once and asked on forks: the code behind the
    commands. Beside each figure stand random spans, the whole video, and the same questions asked of the
    video before it (blind).
    """
    from qvl_cli.align import load_aligner
    from qvl_cli.model.load import load_model
    from qvl_cli.registry import read_spec, resolve

    cases = [write_case(seed + i) for i in range(videos)]
    spec = read_spec(resolve(model), model)
    loaded = load_model(spec)
    align = load_aligner(loaded, aligner)
    tally = Tally()
    previous: StreamSession | None = None
    played = watching = 0.0
    for done, case in enumerate(cases):
        if progress:
            progress(done, videos)
        with tempfile.TemporaryDirectory(prefix="qvl-drawn-") as folder:
            path = Path(folder) / "drawn.mp4"
            film(case.script, path, rate=case.rate, crf=case.crf)
            began = time.monotonic()
            tally.open_video()
            session = _watch(path, loaded, tally)
            watching += time.monotonic() - began
        played += case.script.duration
        _score(case, session, previous, align, tally)
        previous = session
    if progress:
        progress(videos, videos)
    return _document(tally, seed, videos, spec.name, align.name, played / watching)


def _watch(path: Path, loaded: LoadedModel, tally: Tally) -> StreamSession:
    from qvl_cli.stream import StreamSession

    request = pipeline.Request("locate", str(path), "anything", DETAIL["default"])
    with open_video(path) as video:
        plan = plan_samples(video.info, request.sampling, loaded.spec)
        session = StreamSession(loaded)
        try:
            pipeline.watch(video, plan, session, request, _Silent())
            tally.add("acceptance", 1.0)
        except OutsideWorld:
            tally.add("acceptance", 0.0)
            session = StreamSession(loaded)
            insisting = pipeline.Request(
                "locate", str(path), "anything", request.sampling, model=loaded.spec.name
            )
            pipeline.watch(video, plan, session, insisting, _Silent())
    return session


def _score(
    case: Case, session: StreamSession, previous: StreamSession | None, align: Aligner, tally: Tally
) -> None:
    from qvl_cli.generate import DecodeSettings
    from qvl_cli.tasks.ask import ask
    from qvl_cli.tasks.locate import locate

    settings = DecodeSettings(max_new_tokens=48)
    for query in case.locates:
        truth = list(query.spans)
        found = locate(session, align, query.prompt.query)
        best = top_iou([(m.start, m.end) for m in found.moments], truth)
        _add_ious(tally, "", best)
        tally.add("false_denial", float(not found.found))
        _add_ious(tally, "whole_", whole_iou(case.script.duration, truth))
        for value in random_ious(case.script.duration, truth, RANDOM_DRAWS, case.script.seed):
            tally.add("random_r1@0.5", float(value >= 0.5))
        if previous is not None:
            other = locate(previous, align, query.prompt.query)
            _add_ious(tally, "blind_", top_iou([(m.start, m.end) for m in other.moments], truth))
    for query in case.absent:
        tally.add("absent_recall", float(not locate(session, align, query.prompt.query).found))
    for query in case.asks:
        found = ask(session, align, query.prompt.query, settings, _ignore)
        right = float(is_right(query.family, found.text, query.answer))
        tally.add("answer_accuracy", right)
        tally.add(f"answer_{query.family}", right)
        if query.spans:
            spans = [(m.start, m.end) for m in found.moments]
            tally.add("evidence_r1@0.5", float(top_iou(spans, list(query.spans)) >= 0.5))
        if previous is not None:
            text = ask(previous, align, query.prompt.query, settings, _ignore).text
            tally.add("blind_answer_accuracy", float(is_right(query.family, text, query.answer)))


def _add_ious(tally: Tally, prefix: str, value: float) -> None:
    tally.add(f"{prefix}r1@0.5", float(value >= 0.5))
    tally.add(f"{prefix}r1@0.7", float(value >= 0.7))
    tally.add(f"{prefix}miou", value)


def _ignore(piece: str, thinking: bool) -> None:
    """The suite reads whole answers."""


class _Silent:
    def note(self, line: str) -> None: ...
    def progress(self, stage: str, done: float, total: float) -> None: ...
    def text(self, piece: str, thinking: bool = False) -> None: ...


def _document(
    tally: Tally, seed: int, videos: int, model: str, aligner: str, realtime: float
) -> dict[str, Any]:
    rounded = {f: _rounded(mean(tally.groups(f))) for f in tally.figures()}
    families = {f: rounded.pop(f"answer_{f}") for f in FAMILIES if f"answer_{f}" in rounded}
    intervals = {f: bootstrap(tally.groups(f)) for f in tally.figures()}
    return document(
        "drawn",
        results={**rounded, "answer_by_family": families, "realtime_factor": round(realtime, 1)},
        n={"videos": videos, **{f: sum(map(len, tally.groups(f))) for f in tally.figures()}},
        ci={f: [_rounded(edge) for edge in ends] for f, ends in intervals.items() if ends},
        seed=seed,
        model=model,
        aligner=aligner,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
