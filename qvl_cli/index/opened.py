"""From what a run is about to the index it uses: its key, the plan made before, and the index itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvl_cli import registry
from qvl_cli.cache.library import Library
from qvl_cli.cache.manifest import IndexKey, read_ahead, read_manifest, settings_text
from qvl_cli.digests import FileDigests
from qvl_cli.errors import IndexUnusable, QvlError, UsageError
from qvl_cli.index.captions import CaptionIndex
from qvl_cli.index.index import Index, NoIndex
from qvl_cli.index.opening import Note
from qvl_cli.index.settings import IndexSettings
from qvl_cli.media.known import InfoRecord, Known
from qvl_cli.memory import MemorySettings
from qvl_cli.registry import ModelSpec
from qvl_cli.sampling import SamplePlan, SamplingSettings

if TYPE_CHECKING:
    from qvl_cli.media.info import Source


@dataclass(frozen=True, slots=True)
class Subject:
    """Which bits are watched: the digest of a video, that of the weights that watch (and of how their
    rotation is changed), sampled how, with which subtitles (a digest; empty: none)."""

    video: str
    weights: str
    dtype: str
    sampling: SamplingSettings
    subtitles: str = ""

    @staticmethod
    def of(
        video: str,
        spec: ModelSpec,
        dtype: object,
        sampling: SamplingSettings,
        settings: IndexSettings | None,
        subtitles: str = "",
    ) -> Subject | None:
        """None where no index is wanted: naming all of the weights takes time."""
        if settings is None:
            return None
        weights = registry.weights_digest(spec.folder, settings.root / "weights.json")
        if spec.rope.text:  # other rotations make other keys of the same weights
            weights = hashlib.sha256(f"{weights} {spec.rope.text}".encode()).hexdigest()
        return Subject(video, weights, str(dtype).removeprefix("torch."), sampling, subtitles)

    def key(self, memory: MemorySettings) -> IndexKey:
        """memory: what the plan made of `auto`."""
        if memory.policy == "full":
            memory = MemorySettings("full")  # windows and choices mean nothing to it
        return IndexKey(
            video=self.video,
            weights=self.weights,
            sampling=settings_text(self.sampling),
            memory=settings_text(memory),
            dtype=self.dtype,
            subtitles=self.subtitles,
        )


def video_digest(video: Source) -> str:
    """sha256 of what is watched, hex: of the file's bytes, and of the times of pictures that carry none."""
    sha256, info = video.content_hash(), video.info
    if info.container != "pictures":
        return sha256
    return hashlib.sha256(f"{sha256} {info.average_rate} {info.alone}".encode()).hexdigest()


class KnownMedia:
    """What the cache folder says of files: their digests, and what saved indexes of them tell. These need not
    be read and examined again."""

    def __init__(self, root: Path) -> None:
        self._library, self._digests = Library(root), FileDigests(root / "videos.json")

    def digest(self, path: Path) -> str:
        found = self._digests.digest(path)
        self._digests.keep()
        return found

    def info(self, sha256: str) -> InfoRecord | None:
        try:
            return self._library.media_of(sha256)
        except QvlError:  # no such folder for us: opening the index will say so
            return None


def known_media(settings: IndexSettings | None) -> Known | None:
    """None where no index is wanted."""
    return None if settings is None else KnownMedia(settings.root)


def saved_plan(subject: Subject | None, settings: IndexSettings | None) -> SamplePlan | None:
    """The plan by which the same was watched before: the video need not be scanned again for it."""
    if subject is None or settings is None:
        return None
    try:
        return Library(settings.root).plan_for(subject.key(MemorySettings()))
    except QvlError:  # no such folder for us: opening the index will say so
        return None


def fetch_saved(subject: Subject | None, memory: MemorySettings, settings: IndexSettings | None) -> bool:
    """Whether all of the video is saved: it is then fetched from the disk while something else is done.
    Damage is for `open_index` to tell."""
    if subject is None or settings is None or unsavable(memory):
        return False
    folder = Library(settings.root).folder(subject.key(memory).name)
    try:
        manifest = read_manifest(folder)
    except IndexUnusable:
        return False
    if manifest is None or not manifest.complete:
        return False
    read_ahead(folder, manifest)
    return True


def open_index(
    subject: Subject | None,
    plan: SamplePlan,
    memory: MemorySettings,
    settings: IndexSettings | None,
    note: Note,
    summary: str | None = None,
) -> Index | NoIndex:
    """What is saved of this subject; locked. settings None: `--no-index`. summary: the key of the summary
    that is wanted, if one is (`tasks.told`): it is saved even where the video is not.

    Raises QvlError where saving is insisted on and impossible.
    """
    if subject is None or settings is None:
        return NoIndex(plan)
    if why := unsavable(memory):
        if settings.insist:
            raise UsageError(f"no index can be saved: {why}", "leave the flag out")
        if summary is not None and memory.policy == "window" and memory.kv == "none":
            return CaptionIndex(subject.key(memory), plan, settings, note, summary)
        note(f"nothing is saved for later questions: {why}")
        return NoIndex(plan, "unsaved")
    return Index(subject.key(memory), plan, settings, note)


def unsavable(memory: MemorySettings) -> str | None:
    """Why what is watched with this memory cannot be taken up by another run."""
    if memory.kv != "none":
        return f"blocks of --kv {memory.kv} are not stored"
    if memory.policy == "window":
        return "--memory window keeps no video"
    return None
