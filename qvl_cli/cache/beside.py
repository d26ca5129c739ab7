"""Small documents beside the blocks of an index: each sealed by a checksum over itself.

An index is whole without them, so a missing or damaged one costs only the time of finding out again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from qvl_cli.cache import exact
from qvl_cli.cache.place import write_whole
from qvl_cli.errors import IndexUnusable

T = TypeVar("T")

MEDIA = "media.json"  # the InfoRecord of the video
SECTIONS = "sections.json"  # what a summary said
BESIDE = (MEDIA, SECTIONS)


def write_beside(folder: Path, name: str, value: object) -> None:
    """Raises OSError."""
    content = exact.dump(value).decode()
    seal = hashlib.sha256(content.encode()).hexdigest()
    write_whole(folder / name, json.dumps({"content": content, "sha256": seal}).encode())


def read_beside(folder: Path, name: str, kind: type[T]) -> T | None:
    """None where there is none. Raises IndexUnusable where it is not what was written."""
    path = folder / name
    try:
        content = _unsealed(path)
        return None if content is None else exact.load(kind, content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexUnusable(f"{path} is damaged ({str(error)[:100]})") from error


def check_beside(folder: Path, name: str) -> None:
    """Raises IndexUnusable where it is there and not what was written."""
    path = folder / name
    try:
        _unsealed(path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexUnusable(f"{path} is damaged ({str(error)[:100]})") from error


def _unsealed(path: Path) -> str | None:
    try:
        sealed = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IndexUnusable(f"{path} cannot be read: {error.strerror}") from error
    content: str = sealed["content"]
    if hashlib.sha256(content.encode()).hexdigest() != sealed["sha256"]:
        raise ValueError("its checksum is wrong")
    return content
