"""A model of the hub -> its files in the local hub cache. It stops at once, and goes on where it was.

Listing, small files and the links of the cache are the hub client's own work. Weights go through its transfer
into a file that outlives the run: by itself the client begins anew with every file that a run did not finish.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from qvl_cli.errors import DamagedFile, ModelMissing, QvlError
from qvl_cli.registry.spec import ModelSpec, read_spec

# Called with bytes fetched so far and bytes in all; by the thread that asked for the model.
DownloadProgress = Callable[[int, int], None]
# Called with what is known of a model before its weights are fetched; they are not where it raises.
SpecCheck = Callable[[ModelSpec], None]

NEED_NETWORK = "connect once, or pass the folder of a checkpoint, or use --model tiny"
_WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt")
_SIDE_BY_SIDE = 8  # files at once, as the hub's client has it
_EVERY = 0.2  # seconds between two reports


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a model. size: bytes; blob: what the hub calls its content."""

    name: str
    size: int
    blob: str

    @property
    def is_weights(self) -> bool:
        return self.name.endswith(".safetensors")

    def is_content_of(self, path: Path) -> bool:
        """Whether `path` holds what the hub has: large files are called by their sha256, others by git."""
        with path.open("rb") as file:
            if len(self.blob) == 64:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.blob
            data = file.read()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == self.blob


