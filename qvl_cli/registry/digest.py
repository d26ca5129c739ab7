"""All of a checkpoint's bytes in one name: what a saved index is bound to.

`fingerprint` samples big files, which is enough to tell models apart in an Answer. An index must never meet
other weights, not even ones that differ in a single number, so here every byte counts.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qvl_cli.digests import FileDigests
from qvl_cli.errors import ModelMissing
from qvl_cli.registry.spec import weight_files


def weights_digest(folder: Path, memory: Path | None = None) -> str:
    """sha256, hex, over the names and bytes of the weights and of every text and JSON file of a checkpoint.

    Alignment head and world gate are left out: they judge what was watched and change none of it.
    memory: see `FileDigests`.
    Raises ModelMissing where a file cannot be read.
    """
    small = sorted(path for kind in ("*.json", "*.jinja", "*.txt") for path in folder.glob(kind))
    files = [*small, *weight_files(folder)]
    known = FileDigests(memory)
    try:
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(known.digest, files))
    except OSError as error:
        raise ModelMissing(f"cannot read the weights in {folder}: {error.strerror}") from error
    known.keep()
    named = "".join(f"{path.name}:{digest};" for path, digest in zip(files, digests, strict=True))
    return hashlib.sha256(named.encode()).hexdigest()
