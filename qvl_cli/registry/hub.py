"""A name -> the folder of a whole checkpoint: local folder, alias, or hub (downloaded once, then offline)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qvl_cli.errors import ModelMissing
from qvl_cli.registry.spec import ModelSpec, read_spec
from qvl_cli.registry.table import ALIASES, EMBEDDED

# Called with bytes fetched so far and bytes in all, as far as known; from download threads.
DownloadProgress = Callable[[int, int], None]

PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NEED_NETWORK = "connect once, or pass the folder of a checkpoint, or use --model tiny"
# Weights are not all a model takes: activations and a short cache need room beside them.
_BESIDE_WEIGHTS = 1.25


def resolve(model: str, *, offline: bool = False, progress: DownloadProgress | None = None) -> Path:
    """The folder of `model`: an alias, a local folder, or a hub id (`owner/name`).

    A complete copy in the hub cache is used without asking the network; else it is downloaded there,
    safetensors and text files only. Raises ModelMissing where there is nothing of that name, no network, or a
    broken copy.
    """
    row = ALIASES.get(model.lower())
    if row is None and model and Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    if row is not None and row.hub_id is None:
        if not (EMBEDDED / "config.json").is_file():
            raise ModelMissing(
                "this installation lacks its embedded model", "reinstall qvl, or use --model 2b"
            )
        return EMBEDDED
    hub_id = row.hub_id if row is not None else model
    if hub_id is None or not _HUB_ID.fullmatch(hub_id):
        raise ModelMissing(
            f"no model is called {model!r}",
            f"use a checkpoint folder, a hub id (owner/name), or one of: {', '.join(ALIASES)}",
        )
    cached = cached_folder(hub_id)
    if cached is not None:
        return cached
    from huggingface_hub import constants

    if offline or constants.HF_HUB_OFFLINE:
        raise ModelMissing(f"{hub_id} is not in the local hub cache, and qvl is offline", _NEED_NETWORK)
    return _download(hub_id, progress)


def cached_folder(hub_id: str) -> Path | None:
    """The complete copy of `hub_id` in the local hub cache, or None. Never touches the network."""
    from huggingface_hub import constants

    return _complete_snapshot(Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}")


def cached_models() -> Iterator[tuple[str, ModelSpec]]:
    """Hub id and spec of every complete Qwen3-VL chat checkpoint in the local hub cache."""
    from huggingface_hub import constants

    try:
        repos = sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*"))
    except OSError:  # a cache that may not be read holds nothing for us
        return
    for repo in repos:
        folder = _complete_snapshot(repo)
        # embedding and reranking models share the architecture; sentence-transformers marks them
        if folder is not None and not (folder / "modules.json").exists():
            hub_id = repo.name.removeprefix("models--").replace("--", "/", 1)
            yield hub_id, read_spec(folder, hub_id)


def choose_model(configured: str | None, free_memory: int, bytes_per_parameter: int = 4) -> str:
    """What `--model auto` means: the configured model, else the largest cached Qwen3-VL that fits into
    `free_memory` bytes at `bytes_per_parameter`, of two alike the one that does not think first, else the
    embedded one. Returns a name `resolve` takes."""
    if configured and configured != "auto":
        return configured
    need = bytes_per_parameter * _BESIDE_WEIGHTS
    fitting = [
        (spec.parameters, not spec.thinking, hub_id)
        for hub_id, spec in cached_models()
        if spec.parameters * need <= free_memory
    ]
    return max(fitting)[-1] if fitting else "tiny"


def _complete_snapshot(repo: Path) -> Path | None:
    try:
        folder = repo / "snapshots" / (repo / "refs" / "main").read_text(encoding="utf-8").strip()
        read_spec(folder)
    except (OSError, ModelMissing):
        return None
    return folder


def _download(hub_id: str, progress: DownloadProgress | None) -> Path:
    from huggingface_hub import errors, snapshot_download
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # its warnings are mapped below; retries need no words
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    disable_progress_bars()

    def fetch(force: bool) -> Path:
        return Path(
            snapshot_download(
                hub_id,
                allow_patterns=PATTERNS,
                ignore_patterns=["*/*"],
                force_download=force,
                tqdm_class=_bar_class(progress) if progress is not None else None,
            )
        )

    try:
        folder = fetch(force=False)
    except errors.GatedRepoError as error:
        raise ModelMissing(
            f"{hub_id} is gated on the hub", "accept its terms there, then `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelMissing(
            f"the hub has no model {hub_id}", "check the name; for a private one `hf auth login`"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelMissing(f"cannot reach the hub for {hub_id}: {_cause(error)}", _NEED_NETWORK) from error
    except (
        Exception
    ) as error:  # the hub's HTTP stack changes between versions; anything here is a failed download
        raise ModelMissing(
            f"the download of {hub_id} failed: {_cause(error)}", "try again: finished files are kept"
        ) from error
    try:
        read_spec(folder)
    except (
        ModelMissing
    ):  # a damaged file in the cache looks finished to the hub's client: fetch it anew, once
        try:
            folder = fetch(force=True)
        except Exception as error:
            raise ModelMissing(
                f"the cached copy of {hub_id} is broken and its download failed: {_cause(error)}", "try again"
            ) from error
        read_spec(folder)
    return folder


def _cause(error: BaseException) -> str:
    """One line: what lies at the bottom of a chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
        :200
    ]


def _bar_class(progress: DownloadProgress) -> type[Any]:
    """A tqdm class that draws nothing and reports bytes to `progress`.

    The hub's client shows the same bytes as received and as written, in two bars: the further one counts.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    bars: dict[int, tuple[int, int]] = {}

    class Reporter(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})

        def display(self, *_args: Any, **_kwargs: Any) -> bool:
            if getattr(self, "unit", None) == "B":
                bars[id(self)] = (int(self.n), int(self.total or 0))
                progress(max(n for n, _ in bars.values()), max(total for _, total in bars.values()))
            return True

        def update(self, n: float | None = 1) -> bool | None:
            super().update(n)
            return self.display()

    return Reporter
