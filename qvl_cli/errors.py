"""The whole error tree. Every error says what is wrong and, after ` -- `, what to do about it.

    QvlError                  1   any failure qvl explains
    ├── UsageError            2   a flag, a time or a setting makes no sense
    ├── MediaError            3   the file cannot be read as video
    │   └── EncryptedMedia    3   DRM: frames would decode to garbage
    ├── ModelMissing          4   no such checkpoint, no network, or a broken folder
    │   ├── DamagedFile       4   a file of it is cut off or unreadable: another copy would help
    │   └── OutsideWorld      4   the embedded model does not know this kind of video
    ├── BackendMissing        4   the decoder asked for is not installed
    ├── BackendFailed         1   the second decoder hung, crashed, or disagrees with the first
    ├── OverBudget            5   does not fit memory or the checkpoint's positions
    └── IndexUnusable         1   a saved index is damaged, or written by a newer qvl

Exit codes beside these: 0 ok, 6 partial answer (a hole in the media), 10 nothing found with
`--fail-empty`, 130 Ctrl-C, 143 SIGTERM (`Terminated`, no error). Foreign errors (PyAV, torch,
huggingface_hub) are mapped to this tree where qvl calls them, never further up.
"""

from __future__ import annotations

from pathlib import Path

EXIT_OK = 0
EXIT_PARTIAL = 6
EXIT_EMPTY = 10
EXIT_INTERRUPTED = 130


class Terminated(BaseException):
    """A signal asks the process to end. Like Ctrl-C it passes every `finally`: nothing is left behind.

    exit_code: 128 + the signal's number, as shells count.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.exit_code = 128 + number


class QvlError(Exception):
    """A failure with one clear line: `fact`, and optionally the `remedy`."""

    exit_code = 1

    def __init__(self, fact: str, remedy: str | None = None) -> None:
        super().__init__(f"{fact} -- {remedy}" if remedy else fact)
        self.fact = fact
        self.remedy = remedy


class UsageError(QvlError):
    """The request itself makes no sense (bad flag, unreadable time, `--from` past the end)."""

    exit_code = 2


class MediaError(QvlError):
    """The input is missing, empty, damaged, or holds no decodable video."""

    exit_code = 3


class EncryptedMedia(MediaError):
    """The video stream is encrypted."""


class ModelMissing(QvlError):
    """The checkpoint or something it needs is not there."""

    exit_code = 4


class DamagedFile(ModelMissing):
    """A file of the checkpoint, `path`, does not hold what such a file must."""

    def __init__(self, fact: str, path: Path) -> None:
        super().__init__(fact, "fetch the checkpoint again")
        self.path = path


class OutsideWorld(ModelMissing):
    """The chosen model says it does not know this kind of video."""


class BackendMissing(QvlError):
    """The decoder that was asked for does not exist on this machine."""

    exit_code = 4


class BackendFailed(QvlError):
    """The second decoder hung, crashed, or gave other frames than the first."""


class OverBudget(QvlError):
    """The plan does not fit memory or the checkpoint's position range."""

    exit_code = 5


class IndexUnusable(QvlError):
    """A saved index cannot be used. Commands that only want to use it note it and watch again.

    newer: it is whole, but of a later format: not ours to repair or replace.
    """

    def __init__(self, fact: str, remedy: str | None = None, *, newer: bool = False) -> None:
        super().__init__(fact, remedy)
        self.newer = newer


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether it says so: torch has an error of that name (which is not imported for it), and tells it by the
    text of others."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(phrase in said for phrase in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = (
    "out of memory",  # CUDA
    "alloc_failed",  # its libraries
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
)
