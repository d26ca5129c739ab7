"""Index: one run's hold on what is saved of its video."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from qvl_cli.budget import held_tokens
from qvl_cli.cache import exact
from qvl_cli.cache.beside import read_beside, write_beside
from qvl_cli.cache.library import Library, discard
from qvl_cli.cache.manifest import IndexKey, Manifest, plan_digest
from qvl_cli.cache.place import origin
from qvl_cli.closing import Closes
from qvl_cli.errors import IndexUnusable, OverBudget, QvlError
from qvl_cli.index.opening import Note, open_locked
from qvl_cli.index.settings import IndexSettings
from qvl_cli.index.writer import Writer
from qvl_cli.media.known import InfoRecord
from qvl_cli.registry import vector_bytes
from qvl_cli.registry.spec import DTYPES
from qvl_cli.timeline import TimeSpan, merge

if TYPE_CHECKING:
    from pathlib import Path

    from qvl_cli.cache import Block
    from qvl_cli.media.info import MediaInfo
    from qvl_cli.registry import ModelSpec
    from qvl_cli.sampling import SamplePlan, Step
    from qvl_cli.stream import StreamSession

T = TypeVar("T")

_DISK_SHARE = 10  # a question's own index may take a tenth of the free disk
_STEP_BYTES = 1_000  # of a step's exact times, positions and lengths


class NoIndex(Closes):
    """The same where nothing is found and nothing saved."""

    def __init__(self, plan: SamplePlan, state: str = "off") -> None:
        self._plan, self.state = plan, state

    def close(self) -> None: ...

    def prepare(self, spec: ModelSpec, path: str, info: MediaInfo) -> None: ...

    def blocks(self, lost: list[TimeSpan]) -> list[Block]:
        return []

    def remaining(self, session: StreamSession) -> tuple[Step, ...]:
        return self._plan.steps

    def save(self, *_: object) -> None: ...

    def finish(self, session: StreamSession, lost: Sequence[TimeSpan]) -> None: ...

    def recall(self, kind: type[T], name: str) -> T | None:
        return None

    def keep(self, name: str, value: object) -> None: ...


class Index(Closes):
    """A context manager, used in this order: `prepare`, `blocks`, `save` while watching, `finish`.

    state: what became of it, for `Usage.index`: `used`, `resumed`, `saved` or `unsaved`.
    """

    def __init__(self, key: IndexKey, plan: SamplePlan, settings: IndexSettings, note: Note) -> None:
        """Waits for another process that is watching the same video. Raises QvlError where saving is insisted
        on and impossible.
        """
        self._key, self._plan, self._settings, self._note = key, plan, settings, note
        self._library = Library(settings.root)
        self._writer: Writer | None = None
        self._digest = plan_digest(plan)
        opened = open_locked(self._library, key.name, self._digest, settings.patience, note)
        self._lock, self._writable = opened.lock, opened.writable
        self._held = opened.manifest
        self.state = "unsaved"
        if opened.lock is None:
            self._cannot_save(opened.why)

    @property
    def name(self) -> str:
        return self._key.name

    @property
    def folder(self) -> Path:
        return self._library.folder(self.name)

    @property
    def manifest(self) -> Manifest | None:
        """What is saved now."""
        return self._writer.manifest if self._writer is not None else self._held

    @property
    def complete(self) -> bool:
        """Nothing is left to watch."""
        return self._held is not None and self._held.complete

    def prepare(self, spec: ModelSpec, path: str, info: MediaInfo) -> None:
        """Decide whether the plan will be saved, say so with its size, and make room for it.

        Raises OverBudget where saving is insisted on and there is no room.
        """
        if self.complete or not self._writable:
            return
        number = dict(DTYPES.values())[self._key.dtype]
        record = InfoRecord.of(info)
        size = index_bytes(self._plan, spec, number) + (2 * len(exact.dump(record)) if record else 0)
        try:
            if not self._fits(size):
                return
        except OSError as error:
            self._cannot_save(str(error.strerror))
            return
        self._make_room(size)
        manifest = Manifest(self._key, origin(path), info.duration, spec.name, self._digest)
        if self._held is not None:
            manifest = replace(manifest, blocks=self._held.blocks, lost=self._held.lost)
        self._writer = Writer(self.folder, manifest, self._plan, record)

    def blocks(self, lost: list[TimeSpan]) -> list[Block]:
        """What is saved, for a session to begin with; `lost` gets what could not be decoded then."""
        from qvl_cli.cache.saved import read_blocks

        held = self._held
        if held is None or not held.blocks:
            return []
        lost[:] = merge([*lost, *held.lost])
        if self.complete:
            self.state, using = "used", "using the saved index"
        else:
            self.state, using = "resumed", f"going on after {held.steps} steps of the saved index"
        self._note(f"{using} {self.name[:12]}")
        with contextlib.suppress(OSError):
            os.utime(self.folder)  # see Library.prune
        return read_blocks(self.folder, held)

    def remaining(self, session: StreamSession) -> tuple[Step, ...]:
        """The steps of the plan that `session` has still to watch."""
        if self.complete:
            return ()
        steps = self._plan.steps
        if not session.steps:
            return steps
        # Found by its times: a step that was watched may carry the subtitles of a lost one.
        last = session.steps[-1]
        return steps[[(step.t0, step.t1) for step in steps].index((last.t0, last.t1)) + 1 :]

    def save(self, session: StreamSession, lost: Sequence[TimeSpan]) -> None:
        """Save the blocks watched since the last call."""
        self._write(session, lost, complete=False)

    def finish(self, session: StreamSession, lost: Sequence[TimeSpan]) -> None:
        """Everything is watched: save what is left of it, and let others in."""
        self._write(session, lost, complete=True)
        if self._writer is not None and self.state == "unsaved":
            self.state = "saved"
        self.close()

    def recall(self, kind: type[T], name: str) -> T | None:
        """What `keep` has put beside the blocks under this name; None where there is nothing, or damage, and
        that is noted."""
        if not self.complete:
            return None
        try:
            return read_beside(self.folder, name, kind)
        except IndexUnusable as error:
            self._note(f"{error.fact}: it is made again")
            return None

    def keep(self, name: str, value: object) -> None:
        """Put a small document beside the blocks, once all of them are saved. Where another process is using
        the index, or nothing can be written, the next run makes it again, and that is noted."""
        held = self.manifest
        if held is None or not held.complete:
            return
        try:
            with contextlib.ExitStack() as stack:
                lock = self._library.lock(self.name, exclusive=True)
                if lock is None:
                    why = "another qvl is using the index"
                else:
                    stack.enter_context(lock)
                    write_beside(self.folder, name, value)
                    return
        except OSError as error:
            why = str(error.strerror)
        self._note(f"{name} is not kept for later: {why}")

    def _fits(self, size: int) -> bool:
        """Whether there is room for so many bytes, announced. Raises OverBudget and OSError."""
        cap, root = self._settings.cap, self._settings.root
        kept = sum(block.bytes for block in self._held.blocks) if self._held else 0
        free = self._library.free_bytes()
        if self._settings.insist:
            if size > cap:
                raise OverBudget(
                    f"the index takes up to {mebibytes(size)} and the cache cap is {mebibytes(cap)}",
                    f"give --cache-cap {mebibytes(size, '')}, or lower --max-tokens",
                )
            if size - kept > free:
                raise OverBudget(
                    f"the index takes {mebibytes(size - kept)} more and {mebibytes(free)} are free in {root}",
                    "free some space, set QVL_CACHE_DIR, or lower --max-tokens",
                )
        elif size > cap or size - kept > free // _DISK_SHARE:
            limit = f"the cache cap ({mebibytes(cap)})" if size > cap else "a tenth of the free disk"
            over = f"an index of up to {mebibytes(size)} is over {limit}"
            self._note(f"{over}: nothing is saved for later questions")
            return False
        self._note(f"saving an index of at most {mebibytes(size)} in {root}")
        return True

    def _make_room(self, size: int) -> None:
        """For so many bytes under the cap, if others can be removed."""
        try:
            for gone in self._library.prune(self._settings.cap - size, self.name):
                self._note(f"removed the saved index {gone.name} to make room in the cache")
        except QvlError as error:
            self._note(f"the cache may outgrow its cap: {error.fact}")

    def _write(self, session: StreamSession, lost: Sequence[TimeSpan], complete: bool) -> None:
        if self._writer is None:
            return
        try:
            self._writer.save(session, lost, complete)
        except OSError as error:
            held = len(self._writer.manifest.blocks)
            self._writer = None
            if not self._settings.insist:  # an unfinished index that nobody asked for gives its room back
                with contextlib.suppress(OSError):
                    discard(self.folder)
            self._cannot_save(str(error.strerror), f"run again with more room: it goes on after block {held}")

    def _cannot_save(self, why: str, remedy: str = "QVL_CACHE_DIR names another place") -> None:
        self.state = "unsaved"
        if self._settings.insist:
            raise QvlError(f"no index can be saved: {why}", remedy)
        self._note(f"nothing is saved for later questions: {why}")

    def close(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            if self._writable and not self.folder.exists():
                with contextlib.suppress(OSError):
                    self._lock.path.unlink()
            self._lock.close()
            self._lock = None


def index_bytes(plan: SamplePlan, spec: ModelSpec, dtype_bytes: int) -> int:
    """What an index of `plan` takes on disk, rounded up."""
    steps = len(plan.steps)
    each = steps * (vector_bytes(spec, plan.width, plan.height) + _STEP_BYTES)
    # Subtitles are written twice, in the plan and in their block; their tokens have int32 positions.
    said = 2 * sum(len(exact.dump(step.cues)) for step in plan.steps if step.cues)
    said += 3 * 4 * sum(plan.text_tokens)
    return held_tokens(plan, steps) * spec.kv_bytes_per_token(dtype_bytes) + each + said


def mebibytes(size: int, space: str = " ") -> str:
    return f"{-(-size // 2**20):{',' if space else ''}}{space}MiB"
