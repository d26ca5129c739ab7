"""CaptionIndex: what is saved of a summary where the video itself is not, because its blocks are let go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvl_cli.cache.beside import MEDIA, SECTIONS, read_beside, write_beside
from qvl_cli.cache.library import Library
from qvl_cli.cache.manifest import IndexKey, Manifest, plan_digest, write_manifest, write_plan
from qvl_cli.cache.place import make_folder, origin
from qvl_cli.errors import IndexUnusable
from qvl_cli.index.index import NoIndex, T
from qvl_cli.index.opening import Note
from qvl_cli.index.settings import IndexSettings
from qvl_cli.media.known import InfoRecord
from qvl_cli.sampling import SamplePlan, Step
from qvl_cli.timeline import TimeSpan, merge

if TYPE_CHECKING:
    from qvl_cli.cache import Block
    from qvl_cli.media.info import MediaInfo
    from qvl_cli.registry import ModelSpec
    from qvl_cli.stream import StreamSession


@dataclass(frozen=True, slots=True)
class _Told:
    """key: of the summary, see `tasks.told`. content: the summary. steps, lost: what it was written from;
    tokens: vision tokens of these steps that the language model has read."""

    key: str
    content: str
    steps: tuple[Step, ...]
    lost: tuple[TimeSpan, ...]
    tokens: int


class CaptionIndex(NoIndex):
    """Used as `Index` is. What it holds is of use to a summary alone; a question watches again."""

    def __init__(
        self, key: IndexKey, plan: SamplePlan, settings: IndexSettings, note: Note, summary: str
    ) -> None:
        """summary: the key that a summary of this run has."""
        super().__init__(plan, "unsaved")
        self._key, self._summary, self._note = key, summary, note
        self._library = Library(settings.root)
        self._held: _Told | None = None

    @property
    def folder(self) -> Path:
        return self._library.folder(self._key.name)

    def prepare(self, spec: ModelSpec, path: str, info: MediaInfo) -> None:
        """Look for what was told before; remember what a listing shows."""
        self._spec, self._info = spec, info
        self._path = origin(path)
        try:
            held = read_beside(self.folder, SECTIONS, _Told)
        except IndexUnusable as error:
            self._note(f"{error.fact}: watching again")
            return
        if held is not None and held.key == self._summary:
            self._held = held

    def blocks(self, lost: list[TimeSpan]) -> list[Block]:
        """The steps that were watched, as a block with nothing in it."""
        if self._held is None:
            self._note("only the summary will be saved: --memory window keeps no video")
            return []
        self.state = "used"
        lost[:] = merge([*lost, *self._held.lost])
        with contextlib.suppress(OSError):
            os.utime(self.folder)  # see Library.prune
        return [_empty(self._held.steps, self._spec)]

    def remaining(self, session: StreamSession) -> tuple[Step, ...]:
        if self._held is None:
            return super().remaining(session)
        session.told_tokens = self._held.tokens
        return ()

    def finish(self, session: StreamSession, lost: Sequence[TimeSpan]) -> None:
        self._steps, self._lost, self._tokens = session.steps, tuple(lost), session.vision_tokens

    def recall(self, kind: type[T], name: str) -> T | None:
        from qvl_cli.cache import exact

        return exact.load(kind, self._held.content) if self._held is not None else None

    def keep(self, name: str, value: object) -> None:
        """Save a summary under `name`, with all that a listing needs."""
        from qvl_cli.cache import exact

        told = _Told(self._summary, exact.dump(value).decode(), self._steps, self._lost, self._tokens)
        manifest = Manifest(
            self._key,
            self._path,
            self._info.duration,
            self._spec.name,
            plan_digest(self._plan),
            complete=True,
        )
        try:
            make_folder(self._library.root)
            with contextlib.ExitStack() as stack:
                lock = self._library.lock(self._key.name, exclusive=True)
                if lock is None:
                    why = "another qvl is using the index"
                else:
                    stack.enter_context(lock)
                    make_folder(self.folder)
                    write_plan(self.folder, self._plan)
                    if record := InfoRecord.of(self._info):
                        write_beside(self.folder, MEDIA, record)
                    write_beside(self.folder, name, told)
                    write_manifest(self.folder, manifest)
                    self.state = "saved"
                    return
        except OSError as error:
            why = str(error.strerror)
        self._note(f"the summary is not kept for later: {why}")


def _empty(steps: tuple[Step, ...], spec: ModelSpec) -> Block:
    import torch

    from qvl_cli.cache import Block

    keys, values = (torch.empty((spec.layers, spec.kv_heads, 0, n)) for n in (spec.key_dim, spec.head_dim))
    means = torch.zeros((len(steps), spec.hidden_size))
    zeros = (0,) * len(steps)
    positions = torch.empty((3, 0), dtype=torch.int32)
    return Block(0, steps, zeros, zeros, zeros, keys, values, positions, means[:, None], means)
