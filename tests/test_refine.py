"""Boundaries looked at again, on drawn clips with the embedded checkpoint: the frame is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from qvl_cli import pipeline
from qvl_cli.align import Aligned, ScoredSpan
from qvl_cli.align.refine import MOST, Refiner, refines
from qvl_cli.align.textual import TextualAligner
from qvl_cli.answer import Answer
from qvl_cli.cli.app import main
from qvl_cli.errors import OverBudget
from qvl_cli.evals.watching import Silent
from qvl_cli.index import IndexSettings
from qvl_cli.request import Request
from qvl_cli.sampling import SamplingSettings
from qvl_cli.stream import StreamSession
from qvl_cli.tasks.locate import locate
from qvl_cli.timeline import TimeSpan
from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.world import Actor, Scene, Script
from tests.test_looks import seen_by

SAMPLE = Path(__file__).resolve().parents[1] / "sample_media" / "shapes-30s.mp4"
RATE = 25
CIRCLE = Actor("circle", "red", 6.44, 14.8, 50.0, 48.0, 15.0)
STAR = Actor("star", "blue", 0.0, 9.32, 120.0, 40.0, 15.0)
TRIANGLE = Actor("triangle", "yellow", 13.4, 21.0, 110.0, 60.0, 14.0)


def write_film(path: Path, scripts: list[tuple[float, Script]]) -> Path:
    """Each script from its own time on, at RATE frames a second: a cut wherever the next one begins."""
    end = scripts[-1][1].duration
    starts = [start for start, _ in scripts] + [end]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for (start, script), stop in zip(scripts, starts[1:], strict=True):
            times = np.arange(round(start * RATE), round(stop * RATE)) / RATE
            for picture in draw(script, times.tolist(), 2):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Camera noise, two cuts near the boundaries of the circle, and others that come and go beside it."""
    scripts = [
        Script(1_000_001 + number, 21.0, (Scene(0.0, background),), (CIRCLE, STAR, TRIANGLE), noise=5.0)
        for number, background in enumerate(("plain", "gradient", "dots"))
    ]
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_film(path, list(zip((0.0, 5.6, 15.6), scripts, strict=True)))


def request_for(path: Path, query: str = "a red circle", **more: Any) -> Request:
    return replace(Request("locate", str(path), query, SamplingSettings(), model="tiny"), **more)


@contextmanager
def refiner_of(path: Path, **more: Any) -> Iterator[tuple[pipeline.Watched, Refiner]]:
    request = request_for(path, **more)
    with pipeline.watched(request, Silent()) as watched:
        refiner = pipeline.refiner(watched, request, Silent())
        assert refiner is not None
        yield watched, refiner


def planted(event: TimeSpan) -> Callable[[StreamSession], Aligned]:
    """A perfect aligner: what can be known of `event` from the frames that a session has watched."""
    return lambda session: Aligned(tuple(ScoredSpan(span, 1.0) for span in seen_by(session.steps, event)))


def error(found: TimeSpan | tuple[float, float], actor: Actor) -> float:
    start, end = (found.start, found.end) if isinstance(found, TimeSpan) else found
    return abs(float(start) - actor.start) + abs(float(end) - actor.end)


def test_a_planted_frame_is_found_from_the_file(film: Path) -> None:
    with refiner_of(film) as (watched, refiner):
        for first in (150, 161, 170):
            event = TimeSpan(Fraction(first, RATE), Fraction(first + 200, RATE))
            (coarse,) = seen_by(watched.session.steps, event)
            again = planted(event)
            aligned = Aligned((ScoredSpan(coarse, 0.7),), ("told before",), again)
            (found,) = replace(refiner).refine(aligned).spans
            assert found == ScoredSpan(event, 0.7, refined=True)
        assert replace(refiner).refine(aligned).warnings == ("told before",)


def test_steps_far_apart_are_looked_at_twice(film: Path) -> None:
    """Eight steps for 21 s: a rough look first, then the others."""
    event = TimeSpan(Fraction(161, RATE), Fraction(370, RATE))
    with refiner_of(film, sampling=SamplingSettings(max_frames=16)) as (watched, refiner):
        (coarse,) = seen_by(watched.session.steps, event)
        (found,) = refiner.refine(Aligned((ScoredSpan(coarse, 0.7),), again=planted(event))).spans
    assert found == ScoredSpan(event, 0.7, refined=True)
    assert coarse != event


