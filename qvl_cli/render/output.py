"""Where results go: stdout, or a file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from qvl_cli.errors import UsageError


def check_writable(target: str, *sources: str) -> None:
    """Refuse a hopeless `-o` before anything is watched, and one that would overwrite what is read: one of
    `sources`, a picture of such a folder, a part of such a playlist. Raises UsageError."""
    path = Path(target)
    for source in sources if target != "-" and path.is_file() else ():
        from qvl_cli.media.inputs import is_part

        if Path(source).exists() and path.samefile(source):
            raise UsageError(f"cannot write {target}: it is what is read", "name another file with -o")
        if is_part(source, path):
            raise UsageError(
                f"cannot write {target}: it is a part of {source}, which is read", "name another file with -o"
            )
    if target == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
        return
    if path.is_dir():
        raise UsageError(f"cannot write {target}: it is a folder", "name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {target}: no folder {path.parent}", "make the folder first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(
            f"cannot write {target}: no permission in {path.parent}", "choose another place with -o"
        )


def write_file(target: str, text: str) -> None:
    """Write `text` beside the target, then move it into place: a reader sees the old file or the new one.

    Lone surrogates (odd bytes of a file name) become `?`, as on stdout.
    Permissions follow the umask, as for any file the user makes. Devices and pipes are written straight.
    Raises UsageError where the system refuses.
    """
    path, text = Path(target), text.encode("utf-8", "replace").decode()
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        # A link stays a link: what it points to is replaced.
        path = path.resolve()
        part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
        try:
            with part.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise UsageError(
            f"cannot write {target}: {error.strerror or error}", "choose another place with -o"
        ) from error
