"""SIGKILL at random moments of the real `qvl index`: the next run ends in the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.indexing import CLIP


def test_killed_runs_end_in_the_same_bytes(tmp_path: Path) -> None:
    """What `qvl bench index` does fifty times."""
    command = [sys.executable, "-m", "qvl_cli.bench.index_run", "kill", CLIP, tmp_path / "kills", "2", "7"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout.splitlines()[-1])
    assert (report["equal"], report["kills"]) == (2, 2)
