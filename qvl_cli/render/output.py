"""Where results go: stdout, or a file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from qvl_cli.errors import UsageError

# Names of what this process has open. Opening them by name would begin such a file anew.
_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_STREAM = re.compile(r"/(?:dev|proc/self)/fd/([0-9]+)")


def check_writable(target: str, *sources: str) -> None:
    """Refuse a hopeless `-o` before anything is watched, and one that would overwrite what is read: one of
    `sources`, a picture of such a folder, a part of such a playlist. Raises UsageError."""
    if target == "-" or _stream(target) is not None:
        return
    path = Path(target)
    try:
        if path.is_file():
            _check_unread(path, target, sources)
        elif path.exists() and not path.is_dir():  # a device, a pipe
            return
        if path.is_dir():
            raise UsageError(f"cannot write {target}: it is a folder", "name a file in it")
        folder = path.resolve().parent  # a link stays a link: what it points to is written
        if not folder.is_dir():
            raise UsageError(f"cannot write {target}: no folder {folder}", "make the folder first")
        if not os.access(folder, os.W_OK):
            raise UsageError(
                f"cannot write {target}: no permission in {folder}", "choose another place with -o"
            )
    except (OSError, RuntimeError) as error:
        raise _refused(target, error) from error


def is_stdout(target: str) -> bool:
    return target == "-" or _stream(target) == 1


def write_file(target: str, content: str | bytes) -> None:
    """Write `content` beside the target, then move it into place: a reader sees the old file or the new one.

    Text is UTF-8; lone surrogates in it (odd bytes of a file name) become `?`, as on stdout.
    Permissions follow the umask, as for any file the user makes. Devices, pipes and what the process has open
    (`/dev/stderr`, `/dev/fd/3`) are written straight.
    Raises UsageError where the system refuses, BrokenPipeError where a reader has gone.
    """
    path = Path(target)
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        if (stream := _stream(target)) is not None:
            with os.fdopen(os.dup(stream), "wb") as file:
                file.write(data)
            return
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        path = path.resolve()
        part = path.with_name(f".qvl-{secrets.token_hex(8)}.part")
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except BrokenPipeError:
        raise
    except (OSError, RuntimeError) as error:
        raise _refused(target, error) from error


def _check_unread(path: Path, target: str, sources: tuple[str, ...]) -> None:
    from qvl_cli.media.inputs import is_part

    for source in sources:
        if Path(source).exists() and path.samefile(source):
            raise UsageError(f"cannot write {target}: it is what is read", "name another file with -o")
        if is_part(source, path):
            raise UsageError(
                f"cannot write {target}: it is a part of {source}, which is read", "name another file with -o"
            )


def _stream(target: str) -> int | None:
    """The descriptor that a name stands for."""
    if (named := _STREAM.fullmatch(target)) is not None:
        return int(named[1])
    return _STREAMS.get(target)


def _refused(target: str, error: OSError | RuntimeError) -> UsageError:
    """A link that leads to itself is a RuntimeError to pathlib."""
    why = error.strerror if isinstance(error, OSError) else None
    return UsageError(f"cannot write {target}: {why or error}", "choose another place with -o")
