"""Single pictures and folders of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.error import FFmpegError

from qvl_cli.errors import MediaError
from qvl_cli.media.container import mapped, open_container, orientation, shown
from qvl_cli.media.stills import Stills, StillSource

if TYPE_CHECKING:
    import numpy.typing as npt

# First bytes: PNG, JPEG, RIFF (WebP), BMP, TIFF twice. libav decides whether one is a picture or a film.
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_DIGITS = re.compile(r"([0-9]+)")


def is_picture(path: Path) -> bool:
    """Whether the file holds one picture (not a film: APNG, GIF, a stream of JPEGs)."""
    with path.open("rb") as file:
        if not file.read(8).startswith(_SIGNATURES):
            return False
    try:
        with open_container(path) as container:
            return container.format.name == "image2" or container.format.name.endswith("_pipe")
    except MediaError:
        return False


def open_pictures(path: Path, rate: Fraction | None) -> StillSource:
    """A picture, or a folder of pictures in the natural order of their names (2 before 10).

    rate: pictures a second; None: one a second, and every one a step of its own. Raises MediaError where a
    folder holds no picture.
    """
    folder = path.is_dir()
    try:
        names = sorted(path.iterdir(), key=_natural) if folder else [path]
    except OSError as error:
        raise MediaError(
            f"{shown(path)} cannot be listed: {error.strerror}", "check its permissions"
        ) from error
    seen = [each for each in names if each.is_file() and not each.name.startswith(".")]
    files = [each for each in seen if is_picture(each)] if folder else names
    if not files:
        raise MediaError(f"{shown(path)} is a directory without pictures", "name one video file")
    stills = Stills(
        path, "pictures", "picture", len(files), lambda number: _draw(files[number]), lambda: _digest(files)
    )
    source = StillSource(stills, rate or Fraction(1), alone=rate is None)
    if folder:
        each = "each is shown for 1 s" if rate is None else f"they are taken as {float(rate):g} a second"
        source.warnings.insert(
            0, f"{len(files)} pictures carry no times: {each}, in the order of their names"
        )
    if len(files) < len(names):
        source.warnings.append(
            f"{len(names) - len(files)} entries of {shown(path)} that are no pictures are left out"
        )
    return source


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = _DIGITS.split(path.name.casefold())
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], path.name


def _draw(path: Path) -> npt.NDArray[np.uint8]:
    damaged = MediaError(f"{shown(path)} cannot be decoded", "repair or remove it")
    with mapped(path), open_container(path) as container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise damaged
        try:
            for frame in container.decode(video=0):
                if frame.is_corrupt:
                    break
                return orientation(frame).upright(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
        except (FFmpegError, av.error.InvalidDataError) as error:
            raise damaged from error
    raise damaged


def _digest(files: Sequence[Path]) -> str:
    """Of one picture its bytes; of several their names and digests, in order."""
    from qvl_cli.media.examine import content_hash

    if len(files) == 1:
        return content_hash(files[0])
    whole = hashlib.sha256()
    for each in files:
        whole.update(each.name.encode("utf-8", "surrogateescape") + b"\0" + content_hash(each).encode())
    return whole.hexdigest()