def test_steps_that_are_the_frames_are_not_looked_at_again(film: Path) -> None:
    event = TimeSpan(Fraction(161, RATE), Fraction(200, RATE))
    sampling = SamplingSettings(fps=Fraction(RATE), start=Fraction(6), end=Fraction(9))
    with refiner_of(film, sampling=sampling) as (watched, refiner):
        (found,) = seen_by(watched.session.steps, event)
        aligned = Aligned((ScoredSpan(found, 0.7),), again=planted(event))
        assert refiner.refine(aligned) == aligned
        assert refiner.most == MOST


def test_the_command_is_nearer_to_the_truth(capfd: pytest.CaptureFixture[str], film: Path) -> None:
    """Noise, cuts 0.8 s from both boundaries, and the whole command."""
    found = {}
    for flag in ("--no-refine", "--refine", None):
        arguments = ["locate", str(film), "a red circle appears", "--model", "tiny", "-f", "json"]
        assert main([*arguments, *([flag] if flag else [])]) == 0
        found[flag] = Answer.from_dict(json.loads(capfd.readouterr().out)).moments[0]
    assert not found["--no-refine"].refined
    assert found["--refine"].refined and found[None] == found["--refine"]
    coarse, fine = ((m.start, m.end) for m in (found["--no-refine"], found["--refine"]))
    assert error(fine, CIRCLE) < error(coarse, CIRCLE)
    assert error(fine, CIRCLE) <= 0.4
    assert all(abs(time * RATE - round(time * RATE)) < 1e-6 for time in fine)
    assert found["--refine"].score == found["--no-refine"].score


def test_events_of_the_sample_and_their_evidence() -> None:
    truth = json.loads(SAMPLE.with_suffix("").with_suffix(".truth.json").read_text())["actors"]
    coarse: list[float] = []
    fine: list[float] = []
    with refiner_of(SAMPLE) as (watched, refiner):
        for actor in truth[:4]:
            event = f"the {actor['colour']} {actor['shape']}"
            for errors, with_it in ((coarse, None), (fine, replace(refiner))):
                best = locate(watched.session, watched.aligner, event, with_it).moments[0]
                errors.append(abs(best.start - actor["start"]) + abs(best.end - actor["end"]))
        assert sum(fine) < sum(coarse)
        request = request_for(SAMPLE, "What shape is purple?", task="ask")
        assert pipeline.refiner(watched, request, Silent()) is None  # proof is not worth the time unasked
        given = watched.session, watched.aligner, request, Silent(), watched.video.info
        asked = pipeline.answer(*given, refiner=refiner)
    assert any(moment.refined for moment in asked.moments)


def test_what_is_there_from_the_first_frame_keeps_its_start(film: Path) -> None:
    with refiner_of(film) as (watched, refiner):
        coarse = watched.aligner.locate(watched.session, "a blue star")
        found = refiner.refine(coarse).spans[0].span
    before = coarse.spans[0].span
    assert found.start == before.start < 1
    assert abs(float(found.end) - STAR.end) <= 0.1


def test_a_file_that_is_gone_leaves_the_boundaries_coarse(film: Path, tmp_path: Path) -> None:
    copy = tmp_path / "film.mp4"
    copy.write_bytes(film.read_bytes())
    index = IndexSettings(tmp_path / "index")
    with refiner_of(copy, index=index) as (watched, _):
        coarse = watched.aligner.locate(watched.session, "a red circle")
    with refiner_of(copy, index=index) as (watched, refiner):
        copy.unlink()
        found = refiner.refine(coarse)
        assert watched.video.lost == []
    assert found.spans == coarse.spans
    (warning,) = found.warnings
    assert "boundaries left at step resolution, because the video could not be looked at again" in warning


