"""Does a fragmented ISO base media file (MP4, MOV) end where its own boxes say?

It promises no duration, so a cut-off one looks like a short one: only the last box tells.
"""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER, _LARGE = 8, 16  # bytes of a box's header, with a 32-bit and with a 64-bit size


def is_cut_off(path: Path) -> bool:
    """Whether a file with fragments ends inside a top-level box (ISO/IEC 14496-12, 4.2). Reads headers only.

    Other files promise their duration in one header, so what they miss is known better than by this.
    """
    length, place, fragmented = path.stat().st_size, 0, False
    with path.open("rb") as file:
        while place < length:
            file.seek(place)
            header = file.read(_LARGE)
            if len(header) < _HEADER:
                return fragmented
            fragmented = fragmented or header[4:8] == b"moof"
            size = int(struct.unpack(">I", header[:4])[0])
            if size == 1:
                if len(header) < _LARGE:
                    return fragmented
                size = int(struct.unpack(">Q", header[8:])[0])
            elif size == 0:  # up to the end of the file, wherever that is
                return False
            if size < _HEADER:
                return False  # no box: bytes behind the media say nothing of it
            place += size
    return fragmented and place > length


def kinds(path: Path) -> set[bytes]:
    """The kinds of the top-level boxes that are whole so far; none where the file is of another format."""
    length, place, found = path.stat().st_size, 0, set[bytes]()
    with path.open("rb") as file:
        while place < length:
            file.seek(place)
            header = file.read(_LARGE)
            if len(header) < _HEADER or not header[4:8].isalnum():
                break
            size = int(struct.unpack(">I", header[:4])[0])
            if size == 1 and len(header) == _LARGE:
                size = int(struct.unpack(">Q", header[8:])[0])
            if size < _HEADER or place + size > length:
                break
            found.add(header[4:8])
            place += size
    return found
