"""The `sampling` benchmark: how figures follow from runs, and what of a run is timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qvl_cli.bench import sampling, sampling_run
from qvl_cli.bench.row import Run
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import rng_for


def _run(name: str, **report: float) -> Run:
    return Run(name, 9.0, 9.0, 1, report)


def _runs() -> list[Run]:
    return [
        _run("still", screen_even=1000, screen_active=250, screen_known=8, screen_kept=8,
             camera_even=1000, camera_active=125, camera_known=4, camera_kept=3),
        _run("busy", even=800, active=600, seen=40, lost=2),
        _run("locate", asked=200, even=180, active=170, even_tokens=4000, active_tokens=1000,
             scan_cpu_s=3.0, watch_cpu_s=12.0),
        _run("static", still_asked=50, still_all=40, still_changed=30, still_all_tokens=600,
             still_changed_tokens=150, busy_asked=40, busy_all=30, busy_changed=32, busy_all_tokens=800,
             busy_changed_tokens=400),
    ]  # fmt: skip


def test_figures_by_hand() -> None:
    figures = sampling._figures({each.variant: each for each in _runs()})
    assert figures == {
        "still_token_ratio": {"screen": 0.25, "camera": 0.125},
        "still_changes_kept": {"screen": 1.0, "camera": 0.75},
        "still_locate_delta": -5.0,
        "still_locate_even": 90.0,
        "still_locate_tokens": 0.25,
        "still_locate_asked": 200,
        "scan_over_watch": 0.25,
        "busy_token_ratio": 0.75,
        "busy_events_lost": 2,
        "busy_events": 40,
        "drop_static_token_ratio": {"still": 0.25, "busy": 0.5},
        "drop_static_locate_delta": {"still": -20.0, "busy": 5.0},
        "drop_static_asked": {"still": 50, "busy": 40},
    }


def test_real_clips_count_by_their_changes() -> None:
    names = list(sampling.REAL)
    kept = dict(zip(names, (9, 1, 0), strict=True))
    report: dict[str, float] = {}
    for name in names:
        known = len(sampling.REAL[name])
        report |= {f"{name} known": known, f"{name} kept": kept[name]}
        report |= {f"{name} ratio": 0.25, f"{name} free": 0.5}
    runs = [*_runs(), Run("real", 9.0, 9.0, 1, report)]
    figures = sampling._figures({each.variant: each for each in runs})
    assert figures["real_changes"] == 14 and figures["real_changes_kept"] == 10 / 14
    assert figures["real_token_ratio"] == dict.fromkeys(names, 0.25)
    assert figures["real_token_ratio_free"] == dict.fromkeys(names, 0.5)


def test_watching_is_timed_without_the_questions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a clock that only scanning (1 s), watching (10 s) and locating (100 s) move."""
    now = [0.0]

    def takes(seconds: float, result: Any = None) -> Any:
        def work(*_: object) -> Any:
            now[0] += seconds
            return result

        return work

    def drawn(*_: object) -> Iterator[tuple[Any, Any, Path]]:
        for seed in (1, 2):
            yield rng_for(seed, "test"), write_script(seed, 60.0), tmp_path / "none.mp4"

    @contextmanager
    def opened(_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(sampling_run, "time", SimpleNamespace(process_time=lambda: now[0]))
    monkeypatch.setattr(sampling_run, "drawn", drawn)
    monkeypatch.setattr(sampling_run, "open_video", opened)
    monkeypatch.setattr(
        sampling_run, "plans", lambda *_: (SimpleNamespace(tokens=8), SimpleNamespace(tokens=2))
    )
    monkeypatch.setattr(sampling_run, "scan", takes(1))
    monkeypatch.setattr("qvl_cli.pipeline.watch", takes(10))
    monkeypatch.setattr("qvl_cli.tasks.locate.locate", takes(100, SimpleNamespace(moments=())))
    for heavy in ("model.load.load_model", "align.load_aligner", "stream.StreamSession"):
        monkeypatch.setattr(f"qvl_cli.{heavy}", takes(0))
    report = sampling_run.locate(tmp_path, 2, SimpleNamespace())  # type: ignore[arg-type]
    assert report["asked"] == 2 * sampling_run.LOCATES
    assert (report["scan_cpu_s"], report["watch_cpu_s"]) == (2, 20)
    assert (report["even_tokens"], report["active_tokens"]) == (16, 4)
