"""--sampling and --max-gap from the command line to the Answer, and the budget of --detail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from qvl_cli.answer import Answer
from qvl_cli.bench.still_clips import HEIGHT, RATE, WIDTH, Picture, write_clip
from qvl_cli.cli.app import main
from qvl_cli.registry import ModelSpec
from qvl_cli.sampling import DETAIL, SamplingSettings, plan_samples
from tests.checkpoints import write_checkpoint
from tests.test_sampling import FIXED, RELEASED, steady


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """12 seconds of grey in which a white bar appears at 4.3 s; and a small random model."""

    def pictures() -> Iterator[Picture]:
        for frame in range(12 * RATE):
            picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            picture[100:160, 200:400] += np.uint8(120 * (frame >= 43))
            yield picture

    folder = tmp_path_factory.mktemp("still")
    write_clip(pictures(), folder / "clip.mp4", "23")
    return str(folder / "clip.mp4"), str(write_checkpoint(folder / "model"))


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def located(files: tuple[str, str], capfd: pytest.CaptureFixture[str], *flags: str) -> tuple[Answer, str]:
    clip, model = files
    assert main(["locate", clip, "a bar", "--model", model, "-f", "json", *flags]) == 0
    said = capfd.readouterr()
    answer = Answer.from_dict(json.loads(said.out))
    return answer, said.err


def test_adaptive_sampling_reaches_the_answer(
    files: tuple[str, str], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "qvl.toml").write_text('sampling = "adaptive"\n')
    answer, said = located(files, capfd, "--max-gap", "5")
    assert (answer.sampling.mode, answer.sampling.considered, answer.sampling.steps) == ("adaptive", 12, 4)
    assert answer.sampling.kept == {"start": 1, "change": 1, "before": 1, "gap": 1}
    assert not answer.sampling.coarsened
    assert answer.coverage.seen == ((0.0, 12.0),) and answer.coverage.gaps == ()
    assert answer.coverage.skipped == ((1.0, 3.8), (5.0, 9.0), (10.0, 12.0))
    note = "adaptive sampling keeps 4 steps (1 start, 1 change, 1 before, 1 gap); uniform has 12"
    assert note in answer.warnings and note in said


def test_even_sampling_says_nothing_of_it(files: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    answer, said = located(files, capfd)
    assert (answer.sampling.mode, answer.sampling.kept, answer.sampling.steps) == ("uniform", {}, 12)
    assert answer.coverage.skipped == () and "sampling" not in said
    assert not [warning for warning in answer.warnings if "sampling" in warning]


def test_the_range_is_scanned_and_nothing_else(
    files: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    answer, _ = located(files, capfd, "--sampling", "adaptive", "--from", "5")
    assert answer.sampling.kept == {"start": 1} and answer.coverage.seen == ((5.0, 12.0),)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--sampling", "clever"), "choose from uniform, adaptive, scene, keyframe"),
        (("--max-gap", "0"), "a number above 0"),
        (("--sampling", "adaptive", "--from", "99"), "past the end"),
    ],
)
def test_senseless_flags_are_refused_in_one_line(
    files: tuple[str, str], capfd: pytest.CaptureFixture[str], flags: tuple[str, ...], says: str
) -> None:
    clip, model = files
    assert main(["locate", clip, "a bar", "--model", model, *flags]) == 2
    said = capfd.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and said.out == ""


def test_an_answer_of_an_earlier_version_still_reads() -> None:
    document = {
        "schema": "qvl.answer/1", "task": "ask", "query": "", "text": "", "found": True,
        "media": {"path": "a", "duration": 1.0, "sha256": ""},
        "model": {"name": "m", "fingerprint": "", "aligner": "text"},
        "sampling": {
            "steps": 1, "considered": 1, "fps": 2.0, "frame": [32, 32], "tokens": 1, "coarsened": False
        },
        "coverage": {"seen": [[0.0, 1.0]], "gaps": []},
        "usage": {"watch_s": 0.0, "answer_s": 0.0, "peak_mb": 0.0},
    }  # fmt: skip
    answer = Answer.from_dict(document)
    assert (answer.sampling.mode, answer.sampling.kept, answer.coverage.skipped) == ("uniform", {}, ())


def test_the_budget_is_the_checkpoints_own() -> None:
    assert RELEASED.clip_tokens == 12_288
    wider = replace(FIXED, clip_pixels=(4_096, 4 * FIXED.clip_pixels[1]))
    info = steady(7200, Fraction(2), width=160, height=96)

    def steps(settings: SamplingSettings, spec: ModelSpec) -> int:
        return len(plan_samples(info, replace(settings, fps=Fraction(2)), spec).steps)

    assert [steps(DETAIL[name], FIXED) for name in ("low", "default", "high")] == [128, 512, 2_048]
    assert [steps(DETAIL[name], wider) for name in ("low", "default", "high")] == [512, 2_048, 7_200]
    assert steps(SamplingSettings(max_tokens=3_000), wider) == 125
