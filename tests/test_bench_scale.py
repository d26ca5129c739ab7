"""The `scale` benchmark: its clip, one run of it, and how figures follow from runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qvl_cli.bench import scale, scale_run
from qvl_cli.bench.row import Run
from qvl_cli.errors import UsageError
from qvl_cli.media import probe


def _run(name: str, **report: float) -> Run:
    return Run(name, 9.0, 9.0, 1, report)


def test_figures_by_hand() -> None:
    runs = [
        _run("window short", peak_bytes=300, asked_bytes=310),
        _run("retrieve short", peak_bytes=400, asked_bytes=400),
        _run("window long", peak_bytes=330, asked_bytes=341, early_cpu_s=0.2, late_cpu_s=0.1, early_s=1.0,
             late_s=3.0, question_cpu_s=2.0, watch_cpu_s=100.0, steps=9, window_s=120),
        _run("retrieve long", peak_bytes=400, asked_bytes=800, early_cpu_s=0.1, late_cpu_s=0.2, early_s=1.0,
             late_s=1.0, question_cpu_s=5.0, watch_cpu_s=50.0, steps=9, window_s=88),
    ]  # fmt: skip
    figures = scale._figures({each.variant: each for each in runs})
    assert figures["chunk_time_growth"] == {"window": 0.5, "retrieve": 2.0}
    assert figures["chunk_time_growth_wall"] == {"window": 3.0, "retrieve": 1.0}
    assert figures["rss_growth"] == {"window": 1.1, "retrieve": 1.0}
    assert figures["rss_growth_asked"] == {"window": 1.1, "retrieve": 2.0}
    assert figures["window_s"] == {"window": 120, "retrieve": 88}
    assert figures["question_over_watching"] == {"window": 0.02, "retrieve": 0.1}


def test_blocks_are_compared_by_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_run, "_LOOK", 3)
    times = [0.0, 9.0, 10.0, 11.0, 13.0, 15.0, 16.0, 16.5]  # the last block is unfinished
    assert scale_run._median_step(times, 1) == 1.0
    assert scale_run._median_step(times, len(times) - 2 - 3) == 2.0
    assert scale_run._median_step(times, 99) == 2.0  # no further than the last whole blocks


def test_only_what_is_longer_can_be_compared(tmp_path: Path) -> None:
    for wrong in ({"hours": "0.1", "window": "120"}, {"hours": "three", "window": "120"},
                  {"hours": "3", "window": "0"}):  # fmt: skip
        with pytest.raises(UsageError):
            scale.BENCH.variants(wrong, tmp_path)


@pytest.mark.parametrize("policy", scale.POLICIES)
def test_a_run_watches_every_second(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "clip.mp4"
    scale_run.film_clip(str(clip), "40")
    assert float(probe(clip).duration) == 40.0
    report = scale_run.watch(str(clip), policy, "16")
    assert (report["steps"], report["window_s"]) == (20, 16)
    assert 0 < report["peak_bytes"] <= report["asked_bytes"]
    for key in ("question_cpu_s", "watch_cpu_s", "early_cpu_s", "late_cpu_s", "early_s", "late_s"):
        assert report[key] > 0
    assert json.loads(json.dumps(report)) == report


def test_a_window_that_the_model_cannot_see_is_told_as_it_was(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    scale_run.film_clip(str(clip), "240")
    assert 120 <= scale_run.watch(str(clip), "window", "230")["window_s"] < 230
