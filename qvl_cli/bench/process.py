"""One child process and what it took: wall and processor seconds, peak memory, its own report."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from qvl_cli.bench.row import Run, Variant
from qvl_cli.errors import QvlError

SAMPLED = Path("/proc/self/status").exists()
_EVERY = 0.005  # seconds between two looks at the memory: touching 1 GiB for the first time takes 50 of them
MEMORY = (
    f"anonymous RSS of the process and its children, sampled every {_EVERY * 1000:.0f} ms"
    if SAMPLED
    else "peak RSS of the process as the kernel counts it, file pages included: no /proc here"
)


def measure(variant: Variant, folder: Path) -> Run:
    """Run the variant's command to its end. Raises QvlError with its last word where it fails.

    The child reads nothing from stdin and is a process group of its own: whatever ends this function, Ctrl-C
    too, ends the group. folder: for what it prints.
    """
    with tempfile.TemporaryFile(dir=folder) as out, tempfile.TemporaryFile(dir=folder) as err:
        began = time.monotonic()
        try:
            child = subprocess.Popen(
                variant.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise QvlError(f"{variant.name} cannot start: {error}") from error
        try:
            status, used, peak = _watch(child.pid)
            wall = time.monotonic() - began
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            _end_group(child)
        if child.returncode != 0:
            raise QvlError(
                f"{variant.name} {_how(child.returncode)}: {_last_line(err) or 'no word on stderr'}"
            )
        if not SAMPLED:
            peak = _counted(used)
        return Run(variant.name, wall, used.ru_utime + used.ru_stime, peak, _report(_last_line(out)), began)


class Memory:
    """A context manager that looks at a process and its children all the while; None: this one.

    peak: the most anonymous bytes seen so far; where nothing can be sampled, of this process the most bytes
    the kernel has counted, of another one 0.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._own, self._pid = pid is None, os.getpid() if pid is None else pid
        self._seen, self._ended = 0, threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="qvl-bench-memory", daemon=True)

    @property
    def peak(self) -> int:
        return self._seen if SAMPLED or not self._own else _counted(resource.getrusage(resource.RUSAGE_SELF))

    def __enter__(self) -> Self:
        if SAMPLED:
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if SAMPLED:
            self._sampler.join()

    def _sample(self) -> None:
        while not self._ended.wait(_EVERY):
            self._seen = max(self._seen, _anonymous_bytes(self._pid))


def _watch(pid: int) -> tuple[int, Any, int]:
    """Wait status, resource usage and the most anonymous bytes seen until the process ends."""
    with Memory(pid) as memory:
        _, status, used = os.wait4(pid, 0)
    return status, used, memory.peak


def _counted(used: resource.struct_rusage) -> int:
    """Most bytes as the kernel counts them: macOS in bytes, the others in KiB."""
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _anonymous_bytes(pid: int) -> int:
    """RssAnon of a process and all below it; 0 for one that is gone."""
    total = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total = int(line.split()[1]) * 1024
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += sum(_anonymous_bytes(int(child)) for child in (thread / "children").read_text().split())
    return total


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child and of what it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _how(code: int) -> str:
    return f"failed with exit code {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"


def _last_line(file: IO[bytes]) -> str:
    file.seek(max(file.seek(0, os.SEEK_END) - 65_536, 0))
    lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _report(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
