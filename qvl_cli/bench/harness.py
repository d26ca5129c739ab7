"""Rounds of variants -> medians, ranges, and the document they are published as."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from qvl_cli.bench.process import MEMORY, measure
from qvl_cli.bench.row import Bench, Figures, Round, Run, Settings, Variant
from qvl_cli.errors import QvlError, UsageError
from qvl_cli.evals.document import document

Progress = Callable[[str, int, int], None]  # variant, runs done, runs in all


def run(
    bench: Bench, settings: Settings, repeats: int | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """The benchmark's document: medians as `results`, the range over the rounds as `ci`.

    Every round runs every variant once, in the row's order, each in a fresh process. Beside the row's own
    figures stand `wall_s`, `cpu_s`, `peak_mb` (MiB) and, where children tell, `device_mb` of each variant.
    Raises QvlError where a variant fails.
    """
    count = bench.repeats if repeats is None else repeats
    if count < 1:
        raise UsageError(f"cannot repeat a benchmark {count} times", "repeat it at least once")
    with _terminable(), tempfile.TemporaryDirectory(prefix="qvl-bench-") as folder:
        variants = bench.variants(settings, Path(folder))
        rounds = _rounds(variants, Path(folder), count, progress)
        figures = [{**bench.figures(each), **_costs(each)} for each in rounds]
    results, ranges = summarise(figures)
    return document(
        bench.name, results, {"rounds": count}, ranges, spread="range", settings=dict(settings), memory=MEMORY
    )


def _rounds(variants: Sequence[Variant], folder: Path, count: int, progress: Progress | None) -> list[Round]:
    rounds: list[Round] = []
    for done in range(count):
        runs: dict[str, Run] = {}
        for variant in variants:
            if progress:
                progress(variant.name, done * len(variants) + len(runs), count * len(variants))
            runs[variant.name] = measure(variant, folder)
        rounds.append(runs)
    return rounds


def _costs(runs: Round) -> Figures:
    costs: dict[str, dict[str, float]] = {
        "wall_s": {name: one.wall_s for name, one in runs.items()},
        "cpu_s": {name: one.cpu_s for name, one in runs.items()},
        "peak_mb": {name: one.peak_bytes / 2**20 for name, one in runs.items()},
    }
    device = {
        name: one.number("device_bytes") / 2**20 for name, one in runs.items() if "device_bytes" in one.report
    }
    return {**costs, "device_mb": device} if device else costs


def summarise(rounds: Sequence[Figures]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Per figure the median over the rounds, and [least, most]. Every round has the same figures."""
    results: dict[str, Any] = {}
    ranges: dict[str, Any] = {}
    for key, first in rounds[0].items():
        if isinstance(first, Mapping):
            results[key], ranges[key] = summarise([each[key] for each in rounds])  # type: ignore[misc]
        else:
            values = [float(each[key]) for each in rounds]  # type: ignore[arg-type]
            results[key] = _rounded(median(values))
            ranges[key] = [_rounded(min(values)), _rounded(max(values))]
    return results, ranges


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does: children killed, files removed."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be caught
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise QvlError(f"ended by {signal.Signals(number).name}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
