"""Rounds of variants -> medians, ranges, and the document they are published as."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from qvl_cli.bench.process import MEMORY, measure
from qvl_cli.bench.row import Bench, Figures, Round, Run, Settings, Variant
from qvl_cli.errors import UsageError
from qvl_cli.evals.document import document

Progress = Callable[[str, int, int], None]  # variant, runs done, runs in all


def run(
    bench: Bench, settings: Settings, repeats: int | None = None, progress: Progress | None = None
) -> Generator[dict[str, Any], None, None]:
    """After every round the benchmark's document of the rounds so far; the last one stands on all of them.

    Every round runs every variant once, in the row's order, each in a fresh process. `results` are medians,
    `ci` ranges over the rounds, null where there is but one; `n` has the `rounds`, and where more are to come
    `rounds_wanted`. Beside the row's own figures stand `wall_s`, `cpu_s`, `peak_mb` (MiB) and, where children
    tell, `device_mb` of each variant. Raises QvlError where a variant or a check of its figures fails.
    """
    count = bench.repeats if repeats is None else repeats
    if count < 1:
        raise UsageError(f"cannot repeat a benchmark {count} times", "repeat it at least once")
    rounds: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="qvl-bench-") as folder:
        variants = bench.variants(settings, Path(folder))
        for done in range(count):
            runs = _round(variants, Path(folder), done, count, progress)
            rounds.append({**bench.figures(runs), **_costs(runs)})
            results, ranges = summarise(rounds)
            n = {"rounds": len(rounds)} | ({"rounds_wanted": count} if len(rounds) < count else {})
            yield document(
                bench.name, results, n, ranges, spread="range", settings=dict(settings), memory=MEMORY
            )


def _round(
    variants: Sequence[Variant], folder: Path, done: int, count: int, progress: Progress | None
) -> dict[str, Run]:
    """done: rounds before this one, of `count`."""
    runs: dict[str, Run] = {}
    for variant in variants:
        if progress:
            progress(variant.name, done * len(variants) + len(runs), count * len(variants))
        runs[variant.name] = measure(variant, folder)
    return runs


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
    """Per figure the median over the rounds, and [least, most]; None instead where there is one round, which
    says nothing about the next. Every round has the same figures."""
    results: dict[str, Any] = {}
    ranges: dict[str, Any] = {}
    for key, first in rounds[0].items():
        if isinstance(first, Mapping):
            results[key], ranges[key] = summarise([each[key] for each in rounds])  # type: ignore[misc]
        else:
            values = [float(each[key]) for each in rounds]  # type: ignore[arg-type]
            results[key] = _rounded(median(values))
            ranges[key] = [_rounded(min(values)), _rounded(max(values))] if len(values) > 1 else None
    return results, ranges


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
