"""The parts of the `startup` benchmark that need the model's world, each in a process of its own.

python -m qvl_cli.bench.startup_run film CLIP
python -m qvl_cli.bench.startup_run ask CLIP
"""

from __future__ import annotations

import json
import sys
import time

from qvl_cli.bench.first_word import FirstWord
from qvl_cli.errors import QvlError

_BEGAN = time.perf_counter()  # before anything heavy is imported
_SECONDS = 30.0


def film_clip(path: str) -> None:
    from pathlib import Path

    from qvl_cli.tiny.film import film
    from qvl_cli.tiny.scripts import write_script
    from qvl_cli.tiny.world import TRAINING_SEEDS

    film(write_script(TRAINING_SEEDS, _SECONDS), Path(path))


def ask(path: str) -> None:
    """As `qvl ask` does it, to the end of the answer; prints when the first word came."""
    from qvl_cli.pipeline import run
    from qvl_cli.request import Request
    from qvl_cli.sampling import DETAIL

    first = FirstWord()
    run(Request("ask", path, "What appears?", DETAIL["default"], model="tiny", device="cpu"), first)
    if not first.wall:
        raise QvlError("the model answered nothing")
    figures = {"first_token_s": first.wall - _BEGAN, "first_token_cpu_s": first.processor}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    {"film": film_clip, "ask": ask}[sys.argv[1]](sys.argv[2])
