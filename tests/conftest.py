"""Fixtures shared by all tests."""

from __future__ import annotations

import secrets
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell that runs the tests in the background leaves Ctrl-C ignored, here and in every command under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test, nor a command under test, may use or leave an index in the user's own cache.
_CACHES = tempfile.TemporaryDirectory(prefix="qvl-caches-")

_SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real clips, released configs and goldens that are not part of this repository."""
    if not _SHARED.is_dir():
        pytest.skip("no shared/ folder beside the repository")
    return _SHARED


@pytest.fixture(scope="session", autouse=True)
def caches() -> Iterator[None]:
    with _CACHES, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", _CACHES.name)
        yield


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts with nothing saved."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path(_CACHES.name, secrets.token_hex(4))))
