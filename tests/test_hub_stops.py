"""First downloads as users meet them: a terminal, a signal in the middle, settings that cannot work."""

from __future__ import annotations

import json
import os
import pty
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qvl_cli.cli.console import Console
from tests.checkpoints import write_checkpoint
from tests.hub_server import HubServer, hub_environment

REPO = "Qwen/Qwen3-VL-2B-Instruct"
ROOT = Path(__file__).resolve().parents[1]
CLIP = str(ROOT / "sample_media" / "shapes-30s.mp4")
COMMAND = "import sys; from qvl_cli.cli.app import main; sys.exit(main())"
EACH = (
    "import json, sys; from qvl_cli.cli.app import main; "
    "print([main(one) for one in json.loads(sys.argv[1])])"
)
WEIGHTS = 64 << 20  # bytes; the hub's client writes 10 MiB at a time
# The weights fit, and then no plan does: a run ends with exit code 5 as soon as it has its model.
ASK = ["ask", CLIP, "what?", "--model", "2b", "--dtype", "bfloat16", "--max-memory", "300M", "--no-index"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole to the eye of who reads headers, with weights of some size."""
    folder = write_checkpoint(tmp_path_factory.mktemp("large"))
    shape = {"dtype": "BF16", "shape": [WEIGHTS // 2], "data_offsets": [0, WEIGHTS]}
    header = json.dumps({"model.weight": shape}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + os.urandom(WEIGHTS))
    return folder


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[HubServer]:
    server = HubServer(checkpoint, REPO)
    yield server
    server.close()


@pytest.fixture
def environment(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    return hub_environment(hub.url, tmp_path / "hf") | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
    }


def wait_for(happened: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_download_that_the_next_run_goes_on_with(
    hub: HubServer, checkpoint: Path, environment: dict[str, str], tmp_path: Path, number: int, code: int
) -> None:
    command = [sys.executable, "-c", COMMAND, *ASK]
    hub.pause = 0.02
    popen = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with popen as process:
        try:
            wait_for(lambda: hub.sent > 24 << 20)
            hub.pause = 1000  # from now on the line is silent
            began = time.monotonic()
            process.send_signal(number)
            assert process.stderr is not None
            said = [(line, time.monotonic() - began) for line in process.stderr]
            ended = process.wait(timeout=30)
            took = time.monotonic() - began
        finally:
            process.kill()
    assert ended == code
    last, told = said[-1]
    assert last == ("qvl: interrupted\n" if code == 130 else "qvl: terminated\n")
    assert "Traceback" not in "".join(line for line, _ in said)
    # Python alone takes a second of processor time to end with all that qvl imports; the line takes 60.
    assert told < 5
    assert took < 40

    hub.pause = 0
    hub.ranges.clear()
    again = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=250
    )
    assert (again.returncode, "needs" in again.stderr) == (5, True)
    (resumed,) = hub.ranges
    assert 10 << 20 <= resumed < WEIGHTS
    (fetched,) = (tmp_path / "hf" / "hub").glob("models--*/snapshots/*/model.safetensors")
    assert fetched.read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    assert not list((tmp_path / "hf" / "hub").glob("models--*/blobs/*.incomplete"))


def test_the_terminal_is_whole_after_a_first_download(
    hub: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    here, there = pty.openpty()
    command = [sys.executable, "-c", COMMAND, *ASK]
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=there, stderr=there)
    os.close(there)
    shown = b""
    try:
        # Whoever does not end keeps the terminal open, and this waits for the test's own time limit.
        while chunk := _read(here):
            shown += chunk
        code = process.wait(timeout=30)
    finally:
        process.kill()
        os.close(here)
    assert (code, hub.ranges) == (5, [0])
    assert b"downloading 2b" in shown
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") > 0, "the cursor is there again"
    last = shown.decode().rstrip().splitlines()[-1]
    assert "qvl: 2b needs" in last


def test_nothing_is_drawn_once_a_run_has_ended(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qvl_cli.cli.console.PLAIN_EVERY", 0.0)
    console = Console()
    console.progress("downloading", 1, 2)
    assert "1 of 2" in capfd.readouterr().err
    console.close()
    console.progress("downloading", 2, 2)
    assert capfd.readouterr().err == ""


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux's way of saying that nobody is on the other side any more
        return b""


def test_what_cannot_work_is_told_before_a_download(
    hub: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    ask = ["ask", CLIP, "what?", "--model", "2b", "--no-index"]
    runs = [
        [*ask, "--device", "toaster"],
        [*ask, "--dtype", "float7"],
        [*ask, "--aligner", "head"],
        [*ask, "--max-memory", "32M"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(runs)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    assert json.loads(done.stdout) == [2, 2, 2, 5]
    device, dtype, aligner, memory = done.stderr.splitlines()
    assert "toaster" in device
    assert "float7" in dtype
    assert "2b has no alignment head" in aligner
    assert "the weights of 2b alone take " in memory and "MiB and --max-memory allows 32 MiB" in memory
    assert "raise --max-memory to " in memory
    assert hub.ranges == []
