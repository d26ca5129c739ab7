"""What a saved index says of itself: the key that names it, its plan, and the whole blocks it holds.

A folder per index:

    manifest.json        names whole blocks only; replaced atomically, checksummed over itself
    plan.json            the SamplePlan, written once
    000000.safetensors   a block; never changed after the manifest has named it
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from threading import Thread

from xxhash import xxh3_128

from qvl_cli import __version__
from qvl_cli.cache import exact
from qvl_cli.cache.place import write_whole
from qvl_cli.errors import IndexUnusable
from qvl_cli.sampling import SamplePlan
from qvl_cli.timeline import TimeSpan

FORMAT = 3  # of the folder and its files; raised whenever an older qvl would misread them
MANIFEST, PLAN = "manifest.json", "plan.json"
_READ_AHEAD = 1 << 30  # bytes: more might push out of memory what was fetched first
_FETCHED_AT_ONCE = 1 << 17  # bytes: of a longer stretch Linux takes no more than the disk reads ahead


@dataclass(frozen=True, slots=True)
class IndexKey:
    """Everything that decides what watching gives. Two runs with equal keys watch the same bits.

    video: sha256 of the file. weights: `registry.weights_digest`. sampling, memory: `settings_text` of what
    was asked for and of what was kept. subtitles: digest of the cues that are read, empty where none are.
    version: of the qvl that planned and watched.
    """

    video: str
    weights: str
    sampling: str
    memory: str
    dtype: str
    subtitles: str = ""
    version: str = __version__
    format: int = FORMAT

    @property
    def name(self) -> str:
        """32 hex digits: the folder of the index."""
        return hashlib.sha256(exact.dump(self)).hexdigest()[:32]

    def plans_like(self, other: IndexKey) -> bool:
        """Whether the same plan belongs to both: how much is kept, and in which dtype, is no part of it."""
        return other == replace(self, memory=other.memory, dtype=other.dtype)

    def tells_of(self, video: str) -> bool:
        """Whether what this qvl found out about that file lies with it."""
        return self.video == video and self.version == __version__ and self.format == FORMAT


def settings_text(settings: object) -> str:
    """A frozen dataclass of settings as a part of a key: canonical and exact."""
    return exact.dump(settings).decode()


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One block file: its size and checksum, and the steps in it.

    xxh128: XXH3 of the file, 128 bits, hex. It tells damage as surely as sha256, at nine times the speed; a
    checksum beside what it is of is no defence against somebody who changes both.
    """

    file: str
    bytes: int
    xxh128: str
    steps: int


def stored_block(file: str, data: bytes, steps: int) -> StoredBlock:
    """data: what is written to the file."""
    return StoredBlock(file, len(data), xxh3_128(data).hexdigest(), steps)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds.

    path, duration, model: what a listing shows. plan: sha256 of plan.json. lost: spans up to
    the last block whose frames could not be decoded. complete: the plan was watched to its end.
    """

    key: IndexKey
    path: str
    duration: Fraction
    model: str
    plan: str
    blocks: tuple[StoredBlock, ...] = ()
    lost: tuple[TimeSpan, ...] = ()
    complete: bool = False

    @property
    def steps(self) -> int:
        return sum(block.steps for block in self.blocks)


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The manifest file: format first, so that a later qvl may change everything else."""

    format: int
    sha256: str
    manifest: Manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the folder's manifest. Raises OSError."""
    content = exact.dump(manifest)
    digest = hashlib.sha256(content).hexdigest().encode()
    # `exact.dump` of a _Sealed, but the manifest, which grows with the video, is put into words only once.
    write_whole(folder / MANIFEST, b'{"format":%d,"manifest":%s,"sha256":"%s"}' % (FORMAT, content, digest))


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest; None where it has none. Raises IndexUnusable where it is damaged or of another
    format."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IndexUnusable(f"{path} cannot be read: {error.strerror}") from error
    try:
        stated = json.loads(data)["format"]
        if isinstance(stated, int) and stated > FORMAT:
            raise IndexUnusable(
                f"{folder} was written by a newer qvl (format {stated}, this one knows {FORMAT})", newer=True
            )
        if isinstance(stated, int) and stated < FORMAT:
            raise IndexUnusable(
                f"{folder} was written by an older qvl (format {stated}, this one knows {FORMAT})"
            )
        return _unsealed(data)
    except (ValueError, KeyError, TypeError) as error:
        raise IndexUnusable(f"{path} is damaged ({_short(error)})") from error


@lru_cache(maxsize=8)  # a run reads one manifest several times, and of hours it is long
def _unsealed(data: bytes) -> Manifest:
    """Raises ValueError for what is no whole manifest of this format."""
    sealed = exact.load(_Sealed, data)
    if hashlib.sha256(exact.dump(sealed.manifest)).hexdigest() != sealed.sha256:
        raise ValueError("its checksum is wrong")
    return sealed.manifest


def plan_digest(plan: SamplePlan) -> str:
    """sha256 of what plan.json holds."""
    return hashlib.sha256(exact.dump(plan)).hexdigest()


def write_plan(folder: Path, plan: SamplePlan) -> None:
    """Raises OSError."""
    write_whole(folder / PLAN, exact.dump(plan))


def check_plan(folder: Path, manifest: Manifest) -> bytes:
    """The bytes of plan.json. Raises IndexUnusable where they are not those that were written."""
    path = folder / PLAN
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IndexUnusable(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != manifest.plan:
        raise IndexUnusable(f"{path} is damaged: its checksum is wrong")
    return data


def read_plan(folder: Path, manifest: Manifest) -> SamplePlan:
    """The plan that was watched. Raises IndexUnusable where it is missing or damaged."""
    try:
        return exact.load(SamplePlan, check_plan(folder, manifest))
    except ValueError as error:
        raise IndexUnusable(f"{folder / PLAN} is no plan ({_short(error)})") from error


def read_ahead(folder: Path, manifest: Manifest) -> None:
    """Have the kernel fetch the block files while something else is computed: they are about to be read.
    Returns at once, and does nothing where it cannot."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        with contextlib.suppress(RuntimeError):  # no more threads
            Thread(target=_fetch, args=(folder, manifest), name="qvl-ahead", daemon=True).start()


def _fetch(folder: Path, manifest: Manifest) -> None:
    fetched = 0
    for stored in manifest.blocks:
        fetched += stored.bytes
        if fetched > _READ_AHEAD:
            return
        with contextlib.suppress(OSError), (folder / stored.file).open("rb") as file:
            for place in range(0, stored.bytes, _FETCHED_AT_ONCE):
                os.posix_fadvise(file.fileno(), place, _FETCHED_AT_ONCE, os.POSIX_FADV_WILLNEED)


def check_block(folder: Path, stored: StoredBlock) -> None:
    """Compare a block file with what the manifest says of it, byte for byte. Raises IndexUnusable."""
    path = folder / stored.file
    try:
        size = path.stat().st_size
        if size != stored.bytes:
            raise IndexUnusable(f"{path} is damaged: {size:,} bytes instead of {stored.bytes:,}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, xxh3_128).hexdigest()
    except OSError as error:
        raise IndexUnusable(f"{path} cannot be read: {error.strerror}") from error
    if digest != stored.xxh128:
        raise IndexUnusable(f"{path} is damaged: its checksum is wrong")


def _short(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)[:100] or type(error).__name__
