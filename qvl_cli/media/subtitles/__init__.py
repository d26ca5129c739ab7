"""Subtitles in: files beside the video and text streams inside it, as cues with exact times.

cue        Cue and Track; their order, and telling what was left out
encoding   bytes -> text: byte order mark, UTF-8, then a guess that is told
srt        SubRip, read through pysrt
vtt        WebVTT
ass        SubStation Alpha (ASS, SSA)
sidecar    which file beside a video belongs to it, and reading it
embedded   which stream inside a video is text, and reading it (PyAV starts here)
choice     `--subs` -> the source to use, and its Track
"""
