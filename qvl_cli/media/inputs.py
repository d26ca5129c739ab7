"""open_video: what the user typed -> a Source. The only place that tells kinds of input apart.

    -                     copied to a bounded file     a folder, a picture    pictures, one a second
    http://, https://     copied to a bounded file     %PDF-                  pages; the number is the time
    #EXTM3U               its parts become one file    everything else        a video file

What was copied is looked at like a file: a URL may lead to a PDF, standard input may be a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from qvl_cli.errors import QvlError, UsageError
from qvl_cli.media.known import Known
from qvl_cli.media.spool import Progress, Spool, spool_stdin

if TYPE_CHECKING:
    from qvl_cli.media.info import Source


MAX_SPOOL = 8 << 30  # bytes
_HEAD = 1024  # bytes that tell what a file is


@dataclass(frozen=True, slots=True)
class InputSettings:
    """max_spool: bytes that may be copied to disk. picture_rate: pictures a second in a folder; None: every
    picture a step of its own. progress: called with (what is done, bytes so far, bytes in all or 0). known:
    what earlier runs found out."""

    max_spool: int = MAX_SPOOL
    picture_rate: Fraction | None = None
    progress: Progress = lambda stage, done, total: None
    known: Known | None = None


def open_video(typed: str | Path, backend: str = "pyav", settings: InputSettings | None = None) -> Source:
    """Open a file, a folder, a URL, or standard input (`-`); use as a context manager.

    Raises UsageError for no name, MediaError for what holds no video, OverBudget for what is larger than the
    settings allow, and what the backend raises (see source.open_file).
    """
    settings = settings or InputSettings()
    if not str(typed):  # a Path of nothing is the folder qvl was called in
        raise UsageError("no file is named", "give a file, a folder, a URL, or - for standard input")
    name, path = str(typed), Path(typed)
    if not (name == "-" or _is_url(name)):
        return _open(path, name, None, backend, settings)
    with _kept(Spool(name, settings.max_spool)) as spool, _named(spool):
        address = name
        if name == "-":
            spool_stdin(spool, settings.progress)
        else:
            from qvl_cli.media.remote import spool_url

            address = spool_url(name, spool, settings.progress)
        return _open(spool.path, address, spool, backend, settings)


def is_part(name: str, file: Path) -> bool:
    """Whether the existing `file` is a picture of the folder `name` or a part of the playlist, and so read by
    `open_video(name)`. Of a URL and of standard input no file is known."""
    source = Path(name)
    try:
        if not (file.is_file() and source.exists()):
            return False
        if source.is_dir():
            return file.parent.samefile(source) and _is_picture(file)
        return any(file.samefile(part) for part in _parts(source) if part.exists())
    except (OSError, ValueError):  # opening it as a video says why
        return False


def _parts(source: Path) -> Iterator[Path]:
    """The files that a playlist on disk leads to."""
    if is_playlist(source):
        from qvl_cli.media.playlist import files_in

        for part in files_in(source):
            yield part
            if part != source and is_playlist(part):
                yield from files_in(part)


def is_playlist(path: Path) -> bool:
    """Whether it is a file that begins as HLS playlists do. Raises OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _begins_playlist(file.read(16))


def is_still(path: Path) -> bool:
    """Whether the file is a picture or a document, which nobody watches as it comes. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return _begins_document(head) or (bool(head) and _is_picture(path))


def _begins_document(head: bytes) -> bool:
    return b"%PDF-" in head


def _begins_playlist(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").startswith(b"#EXTM3U")


def _open(path: Path, address: str, spool: Spool | None, backend: str, settings: InputSettings) -> Source:
    """address: where a playlist's parts are looked for. spool: the copy that `path` is, to be removed with
    the source."""
    head, folder = b"", False
    with suppress(OSError, ValueError):  # opening it as a video says why
        folder = path.is_dir()
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(_HEAD)
    source: Source
    if _begins_playlist(head):
        return _open_playlist(address, spool, backend, settings)
    if _begins_document(head):
        from qvl_cli.media.pages import open_pages

        source = open_pages(path)
    elif (head and _is_picture(path)) or folder:
        from qvl_cli.media.pictures import open_pictures

        source = open_pictures(path, settings.picture_rate)
    else:
        from qvl_cli.media.source import open_file

        source = open_file(path, backend, settings.known)
        backend = "pyav"  # has had its say
    if backend == "decord":
        source.warnings.append("decord reads no pictures and no documents: --backend changes nothing here")
    if spool is not None:
        source.on_close = spool.close
    return source


def _open_playlist(address: str, first: Spool | None, backend: str, settings: InputSettings) -> Source:
    from qvl_cli.media.playlist import spool_playlist
    from qvl_cli.media.source import open_file

    if first is not None:
        first.close()
    with _kept(Spool(address, settings.max_spool)) as spool, _named(spool):
        warning = spool_playlist(address, spool, settings.progress)
        source = open_file(spool.path, backend, settings.known)
        source.on_close = spool.close
        source.warnings += [warning] if warning else []
        return source


def _is_url(name: str) -> bool:
    from qvl_cli.media.remote import is_url

    return is_url(name)


def _is_picture(path: Path) -> bool:
    from qvl_cli.media.pictures import is_picture

    return is_picture(path)


@contextmanager
def _kept(spool: Spool) -> Iterator[Spool]:
    """The copy stays if all goes well; on an error, or Ctrl-C, it is removed at once."""
    try:
        yield spool
    except BaseException:
        spool.close()
        raise


@contextmanager
def _named(spool: Spool) -> Iterator[None]:
    """Errors speak of what the user typed, not of its copy."""
    try:
        yield
    except QvlError as error:
        if (copy := str(spool.path)) not in error.fact:
            raise
        raise type(error)(error.fact.replace(copy, spool.name), error.remedy) from error
