"""What a benchmark is: a row that says what runs, how often, and how figures come out of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qvl_cli.errors import QvlError

Figures = Mapping[str, "float | Mapping[str, float]"]  # key -> number, or variant -> number
Settings = Mapping[str, str]  # flag -> what the user gave, or its default

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of one benchmark: `--name VALUE`. Values are text; the benchmark reads them (UsageError)."""

    name: str
    default: str
    help: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One side of the comparison: a command, run in a fresh process.

    Its last line on stdout may be a JSON object: figures only it can know. `device_bytes` among them is the
    most device memory it held.
    """

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a variant took.

    wall_s, cpu_s: seconds of the whole process, of its children too (cpu_s). peak_bytes: most memory, see
    `process.MEMORY`. report: the JSON object the child ended in, or nothing. began: when it was started, by
    `time.monotonic`, one clock for all processes.
    """

    variant: str
    wall_s: float
    cpu_s: float
    peak_bytes: int
    report: Mapping[str, Any] = field(default_factory=dict)
    began: float = 0.0

    def number(self, key: str) -> float:
        """A figure of the child's own. Raises QvlError where it did not tell."""
        value = self.report.get(key)
        if not isinstance(value, int | float):
            raise QvlError(f"{self.variant} reported no {key!r}")
        return float(value)


Round = Mapping[str, Run]  # one run of every variant, by the variant's name


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark.

    variants: from the settings and a folder that lives until all figures are taken, what to run in turn; made
    once, so files that all runs read are written here. figures: what one round says; the harness takes the
    median and the range over the rounds. repeats: rounds, where the user does not say; fewer than ROUNDS only
    where one of the default size takes minutes, which the command's help says.
    """

    name: str
    measures: str
    variants: Callable[[Settings, Path], Sequence[Variant]]
    figures: Callable[[Round], Figures]
    repeats: int = ROUNDS
    flags: tuple[Flag, ...] = ()


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line of a module under this interpreter; the current folder hides no package (-P)."""
    return (sys.executable, "-P", "-m", module, *arguments)
