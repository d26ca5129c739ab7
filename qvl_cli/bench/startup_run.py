"""The parts of the `startup` benchmark that need the model's world, each in a process of its own.

python -m qvl_cli.bench.startup_run film CLIP
python -m qvl_cli.bench.startup_run ask CLIP
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from qvl_cli.bench.first_word import FirstWord
from qvl_cli.errors import QvlError

_SECONDS = 30.0


def film_clip(path: str) -> None:
    from qvl_cli.tiny.film import film
    from qvl_cli.tiny.scripts import write_script
    from qvl_cli.tiny.world import TRAINING_SEEDS

    film(write_script(TRAINING_SEEDS, _SECONDS), Path(path))


def ask(path: str) -> None:
    """What `qvl ask` does with an empty cache and without the user's settings: the video is hashed, watched,
    and its index saved. Prints when the first word came, by `time.monotonic` and in processor seconds of
    this process."""
    from qvl_cli.config import load_config
    from qvl_cli.pipeline import run
    from qvl_cli.request import make_request

    first = FirstWord()
    with tempfile.TemporaryDirectory(prefix="qvl-bench-cache-") as folder:
        settings = {"model": "tiny", "device": "cpu", "cache_dir": str(Path(folder, "cache"))}
        config = load_config(settings, {"XDG_CONFIG_HOME": folder}, Path(folder))
        answer = run(make_request("ask", path, "What appears?", config), first)
    if not first.wall or answer.usage.index != "saved":
        raise QvlError(f"the model answered {answer.text!r}, its index was {answer.usage.index}")
    figures = {"first_token_at": first.wall, "first_token_cpu_s": first.processor}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    {"film": film_clip, "ask": ask}[sys.argv[1]](sys.argv[2])
