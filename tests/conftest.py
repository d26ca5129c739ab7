"""Fixtures shared by all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A shell that runs the tests in the background leaves Ctrl-C ignored, here and in every command under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real clips, released configs and goldens that are not part of this repository."""
    if not _SHARED.is_dir():
        pytest.skip("no shared/ folder beside the repository")
    return _SHARED
