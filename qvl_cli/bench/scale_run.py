"""The parts of the `scale` benchmark, each in a process of its own.

    python -m qvl_cli.bench.scale_run film CLIP SECONDS
    python -m qvl_cli.bench.scale_run watch CLIP POLICY WINDOW

`watch` does what `qvl ask` does, with the embedded model and nothing saved: file, plan, session, chunks, a
question. With retrieve all blocks go to disk, whether or not they would fit into memory. `window_s` is the
window that the model's positions allow.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any

from qvl_cli import pipeline
from qvl_cli.align import load_aligner
from qvl_cli.bench.first_word import FirstWord
from qvl_cli.bench.process import Memory
from qvl_cli.budget import estimate
from qvl_cli.fitting import fit
from qvl_cli.media import open_video
from qvl_cli.memory import MemorySettings
from qvl_cli.request import Request
from qvl_cli.sampling import SamplingSettings, plan_samples
from qvl_cli.sessions import open_session

_RATE = 1  # frames a second: so that two minutes of them are in view of the embedded model at once
_SIDE = 8  # pixels of a square of one colour
_EARLY = 300.0  # seconds: the window is full long before
_LOOK = 30  # blocks that a time is the median of
_ROOM = 1 << 30  # tokens: every second is watched, however many there are


def film_clip(path: str, seconds: str) -> dict[str, Any]:
    """Squares of random colours: quickly drawn, quickly encoded, and never still."""
    import av
    import numpy as np

    from qvl_cli.tiny.world import HEIGHT, WIDTH

    chance = np.random.default_rng(0)
    with av.open(path, "w") as out:
        stream = out.add_stream(
            "libx264", rate=_RATE, options={"preset": "ultrafast", "crf": "30", "g": "20"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(int(seconds) * _RATE):
            squares = chance.integers(0, 256, (HEIGHT // _SIDE, WIDTH // _SIDE, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(squares.repeat(_SIDE, 0).repeat(_SIDE, 1), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return {}


def watch(clip: str, policy: str, window: str) -> dict[str, Any]:
    from qvl_cli.generate import DecodeSettings
    from qvl_cli.model.load import load_model
    from qvl_cli.tasks.ask import ask
    from qvl_cli.tasks.locate import locate

    memory = MemorySettings(policy, window=Fraction(window))
    sampling = SamplingSettings(fps=Fraction(_RATE), max_tokens=_ROOM)
    request = Request("ask", clip, "What appears?", sampling, model="tiny", device="cpu", memory=memory)
    listener = FirstWord()
    spec, _ = pipeline.choose_spec(request, listener)
    cpu, wall = [time.process_time()], [time.monotonic()]

    def tick() -> None:
        cpu.append(time.process_time())
        wall.append(time.monotonic())

    with Memory() as used, open_video(clip) as video:
        plan = plan_samples(video.info, sampling, spec, None)
        memory = fit(plan, spec, request).memory
        kept = estimate(plan, spec, 4, memory=memory).kept
        model = load_model(spec, "cpu", "auto")
        aligner = load_aligner(model, "auto")
        session = open_session(model, aligner, plan, memory, kept)
        pipeline.watch(video, plan, session, request, listener, memory, save=tick)
        watching = used.peak
        began = time.process_time()
        locate(session, aligner, "a red circle appears")
        ask(session, aligner, request.query, DecodeSettings(max_new_tokens=16), listener.text)
        asking = time.process_time() - began
    each = spec.block_steps * 2 / _RATE
    return {
        "steps": len(session.steps),
        "window_s": float(memory.window),
        "peak_bytes": watching,
        "asked_bytes": used.peak,
        "question_cpu_s": asking,
        "watch_cpu_s": cpu[-1] - cpu[0],
        "early_cpu_s": _median_step(cpu, int(_EARLY / each)),
        "late_cpu_s": _median_step(cpu, len(cpu) - 2 - _LOOK),
        "early_s": _median_step(wall, int(_EARLY / each)),
        "late_s": _median_step(wall, len(wall) - 2 - _LOOK),
    }


def _median_step(times: Sequence[float], first: int) -> float:
    """The median of the _LOOK blocks from block `first` on; the last, unfinished block is none of them."""
    took = [after - before for before, after in pairwise(times)]
    return median(took[min(first, max(len(took) - 1 - _LOOK, 0)) :][:_LOOK])


_PARTS: dict[str, Callable[..., dict[str, Any]]] = {"film": film_clip, "watch": watch}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(_PARTS[sys.argv[1]](*sys.argv[2:])) + "\n")
