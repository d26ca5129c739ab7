"""How soon a command answers that needs no model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from qvl_cli.bench.row import Bench, Figures, Round, Settings, Variant

_QVL = (sys.executable, "-P", "-c", "import sys; from qvl_cli.cli.app import main; sys.exit(main())")


def _variants(_settings: Settings, _folder: Path) -> Sequence[Variant]:
    return (
        Variant("python", (sys.executable, "-P", "-c", "")),
        Variant("help", (*_QVL, "--help")),
        Variant("version", (*_QVL, "version")),
    )


def _figures(runs: Round) -> Figures:
    return {"help_s": runs["help"].wall_s, "version_s": runs["version"].wall_s}


BENCH = Bench(
    name="startup",
    measures="seconds until `qvl --help` and `qvl version` have answered, beside an empty interpreter",
    variants=_variants,
    figures=_figures,
    repeats=11,
)
