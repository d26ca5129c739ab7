"""Containers to frames with exact presentation times. `open_video` is the only door.

    info        MediaInfo and Frame: what a probe knows, what a decoder yields
    known       MediaInfo as it is stored, for files examined before
    container   opening files, choosing the stream, foreign errors -> MediaError (PyAV starts here)
    bitstream   which pictures are shown, and which no other picture needs, from the packets' own headers
    packets     every shown frame's time and every keyframe, from the packets alone
    examine     probe: path -> MediaInfo
    route       wanted frames -> the packets that they need, and how many decoders share them (pure)
    runs        decoding along a route, bit for bit what decoding everything gives
    decoder     decoding everything: the truth, and the way through damaged files
    source      open_file: frames for a list of times, in bounded memory
    decord_source, decord_child  the second backend, in a process of its own
    spool       a bounded copy on disk of what cannot be read twice
    remote      http and https, and nothing else
    playlist    HLS -> one local file
    stills, pictures, pages  pictures without times, folders of them, PDF
    ffmpeg      the ffmpeg program: found, run, listened to, ended
    follow      a file that still grows, into a pipe
    live        open_live: a stream, a pipe, a growing file -> pictures as they come
    inputs      open_video: what the user typed -> a Source
    subtitles   files and streams of text -> cues on the video's own clock

Names are loaded on first use, so that planning and printing never pay for the decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qvl_cli.media.examine import content_hash, info_dict, probe
    from qvl_cli.media.info import Frame, MediaInfo, Source
    from qvl_cli.media.inputs import MAX_SPOOL, InputSettings, open_video
    from qvl_cli.media.source import BACKENDS, VideoSource

_HOME = {
    "BACKENDS": "source",
    "Frame": "info",
    "InputSettings": "inputs",
    "MAX_SPOOL": "inputs",
    "MediaInfo": "info",
    "Source": "info",
    "VideoSource": "source",
    "content_hash": "examine",
    "info_dict": "examine",
    "open_video": "inputs",
    "probe": "examine",
}

__all__ = [
    "BACKENDS",
    "MAX_SPOOL",
    "Frame",
    "InputSettings",
    "MediaInfo",
    "Source",
    "VideoSource",
    "content_hash",
    "info_dict",
    "open_video",
    "probe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
