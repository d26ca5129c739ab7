"""One run of the `stream` benchmark, in a process of its own.

    python -m qvl_cli.bench.stream_run load-peer|load-qvl FOLDER STEPS
    python -m qvl_cli.bench.stream_run peer FOLDER STEPS LOGITS
    python -m qvl_cli.bench.stream_run qvl FOLDER STEPS LOGITS CHUNK KV

Each makes a clip of noise and loads the model; `load-` stops where the measured part would begin, with the
clip, and for the peer its normalised patches, in memory: what the others take above that is cache and
activations. LOGITS: where the last logits go, as float32 .npy.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from qvl_cli.bench.noise import cut, noise_clip
from qvl_cli.bench.one_shot import OneShot
from qvl_cli.bench.stream import KV, SIDE, VISION_TOKENS
from qvl_cli.budget import turn_tokens
from qvl_cli.cache import Memory, make_memory
from qvl_cli.cache.packed import PackedMemory
from qvl_cli.chunks import FrameChunk
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import load_model
from qvl_cli.prompts import Prompt
from qvl_cli.registry import STEP_TEXT_TOKENS, ModelSpec, read_spec
from qvl_cli.stream import StreamSession

PROMPT = Prompt("", "What happens?")


def main(kind: str, folder: str, steps: str, logits: str = "", chunk: str = "", kv: str = "") -> None:
    spec = read_spec(folder)
    clip = noise_clip(int(steps), SIDE, SIDE)
    if kind.endswith("peer"):
        one_shot = OneShot(spec)
        if kind == "load-peer":
            one_shot.inputs(clip, PROMPT)
            return
        _report(lambda: _one_forward(one_shot, clip), Path(logits))
    else:
        model = load_model(spec, "cpu", "float32")
        if kind == "load-qvl":
            return
        # what the pipeline reserves from its plan; compressed blocks leave the part that grows
        settings = MemorySettings("full", kv=KV[kv])
        growing = len(clip.steps) if settings.kv == "none" else spec.block_steps
        reserve = growing * (VISION_TOKENS + STEP_TEXT_TOKENS) + turn_tokens(spec)
        memory = make_memory(model, settings, reserve)
        session = StreamSession(model, memory=memory)
        _report(lambda: _stream(session, clip, int(chunk)), Path(logits), lambda: _kept(memory, spec))


def _one_forward(peer: OneShot, clip: FrameChunk) -> tuple[Tensor, int]:
    """The last logits, and how many tokens the prompt has."""
    inputs = peer.inputs(clip, PROMPT)
    hidden, _cache = peer.forward(inputs)
    return peer.logits(hidden), len(hidden)


def _stream(session: StreamSession, clip: FrameChunk, size: int) -> tuple[Tensor, int]:
    """The last logits, and how many tokens were watched before the question."""
    for chunk in cut(clip, size):
        session.watch(chunk)
    return session.logits(PROMPT), session.tokens


def _kept(memory: Memory, spec: ModelSpec) -> dict[str, float]:
    """Bytes of the finished blocks over what they would take in bfloat16, where they are compressed."""
    if not isinstance(memory, PackedMemory) or not memory.packed_tokens:
        return {}
    return {"kv_over_bf16": memory.nbytes / (memory.packed_tokens * spec.kv_bytes_per_token(2))}


def _report(
    section: Callable[[], tuple[Tensor, int]], path: Path, more: Callable[[], dict[str, float]] = dict
) -> None:
    began, used = time.perf_counter(), time.process_time()
    logits, tokens = section()
    figures = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    np.save(path, logits.numpy())
    sys.stdout.write(json.dumps({**figures, **more(), "tokens": tokens, "logits": str(path)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
