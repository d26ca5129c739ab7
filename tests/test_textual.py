"""The textual aligner: scores from token probabilities, steps from written times, and the constraint."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from qvl_cli.align import Aligned, ScoredSpan, Sentence, load_aligner
from qvl_cli.align.textual import (
    TextualAligner,
    TimeChoice,
    WatchedTimes,
    asked_at_once,
    probability,
    to_steps,
)
from qvl_cli.align.written import WrittenSpan, read_spans
from qvl_cli.cache import make_memory
from qvl_cli.chunks import FrameChunk
from qvl_cli.errors import UsageError
from qvl_cli.generate import DecodeSettings, TokenStep
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import LoadedModel, load_model
from qvl_cli.prompts import Prompt, locate_prompt
from qvl_cli.registry import read_spec
from qvl_cli.sampling import Step
from qvl_cli.stream import StreamSession
from qvl_cli.tasks.ask import ask
from qvl_cli.tasks.locate import locate
from qvl_cli.tasks.summarize import summarize
from qvl_cli.timeline import TimeSpan, prompt_seconds
from tests.checkpoints import cut, load_small_blocks, noise_clip, write_checkpoint

F = Fraction


def span(start: str, end: str) -> TimeSpan:
    return TimeSpan(F(start), F(end))


def steps(count: int) -> list[Step]:
    """One a second, printed as 0.2, 1.2, ...; step n stands for [n, n + 1)."""
    return [Step(F(n), F(n) + F(1, 2), TimeSpan(F(n), F(n + 1))) for n in range(count)]


def written(start: str, end: str | None) -> WrittenSpan:
    return WrittenSpan(F(start), None if end is None else F(end), ((0, 1),))


def test_the_score_is_the_probability_of_the_numbers() -> None:
    pieces = [
        ("it is ", 0.1),
        ("12", 0.5),
        (".5", 0.5),
        (" - ", 0.1),
        ("20", 0.8),
        (".", 0.9),
        ("0", 1.0),
        (".", 0.1),
    ]
    tokens = [TokenStep(0, text, math.log(chance), False) for text, chance in pieces]
    (found,) = read_spans("".join(text for text, _ in pieces)).spans or ()
    assert probability(found, tokens) == pytest.approx(0.5 * 0.5 * 0.8 * 0.9 * 1.0)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([("1.2", "3.2", 0.5)], [("1", "4", 0.5)]),  # printed times stand for their whole steps
        ([("1", "3.5", 0.5)], [("1", "3.5", 0.5)]),  # others for themselves
        ([("1.2", "1.2", 0.5)], [("1", "2", 0.5)]),
        ([("1.7", "1.7", 0.5)], [("1", "2", 0.5)]),  # a lone time is the step on screen
        ([("8", "99", 0.5)], [("8", "10", 0.5)]),  # cut to what was watched
        ([("7", None, 0.5)], [("7", "10", 0.5)]),  # an open end is the end of what was watched
        ([("9.2", None, 0.5)], [("9", "10", 0.5)]),
        ([("10", None, 0.5)], []),
        ([("11", "12", 0.5)], []),
        ([("99", "99", 0.5)], []),
        ([("1", "3", 0.2), ("2", "4", 0.7)], [("1", "4", 0.7)]),  # merged, the better score
        ([("1", "2", 0.2), ("5", "6", 0.7)], [("5", "6", 0.7), ("1", "2", 0.2)]),  # best first
    ],
)
def test_written_times_become_steps(
    said: list[tuple[str, str | None, float]], expected: list[tuple[str, str, float]]
) -> None:
    found = to_steps([(written(a, b), score) for a, b, score in said], WatchedTimes(steps(10)))
    assert found == [ScoredSpan(span(a, b), score) for a, b, score in expected]


def test_a_hole_in_what_was_watched_splits_a_span() -> None:
    watched = [step for step in steps(10) if not 4 <= step.t0 < 6]
    found = to_steps([(written("2", "8"), 0.5)], WatchedTimes(watched))
    assert sorted(each.span for each in found) == [span("2", "4"), span("6", "8")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(read_spec(write_checkpoint(tmp_path_factory.mktemp("model"))), "cpu")


@pytest.fixture(scope="module")
def session(model: LoadedModel) -> StreamSession:
    pixels = np.random.default_rng(3).integers(0, 256, (6, 2, 64, 96, 3), np.uint8)
    watched = StreamSession(model)
    watched.watch(FrameChunk(tuple(steps(6)), pixels))
    return watched


def test_every_text_the_constraint_allows_is_a_range_of_steps_or_never(model: LoadedModel) -> None:
    times = [prompt_seconds(step.t0, step.t1) for step in steps(120)]
    choice = TimeChoice(model, times)
    dice = random.Random(5)
    outcomes = set()
    for _ in range(300):
        ids: list[int] = []
        while not ids or ids[-1] not in model.eos_ids:
            allowed = choice.allowed(ids)
            assert allowed, model.codec.decode(ids)
            ids.append(dice.choice(sorted(allowed)))
            assert len(ids) <= choice.longest
        text = model.codec.decode([token for token in ids if token not in model.eos_ids])
        spans = read_spans(text).spans
        assert spans is not None, text
        for found in spans:
            assert text == f"{float(found.start)} - {float(found.end)}"
            assert {f"{float(found.start)}", f"{float(found.end)}"} <= set(times)
        outcomes.add(len(spans))
    assert outcomes == {0, 1}


def test_decoding_keeps_to_the_constraint(session: StreamSession) -> None:
    only = [65, 66]

    def allowed(ids: Sequence[int]) -> list[int]:
        return only if len(ids) < 5 else sorted(session.model.eos_ids)

    said = list(session.ask(locate_prompt("x"), DecodeSettings(allowed=allowed)))
    assert [token.token in only for token in said] == [True] * 5
    # The probability is the model's own, not the one that the constraint leaves.
    assert all(token.logprob < math.log(0.9) for token in said)


def test_a_model_that_writes_no_range_is_made_to_choose(session: StreamSession) -> None:
    aligner = TextualAligner()
    found = aligner.locate(session, "a block turns white")
    assert any("made to choose" in warning for warning in found.warnings)
    for each in found.spans:
        assert 0 <= each.span.start < each.span.end <= 6
        assert 0 <= each.score <= 1
    assert aligner.locate(session, "a block turns white") == found  # forks leave no trace
    assert len(session.steps) == 6


def test_nothing_watched_is_nothing_found(model: LoadedModel) -> None:
    assert TextualAligner().locate(StreamSession(model), "x") == Aligned()


class Scripted(StreamSession):
    """A session whose model writes `says`; decoding under a constraint writes `choice`."""

    def __init__(self, model: LoadedModel, says: Sequence[str], choice: Sequence[str] = ("never",)) -> None:
        super().__init__(model)
        self._says, self._choice = says, choice

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(steps(6))

    @property
    def features(self) -> torch.Tensor:
        return torch.ones(6, 1, 4)

    @property
    def views(self) -> list[range]:
        return [range(6)]

    def shown_with(self, view: range) -> tuple[Step, ...]:
        return self.steps[view.start : view.stop]

    def fork(self) -> "Scripted":
        return Scripted(self.model, self._says, self._choice)

    def focus(self, first: int, last: int) -> "Scripted":
        return self.fork()

    def ask(self, prompt: Prompt, settings: DecodeSettings | None = None) -> Iterator[TokenStep]:
        settings = settings or DecodeSettings()
        pieces = self._says if settings.allowed is None else self._choice
        for piece in pieces[: settings.max_new_tokens]:
            yield TokenStep(0, piece, 0.0, False)


CUT = "the times the model wrote were cut off after 512 tokens"
BACK = "the model wrote 3.2 - 1.2, which ends before it starts: left out"
DENIED = "the model wrote 2.2 - 4.2, which stands behind a denial: left out"
LATE = "the model wrote 61.0 - the end, which lies outside what was watched: left out"
PAST = "the model wrote 61.0 - 62.5, which lies outside what was watched: left out"
FORCED = "the model wrote no readable time: it was made to choose one range or none"


@pytest.mark.parametrize(
    ("says", "warnings"),
    [
        (["1.2", " - ", "3.2"], ()),
        (["never"], ()),
        (["never", ", not at 2.2 - 4.2"], (DENIED,)),
        (["1.2", " - ", "3.2", *["\n"] * 508], ()),
        (["1.2", " - ", "3.2", *["\n"] * 509], (CUT,)),
        (["A red circle."], (FORCED,)),
        (["so "] * 600, (CUT, FORCED)),
        (["3.2", " - ", "1.2"], (BACK, FORCED)),
        (["1.2", " - ", "3.2", "\n61.0 - 62.5"], (PAST,)),
        (["1.2", " - ", "3.2", "\n61.0 - end"], (LATE,)),
    ],
)
def test_what_went_wrong_with_the_times_is_told(
    model: LoadedModel, says: list[str], warnings: tuple[str, ...]
) -> None:
    session, aligner = Scripted(model, says, ["2.2", " - ", "4.2"]), TextualAligner()
    expected = {"1.2": span("1", "4"), "never": None}.get(says[0], span("2", "5"))
    spans = () if expected is None else (ScoredSpan(expected, 1.0),)
    assert aligner.locate(session, "x") == Aligned(spans, warnings)
    sentences = [Sentence("A.", (0, 1)), Sentence("B.", (1, 2))]
    assert aligner.evidence(session, "x?", sentences) == [Aligned(spans, warnings)] * 2
    found = locate(session, aligner, "x")
    assert (found.found, found.warnings) == (bool(spans), warnings)


@pytest.mark.parametrize(
    ("most", "views"),
    [
        (None, [(0, 6)]),
        (6, [(0, 6)]),
        (5, [(0, 5), (2, 6)]),
        (4, [(0, 4), (2, 6)]),
        (2, [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6)]),
        (1, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]),
    ],
)
def test_a_checkpoint_is_asked_about_as_many_steps_as_it_says(
    model: LoadedModel, most: int | None, views: list[tuple[int, int]]
) -> None:
    model = replace(model, spec=replace(model.spec, text_steps=most))
    asked: list[tuple[int, int]] = []

    class Asked(Scripted):
        def focus(self, first: int, last: int) -> Scripted:
            asked.append((first, last))
            return Scripted(model, [f"{last - 1}.2", " - ", f"{last - 1}.2"])

    stepped = Asked(model, ["0.2", " - ", "0.2"])
    assert [(view.start, view.stop) for view in asked_at_once(stepped)] == views
    found = TextualAligner().locate(stepped, "x")
    assert asked == (views if len(views) > 1 else [])
    assert found.spans[0].span.start == (0 if len(views) == 1 else views[0][1] - 1)


@pytest.mark.parametrize("forgets", [False, True])
def test_what_a_window_keeps_of_the_beginning_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    model, clip = load_small_blocks(tmp_path, 2), noise_clip(13, 64, 64)
    how = MemorySettings("window", sinks=3, window=F(8))
    session = StreamSession(model, memory=make_memory(model, how))
    for chunk in cut(clip, 1):
        session.watch(chunk)
        if forgets:
            session.forget()
    (view,) = session.views
    kept, gone, seen = clip.steps[1], clip.steps[3], clip.steps[-1]
    assert view.start > 3 and session.shown_with(view) == (*session.steps[:3], *session.steps[view.start :])

    ranges = [(kept, kept), (gone, gone), (kept, gone), (seen, seen)]

    def says(self: StreamSession, prompt: Prompt, settings: DecodeSettings) -> Iterator[TokenStep]:
        for start, end in ranges:
            times = [prompt_seconds(step.t0, step.t1) for step in (start, end)]
            yield TokenStep(0, " - ".join(times) + "\n", 0.0, False)

    monkeypatch.setattr(StreamSession, "ask", says)
    found = TextualAligner().locate(session, "x")
    until = clip.steps[2].interval.end
    spans = sorted(each.span for each in found.spans)
    assert spans == [TimeSpan(kept.interval.start, until), seen.interval]
    times = {name: prompt_seconds(step.t0, step.t1) for name, step in (("kept", kept), ("gone", gone))}
    missing = f"{float(until):.1f} - {times['gone']}"
    count = len(session.steps)
    assert found.warnings == (
        f"the model wrote {times['gone']} - {times['gone']}, which lies outside what was watched: left out"
        " (in 1 of 1 views)",
        f"the model wrote {times['kept']} - {times['gone']}, of which {missing} was not watched: left out"
        " (in 1 of 1 views)",
        f"{count - len(view) - 3} of {count} steps have left the memory: no time was looked for in them",
    )


def test_an_answer_stands_without_evidence_and_troubles_are_told_once(model: LoadedModel) -> None:
    session = Scripted(model, ["A red circle.", " It", " moves."])
    found = ask(session, TextualAligner(), "what?", DecodeSettings(), lambda text, thinking: None)
    assert (found.text, found.found, found.moments) == ("A red circle. It moves.", True, ())
    assert found.warnings == (f"{FORCED} (evidence of 2 of 2 sentences)",)


@pytest.mark.parametrize(
    ("limit", "warnings"),
    [(4, ()), (3, ("2 sentences were cut off after 3 tokens",))],
)
def test_cut_off_sentences_of_a_summary_are_told(
    model: LoadedModel, limit: int, warnings: tuple[str, ...]
) -> None:
    session = Scripted(model, ["A", " white", " square"])
    found = summarize(session, DecodeSettings(max_new_tokens=limit), lambda done, total: None)
    assert [section.text for section in found.sections] == [found.text] == ["A white square"]
    assert found.warnings == warnings


def test_the_aligner_is_chosen_by_what_the_checkpoint_has(model: LoadedModel, tmp_path: Path) -> None:
    assert load_aligner(model, "auto").name == "text"
    assert load_aligner(model, "text").name == "text"
    with pytest.raises(UsageError, match="no alignment head"):
        load_aligner(model, "head")
    with pytest.raises(UsageError, match="auto, head, text"):
        load_aligner(model, "best")
