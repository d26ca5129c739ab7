"""Which subtitle file beside a video belongs to it, and reading one."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from qvl_cli.errors import MediaError
from qvl_cli.media.subtitles.ass import read_ass
from qvl_cli.media.subtitles.cue import Track
from qvl_cli.media.subtitles.encoding import DAMAGED, REPLACED, decode
from qvl_cli.media.subtitles.srt import read_srt
from qvl_cli.media.subtitles.vtt import read_vtt

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
VIDEO_ENDINGS = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
    ".ogv", ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip
_LARGEST = 64 << 20  # bytes: a day of speech is a few megabytes
# What may stand between the video's name and the suffix: talk.en.srt, talk.pt-BR.forced.srt
_TAGS = re.compile(r"(?:\.(?:[a-z]{2,3}(?:[-_][a-z0-9]{2,8})*|forced|default))*", re.IGNORECASE)


def find_sidecars(video: Path) -> list[Path]:
    """Subtitle files of `video` in its folder, the one to use first.

    `talk.srt` comes before `talk.en.srt`, English before other languages, forced subtitles (foreign speech
    only) last; then SRT, WebVTT, ASS, SSA; then by name. With a talk.cut.mp4 beside talk.mp4, talk.cut.srt is
    that one's. An unreadable folder holds none.
    """
    try:
        if not video.is_file():
            return []
        beside = list(video.parent.iterdir())
        names = [path for path in beside if path.suffix.lower() in SUFFIXES and path.is_file()]
        found = [path for path in names if _tags(path, video) is not None]
        found = [path for path in found if not _of_another(path, video, beside)]
    except (OSError, ValueError):
        return []

    def rank(path: Path) -> tuple[bool, bool, bool, int, str]:
        tags = (_tags(path, video) or "").lower().split(".")[1:]
        english = any(re.match(r"en(g)?\b", tag) for tag in tags)
        return "forced" in tags, bool(tags), not english, SUFFIXES.index(path.suffix.lower()), path.name

    return sorted(found, key=rank)


def is_sidecar(path: Path, video: Path) -> bool:
    """Whether `find_sidecars` would take a file of this name for subtitles of the video."""
    if path.suffix.lower() not in SUFFIXES or _tags(path, video) is None:
        return False
    try:
        if not video.is_file() or path.parent.resolve() != video.parent.resolve():
            return False
        return not _of_another(path, video, video.parent.iterdir())
    except (OSError, ValueError):
        return False


def check_there(path: Path, name: str) -> None:
    """Raises MediaError where a subtitle file that was named is not there, or cannot be one. Nothing is read:
    it may be a pipe."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    if size > _LARGEST:
        raise MediaError(f"{name} is larger than any subtitle file", "name an SRT, WebVTT or ASS file")


def read_sidecar(path: Path, name: str) -> Track:
    """The cues of a subtitle file, whatever its suffix claims. `name` is what messages call it.

    Raises MediaError where it is missing, too large, no text, in an encoding nobody can tell, or without a
    cue.
    """
    check_there(path, name)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    text, guessed = decode(data, name)
    track = _parse(text, path.suffix.lower(), name)
    if not track.cues:
        why = f": {track.faults[0]}" if track.faults else ""
        raise MediaError(f"no cue in {name} can be read{why}", "repair it, or leave it out with --subs none")
    if guessed is None:
        return track
    note = f"{name} is not UTF-8 and was read as {guessed}, which is a guess: save it as UTF-8 to be sure"
    if guessed == DAMAGED:
        note = f"{name}: characters that are no UTF-8 and were left out: {text.count(REPLACED):,}"
    return replace(track, notes=(note,))


def _unreadable(name: str, error: Exception) -> MediaError:
    reason = getattr(error, "strerror", None) or error
    return MediaError(f"subtitles {name} cannot be read: {reason}", "check the path, or --subs none")


def _parse(text: str, suffix: str, name: str) -> Track:
    if suffix == ".vtt" or re.match(r"WEBVTT\s", text):
        return read_vtt(text, name)
    if suffix in (".ass", ".ssa") or re.search(r"^\[(?:Script Info|Events)\]", text, re.MULTILINE):
        return read_ass(text)
    return read_srt(text)


def _tags(path: Path, video: Path) -> str | None:
    """`.en` of talk.en.srt beside talk.mp4; None where the name is no such one."""
    stem = path.name[: -len(path.suffix)]
    if not stem.startswith(video.stem):
        return None
    tags = stem[len(video.stem) :]
    return tags if _TAGS.fullmatch(tags) else None


def _of_another(path: Path, video: Path, beside: Iterable[Path]) -> bool:
    """Whether a video with a longer name than `video` is meant: `cut` could be a language."""
    return any(
        other.suffix.lower() in VIDEO_ENDINGS
        and len(other.stem) > len(video.stem)
        and f"{path.stem}.".startswith(f"{other.stem}.")
        and other.is_file()
        for other in beside
    )
