"""`--subs auto|none|FILE` -> the subtitles to use, and reading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qvl_cli.errors import UsageError
from qvl_cli.media.info import MediaInfo
from qvl_cli.media.subtitles.cue import Track
from qvl_cli.media.subtitles.embedded import TextStream, find_streams, read_stream
from qvl_cli.media.subtitles.sidecar import check_there, find_sidecars, read_sidecar


@dataclass(frozen=True, slots=True)
class Source:
    """Where subtitles are: a file, or a stream of the video. others: names of what could be used instead."""

    name: str
    place: Path | TextStream
    others: tuple[str, ...] = ()


def named_file(wanted: str) -> Path | None:
    """The file of `--subs FILE`; None for `auto` and `none`."""
    return None if wanted in ("auto", "none") else Path(wanted)


def check_named(wanted: str) -> None:
    """Raises MediaError where `--subs FILE` names a file that is not there."""
    if path := named_file(wanted):
        check_there(path, path.name)


def find_subtitles(video: Path, info: MediaInfo, wanted: str) -> tuple[Source | None, tuple[str, ...]]:
    """The subtitles to use, and notes about those that cannot be.

    `auto`: a file beside the video, else a text stream inside it, else nothing; `none`: nothing; anything
    else names a file. Nothing of a file is read here. Raises UsageError where a file is named for pages.
    """
    if wanted == "none":
        return None, ()
    path, pages = named_file(wanted), info.unit != "s"
    if pages and path:
        raise UsageError("pages have no times that subtitles could belong to", "--subs none")
    if pages:
        return None, ()
    if path:
        return Source(path.name, path), ()
    files = find_sidecars(video)
    streams, pictures = find_streams(info.path) if info.subtitles else ([], [])
    found = [Source(path.name, path) for path in files]
    found += [Source(stream.name, stream) for stream in streams]
    if found:
        others = tuple(source.name for source in found[1:])
        return Source(found[0].name, found[0].place, others), ()
    if pictures:
        return None, (f"subtitles cannot be read: {', '.join(pictures)} holds no text",)
    return None, ()


def read_subtitles(source: Source, info: MediaInfo) -> Track:
    """The cues, in seconds from the first frame. Raises MediaError where a file gives none.

    A file beside a video counts as players do, from where the first of its streams begins.
    """
    if isinstance(source.place, Path):
        return read_sidecar(source.place, source.name).earlier(info.lead)
    return read_stream(info.path, source.place, info.start)
