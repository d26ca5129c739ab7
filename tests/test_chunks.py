"""Chunks are only a way of carrying the same steps: neither size nor prefetch may change anything."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from qvl_cli.budget import chunk_sizes, estimate, largest_chunk
from qvl_cli.chunks import FrameChunk, iter_chunks
from qvl_cli.errors import OverBudget
from qvl_cli.media import open_video
from qvl_cli.media.subtitles.cue import Cue
from qvl_cli.memory import MemorySettings
from qvl_cli.request import Request
from qvl_cli.sampling import SamplePlan, SamplingSettings, plan_samples
from qvl_cli.weave import weave
from tests.clips import damage, read_number, write_clip, x264
from tests.test_sampling import FIXED

Pixels = npt.NDArray[np.uint8]
FIT = SamplingSettings(Fraction(5))


def crop(frames: list[Pixels], width: int, height: int) -> Pixels:
    """Stands in for the resize: any function of the pixels shows what arrives."""
    return np.stack([np.resize(frame, (height, width, 3)) for frame in frames])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chunks") / "clip.mp4"
    return write_clip(path, [40 * n for n in range(200)], options=x264())


def watch(path: Path, size: int, prefetch: int) -> tuple[SamplePlan, list[FrameChunk]]:
    with open_video(path) as video:
        plan = plan_samples(video.info, FIT, FIXED)
        return plan, list(iter_chunks(video, plan, size, crop, prefetch))


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "qvl-prefetch"]


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_no_size_and_no_prefetch_changes_a_bit(clip: Path, size: int, prefetch: int) -> None:
    plan, whole = watch(clip, len(plan_of(clip).steps), 0)
    _, parts = watch(clip, size, prefetch)
    assert [len(chunk.steps) for chunk in parts[:-1]] == [size] * (len(parts) - 1)
    assert tuple(step for chunk in parts for step in chunk.steps) == plan.steps
    np.testing.assert_array_equal(np.concatenate([chunk.frames for chunk in parts]), whole[0].frames)
    assert prefetching() == []


def plan_of(path: Path) -> SamplePlan:
    with open_video(path) as video:
        return plan_samples(video.info, FIT, FIXED)


def test_each_step_carries_its_own_two_frames(clip: Path) -> None:
    seen: list[int] = []

    def note(frames: list[Pixels], width: int, height: int) -> Pixels:
        seen.extend(read_number(frame) for frame in frames)
        return crop(frames, width, height)

    with open_video(clip) as video:
        plan = plan_samples(video.info, FIT, FIXED)
        for chunk in iter_chunks(video, plan, 4, note):
            assert chunk.frames.shape == (len(chunk.steps), 2, plan.height, plan.width, 3)
            assert chunk.frames.dtype == np.uint8
    assert seen == [int(time * 25) for step in plan.steps for time in (step.t0, step.t1)]


def test_a_lone_frame_is_doubled(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "one.mp4", [0], options=x264())
    _, chunks = watch(path, 8, 2)
    assert len(chunks) == 1
    np.testing.assert_array_equal(chunks[0].frames[0, 0], chunks[0].frames[0, 1])


def test_steps_of_lost_frames_are_left_out_and_told(tmp_path: Path) -> None:
    path = damage(write_clip(tmp_path / "hurt.mp4", [40 * n for n in range(200)], options=x264()))
    with open_video(path) as video:
        plan = plan_samples(video.info, FIT, FIXED)
        steps = [step for chunk in iter_chunks(video, plan, 3, crop) for step in chunk.steps]
        assert 0 < len(steps) < len(plan.steps)
        lost = [step for step in plan.steps if step not in steps]
        assert all(any(t in span for span in video.lost for t in (step.t0, step.t1)) for step in lost)
    with open_video(path) as video:  # what was said in front of a lost step is read in front of the next
        cues = [Cue(step.interval, f"cue {number}") for number, step in enumerate(plan.steps)]
        woven = weave(plan, cues, len)
        chunks = list(iter_chunks(video, woven, 3, crop))
    shown = [step for chunk in chunks for step in chunk.steps]
    assert [(step.t0, step.t1) for step in shown] == [(step.t0, step.t1) for step in steps]
    upto = next(n for n, step in enumerate(woven.steps) if step.t0 == shown[-1].t0)
    assert [cue for step in shown for cue in step.cues] == [
        c for s in woven.steps[: upto + 1] for c in s.cues
    ]


class Broken(Exception):
    pass


@pytest.mark.parametrize("prefetch", [0, 2])
def test_errors_cross_the_thread(clip: Path, prefetch: int) -> None:
    def fail(frames: list[Pixels], width: int, height: int) -> Pixels:
        raise Broken

    with open_video(clip) as video, pytest.raises(Broken):
        list(iter_chunks(video, plan_samples(video.info, FIT, FIXED), 2, fail, prefetch))
    assert prefetching() == []


@pytest.mark.parametrize(
    ("most", "block", "sizes"),
    [
        (5, 1, [5, 5, 5, 5]),
        (8, 8, [8, 8, 8, 8]),
        (20, 8, [16, 16, 16, 16]),
        (5, 8, [4, 4, 4, 4]),
        (3, 8, [2, 3, 3, 2]),
        (7, 8, [4, 4, 4, 4]),
        (1, 8, [1, 1, 1, 1]),
    ],
)
def test_chunks_end_with_blocks(clip: Path, most: int, block: int, sizes: list[int]) -> None:
    assert list(islice(chunk_sizes(most, block), 4)) == sizes
    assert largest_chunk(most, block) == max(sizes)
    with open_video(clip) as video:
        plan = plan_samples(video.info, FIT, FIXED)
        chunks = list(iter_chunks(video, plan, most, crop, block_steps=block))
    assert tuple(step for chunk in chunks for step in chunk.steps) == plan.steps
    ends = set(accumulate(len(chunk.steps) for chunk in chunks))
    assert max(len(chunk.steps) for chunk in chunks) <= most
    assert ends >= set(range(max(block, sizes[0]), len(plan.steps), max(block, sizes[0])))


def test_closing_early_stops_the_thread_and_leaves_the_video_open(clip: Path) -> None:
    with open_video(clip) as video:
        plan = plan_samples(video.info, FIT, FIXED)
        chunks: Any = iter_chunks(video, plan, 1, crop)
        first = next(chunks)
        assert len(prefetching()) == 1
        chunks.close()
        assert prefetching() == []
        again = next(iter(video.frames([plan.steps[0].t0])))
        assert read_number(again.pixels) == 0
        assert len(list(iter_chunks(video, plan, 5, crop))) == -(-len(plan.steps) // 5)
    assert first.steps == plan.steps[:1]


def test_an_interrupt_does_not_wait_for_a_huge_chunk(clip: Path) -> None:
    made = 0

    def interrupt(frames: list[Pixels], width: int, height: int) -> Pixels:
        nonlocal made
        made += 1
        if made == 3:
            os.kill(os.getpid(), signal.SIGINT)
        if made >= 3:
            time.sleep(0.2)
        return crop(frames, width, height)

    with open_video(clip) as video:
        plan = plan_samples(video.info, FIT, FIXED)
        with pytest.raises(KeyboardInterrupt):
            list(iter_chunks(video, plan, 1000, interrupt))
    assert made < len(plan.steps) // 2
    assert prefetching() == []


def test_an_interrupt_while_waiting_leaves_no_thread(clip: Path) -> None:
    with open_video(clip) as video, pytest.raises(KeyboardInterrupt):
        for _ in iter_chunks(video, plan_samples(video.info, FIT, FIXED), 1, crop):
            raise KeyboardInterrupt
    import gc

    gc.collect()
    assert prefetching() == []


def test_the_memory_check_knows_the_chunk(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qvl_cli import fitting

    plan = plan_of(clip)
    spec = replace(FIXED, block_steps=4)
    free = estimate(plan, spec, 4, 8).bytes
    assert estimate(plan, spec, 4).bytes < free < estimate(plan, spec, 4, 1000).bytes
    monkeypatch.setattr(fitting, "free_on_device", lambda request: (free, 4))
    asked = Request("ask", str(clip), "who?", FIT, device="cpu", dtype="float32")
    for chunk in (None, 8, 11):
        fitting.fit(plan, spec, replace(asked, steps_per_chunk=chunk))
    with pytest.raises(OverBudget, match="try --chunk 8"):
        fitting.fit(plan, spec, replace(asked, steps_per_chunk=1000))
    for free_of in ({"task": "watch"}, {"task": "summarize", "memory": MemorySettings("window")}):
        small = estimate(plan, spec, 4, 1, MemorySettings("window")).bytes
        monkeypatch.setattr(fitting, "free_on_device", lambda request, free=small: (free, 4))
        windowed = replace(asked, memory=MemorySettings("window"), steps_per_chunk=1)
        fitting.fit(plan, spec, windowed)
        with pytest.raises(OverBudget) as raised:
            fitting.fit(plan, spec, replace(windowed, **free_of))
        assert "--chunk" not in str(raised.value.remedy)
