"""Session -> stored blocks, in the folder of an index that is locked for this process alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvl_cli.cache.beside import BESIDE, MEDIA, write_beside
from qvl_cli.cache.manifest import MANIFEST, PLAN, Manifest, StoredBlock, write_manifest, write_plan
from qvl_cli.cache.place import make_folder
from qvl_cli.media.known import InfoRecord
from qvl_cli.sampling import SamplePlan
from qvl_cli.timeline import TimeSpan

if TYPE_CHECKING:
    from qvl_cli.stream import StreamSession


class Writer:
    """Nothing is written before the first block is there to be written."""

    def __init__(
        self, folder: Path, manifest: Manifest, plan: SamplePlan, media: InfoRecord | None = None
    ) -> None:
        """manifest: what the folder already holds of `plan` and shall keep. media: what is known of the
        file."""
        self.manifest = manifest
        self._folder = folder
        self._plan = plan
        self._media = media
        self._begun = False

    def save(self, session: StreamSession, lost: Sequence[TimeSpan], complete: bool) -> None:
        """Store the blocks that `session` has watched since the last call, the unfinished last one too where
        the video is `complete`. Raises OSError.

        Only where a block and a chunk end together, or at the end: a resumed run then cuts the same chunks
        as one that was never stopped, and computes the same bits.
        """
        size = session.model.spec.block_steps
        if not complete and len(session.steps) % size:
            return
        if not self._begun:
            self._begin()
        kept = self.manifest.blocks
        blocks = self._new(session, complete)
        upto = session.steps[-1].interval.end
        self.manifest = replace(
            self.manifest,
            blocks=(*kept, *blocks),
            lost=tuple(span for span in lost if complete or span.start < upto),
            complete=complete,
        )
        write_manifest(self._folder, self.manifest)

    def _new(self, session: StreamSession, complete: bool) -> list[StoredBlock]:
        from qvl_cli.cache.saved import write_block

        first = len(self.manifest.blocks)
        blocks = list(session.blocks(first, tail=complete))
        stored = [write_block(self._folder, number, block) for number, block in enumerate(blocks, first)]
        session.settle(blocks)
        return stored

    def _begin(self) -> None:
        """A folder with the plan and nothing that the manifest does not name."""
        make_folder(self._folder)
        write_plan(self._folder, self._plan)
        if self._media is not None:
            write_beside(self._folder, MEDIA, self._media)
        write_manifest(self._folder, self.manifest)
        named = {MANIFEST, PLAN, *BESIDE, *(block.file for block in self.manifest.blocks)}
        for path in self._folder.iterdir():
            if path.name not in named:
                path.unlink()
        self._begun = True
