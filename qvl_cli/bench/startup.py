"""How soon qvl answers: commands without a model, and the first word about a clip from the embedded one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from qvl_cli.bench.process import measure
from qvl_cli.bench.row import Bench, Figures, Round, Settings, Variant, python_module

_QVL = (sys.executable, "-P", "-c", "import sys; from qvl_cli.cli.app import main; sys.exit(main())")
_RUN = "qvl_cli.bench.startup_run"


def _variants(_settings: Settings, folder: Path) -> Sequence[Variant]:
    clip = str(folder / "drawn.mp4")
    measure(Variant("drawing the clip", python_module(_RUN, "film", clip)), folder)
    return (
        Variant("python", (sys.executable, "-P", "-c", "")),
        Variant("help", (*_QVL, "--help")),
        Variant("version", (*_QVL, "version")),
        Variant("ask", python_module(_RUN, "ask", clip)),
    )


def _figures(runs: Round) -> Figures:
    """All seconds count from the start of the process."""
    return {
        "help_s": runs["help"].wall_s,
        "version_s": runs["version"].wall_s,
        "first_token_s": runs["ask"].number("first_token_at") - runs["ask"].began,
        "first_token_cpu_s": runs["ask"].number("first_token_cpu_s"),
    }


BENCH = Bench(
    name="startup",
    measures="`qvl --help`, `qvl version`, and the first word about a 30-s clip from the embedded model",
    variants=_variants,
    figures=_figures,
)
