"""Runs of the pipeline on a short sample with a cache folder of their own, and what they said."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from qvl_cli import indexing, pipeline
from qvl_cli.align import Aligner
from qvl_cli.answer import Answer
from qvl_cli.config import load_config
from qvl_cli.model.load import LoadedModel
from qvl_cli.registry import ModelSpec
from qvl_cli.request import Request, make_request

SAMPLES = Path(__file__).resolve().parents[1] / "sample_media"
CLIP = SAMPLES / "shapes-30s.mp4"
UPTO = "18"  # seconds: two whole blocks of eight steps and one of two
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_CAPABILITY_VERSION = 0x20080522


_really_load = pipeline.load
_loaded: dict[tuple[ModelSpec, str, str], tuple[LoadedModel, Aligner]] = {}


def _load(spec: ModelSpec, one: Request) -> tuple[LoadedModel, Aligner]:
    key = (spec, one.dtype, one.aligner)
    if key not in _loaded:
        _loaded[key] = _really_load(spec, one)
    return _loaded[key]


class Stop(BaseException):
    """A run that ends here, as Ctrl-C would end it."""


@dataclass
class Heard:
    """A Listener; raises Stop once `stop_at` steps are watched."""

    stop_at: int | None = None
    notes: list[str] = field(default_factory=list)
    watched: list[int] = field(default_factory=list)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def progress(self, stage: str, done: float, total: float) -> None:
        if stage == "watching":
            self.watched.append(int(done))
            if self.stop_at is not None and done >= self.stop_at:
                raise Stop

    def text(self, piece: str, thinking: bool = False) -> None: ...

    def said(self, words: str) -> bool:
        return any(words in note for note in self.notes)


def request(root: Path, task: str, query: str = "", **settings: object) -> Request:
    """A request as a command would make it; nothing of the machine's own settings reaches it."""
    path, patience = settings.pop("path", CLIP), settings.pop("patience", 60.0)
    flags = {"model": "tiny", **settings}
    config = load_config(flags, {"QVL_CACHE_DIR": str(root), "XDG_CONFIG_HOME": str(SAMPLES)}, SAMPLES)
    made = make_request(task, str(path), query, config, end=UPTO)
    return replace(made, index=made.index and replace(made.index, patience=patience))


def run(one: Request, heard: Heard | None) -> Answer:
    """As the command does it, but for loading a model that is loaded already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load", _load)
        return pipeline.run(one, heard or Heard())


def ask(root: Path, heard: Heard | None = None, **settings: object) -> Answer:
    return run(request(root, "ask", "What shape is purple?", **settings), heard)


def locate(root: Path, heard: Heard | None = None, **settings: object) -> Answer:
    return run(request(root, "locate", "a purple cross appears", **settings), heard)


def index(root: Path, heard: Heard | None = None, **settings: object) -> indexing.IndexReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load", _load)
        return indexing.index(request(root, "index", **settings), heard or Heard())


def said(answer: Answer) -> dict[str, Any]:
    """All of an answer but what it cost."""
    document: dict[str, Any] = json.loads(json.dumps(answer.to_dict()))
    del document["usage"]
    return document


def stored(root: Path) -> dict[str, bytes]:
    """Every file of every index, by its path in the cache."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.glob("?" * 32 + "/*"))
        if path.is_file()
    }


@contextmanager
def limited(folder: Path, mode: int) -> Iterator[None]:
    """`folder` with these rights, for root too: this thread lays its powers down."""
    before = folder.stat().st_mode
    folder.chmod(mode)
    try:
        with _without_override():
            yield
    finally:
        folder.chmod(before)


@contextmanager
def disk_full_beyond(size: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _without_override() -> Iterator[None]:
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    held = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0
    less = (ctypes.c_uint32 * 6)(*held)
    less[0] &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)  # the effective set's lower half
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0