def test_a_file_that_was_overwritten_leaves_the_boundaries_coarse(film: Path, tmp_path: Path) -> None:
    copy = tmp_path / "film.mp4"
    copy.write_bytes(film.read_bytes())
    with refiner_of(copy) as (watched, refiner):
        coarse = watched.aligner.locate(watched.session, "a red circle")
        with copy.open("r+b") as file:
            file.write(bytes(copy.stat().st_size))
        found = refiner.refine(coarse)
        assert watched.video.lost == []
    assert found.spans == coarse.spans
    assert len(found.warnings) == 1


def test_the_number_of_boundaries_is_bounded_and_told(film: Path) -> None:
    event = TimeSpan(Fraction(161, RATE), Fraction(370, RATE))
    with refiner_of(film) as (watched, refiner):
        (coarse,) = seen_by(watched.session.steps, event)
        few = replace(refiner, most=1)
        found = few.refine(Aligned((ScoredSpan(coarse, 0.7),), again=planted(event)))
        assert few.most == 0
        assert found.warnings == ("boundaries left at step resolution, because there are too many: 1",)
        assert found.spans[0].refined and found.spans[0].span.end == coarse.end


def test_a_look_that_fails_leaves_the_other_boundaries_to_be_moved(film: Path) -> None:
    event = TimeSpan(Fraction(101, RATE), Fraction(409, RATE))
    with refiner_of(film) as (watched, refiner):
        (coarse,) = seen_by(watched.session.steps, event)

        def full_at_the_end(session: StreamSession) -> Aligned:
            if session.steps[0].t0 > 10:
                raise OverBudget("the prompt would take too many positions", "")
            return planted(event)(session)

        found = refiner.refine(Aligned((ScoredSpan(coarse, 0.7),), again=full_at_the_end))
    assert found.spans == (ScoredSpan(TimeSpan(event.start, coarse.end), 0.7, refined=True),)
    (warning,) = found.warnings
    assert warning.endswith("looked at again (the prompt would take too many positions): 1")


def test_a_video_that_cannot_be_read_is_tried_once(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = [TimeSpan(Fraction(at), Fraction(at + 1)) for at in (2, 10, 18)]
    with refiner_of(film) as (watched, refiner):
        tried: list[object] = []

        def gone(*arguments: object) -> None:
            tried.append(arguments)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(type(watched.video), "frames", gone)
        aligned = Aligned(tuple(ScoredSpan(each, 0.7) for each in spans), again=planted(spans[0]))
        found = refiner.refine(aligned)
    assert len(tried) == 1
    (warning,) = found.warnings
    assert warning.endswith("looked at again (Input/output error): 6")


def test_a_boundary_that_another_look_was_made_at_did_not_fail(film: Path) -> None:
    event = TimeSpan(Fraction(101, RATE), Fraction(409, RATE))
    with refiner_of(film) as (watched, refiner):
        (coarse,) = seen_by(watched.session.steps, event)

        def too_many_close_steps(session: StreamSession) -> Aligned:
            if session.steps[1].t0 - session.steps[0].t0 < Fraction(1, 2):
                raise OverBudget("too many steps", "")
            return planted(event)(session)

        found = refiner.refine(Aligned((ScoredSpan(coarse, 0.7),), again=too_many_close_steps))
    assert found.spans[0].refined and found.warnings == ()
    with refiner_of(film) as (_, refiner):
        nothing = refiner.refine(
            Aligned((ScoredSpan(coarse, 0.7),), again=lambda s: _nothing_close(too_many_close_steps, s))
        )
    assert nothing.spans == (ScoredSpan(coarse, 0.7),) and nothing.warnings == ()


def _nothing_close(ask: Callable[[StreamSession], Aligned], session: StreamSession) -> Aligned:
    return replace(ask(session), spans=())


def test_the_textual_aligner_refines_only_where_it_is_told_to(film: Path) -> None:
    text = TextualAligner()
    assert not refines(None, "locate", text) and refines(True, "ask", text)
    request = request_for(film, aligner="text")
    with pipeline.watched(request, Silent()) as watched:
        assert pipeline.refiner(watched, request, Silent()) is None
        found = watched.aligner.locate(watched.session, "a red circle")
        assert found.again is not None
        assert found.again(watched.session) == found
