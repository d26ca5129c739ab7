"""Containers to frames with exact presentation times. `open_video` is the only door.

    info        MediaInfo and Frame: what a probe knows, what a decoder yields
    container   opening files, choosing the stream, foreign errors -> MediaError (PyAV starts here)
    packets     every shown frame's time and every keyframe, from the packets alone
    examine     probe: path -> MediaInfo
    source      open_video: frames for a list of times, in bounded memory
    subtitles   files and streams of text -> cues on the video's own clock

Names are loaded on first use, so that planning and printing never pay for the decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qvl_cli.media.examine import content_hash, info_dict, probe
    from qvl_cli.media.info import Frame, MediaInfo
    from qvl_cli.media.source import VideoSource, open_video

_HOME = {
    "Frame": "info",
    "MediaInfo": "info",
    "VideoSource": "source",
    "content_hash": "examine",
    "info_dict": "examine",
    "open_video": "source",
    "probe": "examine",
}

__all__ = ["Frame", "MediaInfo", "VideoSource", "content_hash", "info_dict", "open_video", "probe"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
