"""Subtitles in: files beside the video and text streams inside it, as cues with exact times.

cue        Cue and Track; what every format's text is cleaned of
encoding   bytes -> text: byte order mark, UTF-8, then a guess that is told
srt        SubRip, read through pysrt
vtt        WebVTT
ass        SubStation Alpha (ASS, SSA)
sidecar    which file beside a video belongs to it, and reading it
embedded   which stream inside a video is text, and reading it (PyAV starts here)
"""