def repo_folder(hub_id: str) -> Path:
    """Where the local hub cache keeps `hub_id`."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"


def download(hub_id: str, progress: DownloadProgress | None = None, check: SpecCheck | None = None) -> Path:
    """The folder of `hub_id` in the local hub cache, every file of it whole.

    Weights are fetched last: a model that qvl cannot run, `check` refuses or the disk cannot hold is told
    before. A damaged file in the cache is fetched anew, once. Raises ModelMissing, and what `check` raises.
    """
    with _explained(hub_id), _Transfer(hub_id, progress) as transfer:
        renewed: set[Path] = set()
        while True:
            try:
                return transfer.complete(check)
            except DamagedFile as error:
                if error.path in renewed or not transfer.forget(error.path):
                    raise
                renewed.add(error.path)


class _Transfer:
    """The files of one model on their way. Threads fetch them, and nobody ever waits for these: a silent
    connection would hold whoever does for as long as its timeout is."""

    def __init__(self, hub_id: str, progress: DownloadProgress | None) -> None:
        self._hub_id = hub_id
        self._progress = progress
        self._repo = repo_folder(hub_id)
        self._files: list[HubFile] = []
        self._commit = ""
        self._fetched: dict[str, int] = {}
        self._total = 0
        self._stopped = Event()

    def __enter__(self) -> _Transfer:
        self._run([self._list])
        missing = self._missing(self._files)
        self._total = sum(file.size for file in missing)
        self._fetched = {file.name: 0 for file in missing}
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    @property
    def folder(self) -> Path:
        return self._repo / "snapshots" / self._commit

    def complete(self, check: SpecCheck | None) -> Path:
        """Fetch what is missing, small files first. Raises what `check` and `read_spec` do."""
        self._fetch([file for file in self._files if not file.is_weights])
        weights = [file for file in self._files if file.is_weights]
        sizes = {file.name: file.size for file in weights}
        spec = read_spec(self.folder, self._hub_id, promised=sizes)
        if missing := self._missing(weights):
            if check is not None:
                check(spec)
            self._check_disk(missing)
            self._fetch(missing)
        from huggingface_hub import hf_hub_download

        # Asked for by the name of the branch, the cache notes what the branch is.
        self._run([partial(hf_hub_download, self._hub_id, "config.json", cache_dir=self._repo.parent)])
        read_spec(self.folder, self._hub_id)
        return self.folder

    def forget(self, path: Path) -> bool:
        """Take a damaged file out of the cache; False where the hub has it like that."""
        file = next((file for file in self._files if file.name == path.name), None)
        if file is None or file.is_content_of(path):
            return False
        content = path.resolve()
        path.unlink()
        content.unlink(missing_ok=True)
        self._fetched[file.name] = 0
        self._total += file.size
        return True

    def _list(self) -> None:
        from huggingface_hub import HfApi, errors

        try:
            info = HfApi().model_info(self._hub_id, files_metadata=True)
        except (errors.HfHubHTTPError, errors.HFValidationError):
            raise
        except Exception as error:  # of the HTTP library, which changes between versions
            raise ModelMissing(
                f"cannot reach the hub for {self._hub_id}: {_cause(error)}", NEED_NETWORK
            ) from error
        self._commit = info.sha or ""
        self._files = [
            HubFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else one.blob_id or "")
            for one in info.siblings or ()
            if "/" not in one.rfilename and any(fnmatch(one.rfilename, pattern) for pattern in _WANTED)
        ]

    def _missing(self, files: Collection[HubFile]) -> list[HubFile]:
        return [file for file in files if not (self.folder / file.name).exists()]

    def _check_disk(self, files: Collection[HubFile]) -> None:
        need = sum(file.size - self._part_size(file) for file in files)
        free = shutil.disk_usage(self._repo).free
        if need > free:
            raise ModelMissing(
                f"the weights of {self._hub_id} take another {need / 2**30:.1f} GiB in {self._repo.parent}, "
                f"which has {free / 2**30:.1f} GiB",
                "make room there, or set HF_HOME to a folder on another disk",
            )

    def _fetch(self, files: Sequence[HubFile]) -> None:
        self._run([partial(self._fetch_file, file) for file in self._missing(files)])

    def _fetch_file(self, file: HubFile) -> None:
        from huggingface_hub import hf_hub_download

        if file.is_weights and file.blob:
            self._fetch_content(file)
        hf_hub_download(self._hub_id, file.name, revision=self._commit, cache_dir=self._repo.parent)
        self._grown(file, file.size)

    def _fetch_content(self, file: HubFile) -> None:
        """Into the place where the hub's client looks for it."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

        content, part = self._repo / "blobs" / file.blob, self._part(file)
        lock = self._repo.parent / ".locks" / self._repo.name / f"{file.blob}.lock"  # the client's own
        for folder in (content.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if content.exists():
                return
            if resumed := self._part_size(file):
                self._grown(file, resumed)
            with _GrowingFile(part, partial(self._grown, file)) as out:
                http_get(
                    hf_hub_url(self._hub_id, file.name, revision=self._commit),
                    out,
                    resume_size=resumed,
                    headers=build_hf_headers(),
                    expected_size=file.size,
                )
            if resumed and not file.is_content_of(part):
                part.unlink()
                raise OSError(f"what was kept of {file.name} is not what the hub has")
            part.replace(content)

    def _part(self, file: HubFile) -> Path:
        return self._repo / "blobs" / f"{file.blob}.qvl.incomplete"

    def _part_size(self, file: HubFile) -> int:
        with suppress(FileNotFoundError):
            return self._part(file).stat().st_size
        return 0

    def _grown(self, file: HubFile, size: int) -> None:
        if self._stopped.is_set():
            raise InterruptedError
        self._fetched[file.name] = size

    def _run(self, jobs: Sequence[Callable[[], object]]) -> None:
        """All of them, some at once, while progress is told. Raises what the first that fails does."""
        todo: SimpleQueue[Callable[[], object]] = SimpleQueue()
        outcomes: SimpleQueue[Exception | None] = SimpleQueue()

        def work() -> None:
            with suppress(Empty):
                while not self._stopped.is_set():
                    job = todo.get_nowait()
                    try:
                        job()
                        outcomes.put(None)
                    except Exception as error:  # noqa: BLE001 - raised again by whoever waits
                        outcomes.put(error)

        for job in jobs:
            todo.put(job)
        for _ in range(min(len(jobs), _SIDE_BY_SIDE)):
            Thread(target=work, daemon=True).start()
        left = len(jobs)
        while left:
            with suppress(Empty):
                if (error := outcomes.get(timeout=_EVERY)) is not None:
                    raise error
                left -= 1
            if self._progress is not None and self._total:
                self._progress(sum(self._fetched.values()), self._total)


class _GrowingFile(io.BufferedWriter):
    """Appends to `path` and tells how long it is."""

    def __init__(self, path: Path, grown: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._grown = grown

    def write(self, data: Any) -> int:
        written = super().write(data)
        self._grown(self.tell())
        return written


@contextmanager
def _explained(hub_id: str) -> Iterator[None]:
    """What the hub's client raises, in qvl's words."""
    from huggingface_hub import errors
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # retries need no words, and there is one bar
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    disable_progress_bars()
    try:
        yield
    except QvlError:
        raise
    except errors.GatedRepoError as error:
        raise ModelMissing(
            f"{hub_id} is gated on the hub", "accept its terms there, then `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelMissing(
            f"the hub has no model {hub_id}", "check the name; for a private one `hf auth login`"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise _unreachable(hub_id, error) from error
    except Exception as error:  # anything here is a failed download
        raise ModelMissing(
            f"the download of {hub_id} failed: {_cause(error)}", "try again: what was fetched is kept"
        ) from error


def _unreachable(hub_id: str, error: Exception) -> ModelMissing:
    return ModelMissing(f"cannot reach the hub for {hub_id}: {_cause(error)}", NEED_NETWORK)


def _cause(error: BaseException) -> str:
    """One line: what lies at the bottom of a chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]
