"""A name -> the folder of a whole checkpoint: local folder, alias, or hub (downloaded once, then offline)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qvl_cli.errors import ModelMissing
from qvl_cli.registry.download import NEED_NETWORK, DownloadProgress, SpecCheck, download, repo_folder
from qvl_cli.registry.spec import ModelSpec, read_spec
from qvl_cli.registry.table import ALIASES, EMBEDDED

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Weights are not all a model takes: activations and a short cache need room beside them.
_BESIDE_WEIGHTS = 1.25


def resolve(
    model: str,
    *,
    offline: bool = False,
    progress: DownloadProgress | None = None,
    check: SpecCheck | None = None,
) -> Path:
    """The folder of `model`: an alias, a local folder, or a hub id (`owner/name`).

    A complete copy in the hub cache is used without asking the network; else it is downloaded there,
    safetensors and text files only, unless `check` raises on what is known before the weights are. Raises
    ModelMissing where there is nothing of that name, nothing that qvl can run, no network, or a broken copy.
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
        raise ModelMissing(f"{hub_id} is not in the local hub cache, and qvl is offline", NEED_NETWORK)
    return download(hub_id, progress, check)


def cached_folder(hub_id: str) -> Path | None:
    """The complete copy of `hub_id` in the local hub cache, or None. Never touches the network."""
    return _complete_snapshot(repo_folder(hub_id))


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
