"""The videos of a folder, by the names that annotations give them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qvl_cli.errors import UsageError
from qvl_cli.evals.annotations import explain
from qvl_cli.evals.troubles import Troubles
from qvl_cli.media.subtitles.sidecar import VIDEO_ENDINGS


@dataclass(frozen=True, slots=True)
class NamedVideo:
    """identity: what tells it from another file of the name, size in bytes and ns of the last change."""

    path: Path
    identity: list[int]


def list_videos(folder: Path) -> list[Path]:
    """Every video file anywhere below `folder`, sorted. Raises UsageError where there is no such folder."""
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", "give a folder of videos")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_ENDINGS and not p.is_dir())


def name_videos(names: Iterable[str], folder: Path, troubles: Troubles) -> dict[str, NamedVideo]:
    """The file of each name that has one, in the order of `names`.

    A name is a path below `folder` or, where there is no such path, the last part of one; either with or
    without its ending. Of several files of one name the first is taken, and that is told.
    Raises UsageError where there is no such folder.
    """
    below: dict[str, list[Path]] = {}
    anywhere: dict[str, list[Path]] = {}
    for path in list_videos(folder):
        relative = path.relative_to(folder)
        for of, form in ((below, relative), (anywhere, Path(path.name))):
            of.setdefault(str(form), []).append(path)
            of.setdefault(str(form.with_suffix("")), []).append(path)
    found: dict[str, NamedVideo] = {}
    missing, unreadable = [], []
    for name in names:
        paths = below.get(str(Path(name))) or anywhere.get(name)
        if not paths:
            missing.append(name)
            continue
        first, *others = paths
        if others:
            rest = ", ".join(map(str, others))
            troubles.listener.note(f"{name} is {first}, not {rest}: paths below the folder name either")
        try:
            about = first.stat()
        except OSError as error:
            unreadable.append(f"{name}: {explain(error)}")
            continue
        found[name] = NamedVideo(first, [about.st_size, about.st_mtime_ns])
    troubles.add("missing video", missing)
    troubles.add("unwatched video", unreadable)
    return found
