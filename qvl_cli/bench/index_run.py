"""The parts of the `index` benchmark, each in a process of its own.

    python -m qvl_cli.bench.index_run film CLIP SECONDS
    python -m qvl_cli.bench.index_run first|second CLIP CACHE
    python -m qvl_cli.bench.index_run kill CLIP CACHE KILLS SEED

Seconds are those of `qvl ask` from the opened file to the end of its answer, loading the model included and
starting Python and torch not; `first_token_s` leaves loading the model out too. The video and its index are
read from the disk where the kernel can be told to forget them (`cold`); code and weights are warm.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from qvl_cli import indexing, pipeline
from qvl_cli.bench.first_word import FirstWord
from qvl_cli.bench.page_cache import forget, unforgettable
from qvl_cli.config import load_config
from qvl_cli.digests import SETTLED
from qvl_cli.errors import QvlError
from qvl_cli.index import IndexSettings
from qvl_cli.request import Request, make_request
from qvl_cli.sampling import DETAIL

_HEAVY = (
    "model.load", "model.world_gate", "cache.policies", "cache.saved", "cache.spill", "align.head",
    "tasks.ask", "tasks.sections",
)  # fmt: skip
_TINY = {"model": "tiny", "device": "cpu"}
# Of one kind: what differs between the two is watching, not the length of an answer.
_QUESTIONS = {"first": "What shape is red?", "second": "What shape is blue?"}


def film_clip(path: str, seconds: str) -> dict[str, Any]:
    from qvl_cli.tiny.film import film
    from qvl_cli.tiny.scripts import write_script
    from qvl_cli.tiny.world import TRAINING_SEEDS

    film(write_script(TRAINING_SEEDS + int(seconds), float(seconds)), Path(path))
    return {}


def ask(which: str, clip: str, cache: str) -> dict[str, Any]:
    """Of a video and an index that the kernel was told to forget. `first` begins with an empty cache and a
    video that nobody has just written."""
    _import_all()
    root = Path(cache)
    if which == "first":
        shutil.rmtree(root, ignore_errors=True)
        time.sleep(max(0.0, Path(clip).stat().st_ctime + SETTLED + 1 - time.time()))
    forget([Path(clip), *(path for path in root.rglob("*") if path.is_file())])
    loading: list[tuple[float, float]] = []
    load = pipeline.load

    def timed(*arguments: Any) -> Any:
        began = time.monotonic(), time.process_time()
        model = load(*arguments)
        loading.append((time.monotonic() - began[0], time.process_time() - began[1]))
        return model

    pipeline.load = timed  # type: ignore[assignment]
    first = FirstWord()
    request = Request(
        "ask",
        clip,
        _QUESTIONS[which],
        DETAIL["default"],
        model="tiny",
        device="cpu",
        index=IndexSettings(root),
    )
    began, used = time.monotonic(), time.process_time()
    answer = pipeline.run(request, first)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - used
    expected = "saved" if which == "first" else "used"
    if answer.usage.index != expected or not first.wall:
        raise QvlError(f"the {which} question's index was {answer.usage.index}, its text {answer.text!r}")
    ((load_s, load_cpu_s),) = loading
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "first_token_s": first.wall - began - load_s,
        "first_token_cpu_s": first.processor - used - load_cpu_s,
        "cold": unforgettable(Path(clip).parent) is None,
        "index_bytes": sum(path.stat().st_size for path in root.rglob("*.safetensors")),
    }


def kill(clip: str, cache: str, kills: str, seed: str) -> dict[str, Any]:
    """Index in one go; then, at each random moment within the time that took, index, SIGKILL, index again,
    and compare every byte of what is saved."""
    _import_all()  # so that forked children begin with watching
    root, chance = Path(cache), random.Random(int(seed))
    began = time.monotonic()
    _finish(_start(clip, root / "whole"))
    whole_s = time.monotonic() - began
    whole = _saved(root / "whole")
    if not whole:
        raise QvlError("nothing was saved")
    equal = with_blocks = done = 0
    while done < int(kills):
        folder, moment = root / str(done), chance.uniform(0, whole_s)
        child = _start(clip, folder)
        time.sleep(moment)
        if os.waitpid(child, os.WNOHANG)[0]:  # it was faster this time, and there was nothing to kill
            whole_s = moment
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            with_blocks += any(folder.rglob("*.safetensors"))
            _finish(_start(clip, folder))
            equal += _saved(folder) == whole
            done += 1
        shutil.rmtree(folder, ignore_errors=True)
    return {"equal": equal, "kills": done, "with_blocks": with_blocks}


def _import_all() -> None:
    """What a run would import on its way: the start of a process, not a part of watching or answering."""
    for module in _HEAVY:
        import_module(f"qvl_cli.{module}")


def _start(clip: str, folder: Path) -> int:
    """What `qvl index CLIP` does, in a forked child: without starting Python and torch each time."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        request = make_request("index", clip, "", load_config({**_TINY, "cache_dir": str(folder)}))
        code = indexing.index(request, FirstWord()).exit_code
    finally:
        os._exit(code)


def _finish(child: int) -> None:
    _, status = os.waitpid(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise QvlError(f"indexing ended with {code}")


def _saved(folder: Path) -> dict[str, bytes]:
    """Every file of the index, unfinished ones too, by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*") if path.is_file()}


_PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "film": film_clip,
    "first": lambda *rest: ask("first", *rest),
    "second": lambda *rest: ask("second", *rest),
    "kill": kill,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(_PARTS[sys.argv[1]](*sys.argv[2:])) + "\n")
