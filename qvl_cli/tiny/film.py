"""Script -> H.264 file and its truth file."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.world import HEIGHT, WIDTH, Script

_BATCH = 64  # frames drawn at a time, so that hours fit in memory


def film(script: Script, path: Path, *, rate: int = 10, crf: int = 20, scale: int = 2) -> None:
    """Encode a script as H.264: `rate` frames a second, constant rate factor, 160 x 96 times `scale`."""
    count = int(np.ceil(script.duration * rate))
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": str(crf), "preset": "fast", "bf": "2"}
        )
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = WIDTH * scale, HEIGHT * scale
        stream.thread_count = 1
        stream.time_base = Fraction(1, rate)
        for first in range(0, count, _BATCH):
            times = [i / rate for i in range(first, min(count, first + _BATCH))]
            pictures = draw(script, times, scale)
            for i, picture in enumerate(pictures, start=first):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = i
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def truth(script: Script) -> dict[str, Any]:
    """Everything that happens, as JSON-ready data: times in seconds, places in world units of 160 x 96."""
    return asdict(script)


def write_truth(script: Script, path: Path) -> None:
    path.write_text(json.dumps(truth(script), indent=1) + "\n")
