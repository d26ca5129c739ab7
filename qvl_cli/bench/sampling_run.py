"""One run of the `sampling` benchmark, in a process of its own; ends in a JSON object of counts.

    python -m qvl_cli.bench.sampling_run still FOLDER
    python -m qvl_cli.bench.sampling_run busy FOLDER VIDEOS
    python -m qvl_cli.bench.sampling_run locate FOLDER VIDEOS
    python -m qvl_cli.bench.sampling_run static FOLDER VIDEOS
    python -m qvl_cli.bench.sampling_run real FOLDER MEDIA

FOLDER: where clips are written.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvl_cli import pipeline
from qvl_cli.bench.sampling import REAL
from qvl_cli.bench.still_clips import CLIPS, write_clip
from qvl_cli.evals.spans import top_iou
from qvl_cli.media import open_video
from qvl_cli.registry import ModelSpec, read_spec, resolve
from qvl_cli.request import Request
from qvl_cli.sampling import SamplePlan, SamplingSettings, plan_samples
from qvl_cli.scan import Activity, scan
from qvl_cli.tiny.film import film
from qvl_cli.tiny.questions import locate_query
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import TRAINING_SEEDS, Script, rng_for

if TYPE_CHECKING:
    from qvl_cli.align import Aligner
    from qvl_cli.media.info import Source
    from qvl_cli.model.load import LoadedModel
    from qvl_cli.stream import StreamSession
    from qvl_cli.tiny.pieces import Query

EVEN = SamplingSettings()
ACTIVE = SamplingSettings(mode="adaptive")
CHANGED = SamplingSettings(drop_static=True)
MODEL = "tiny"
NEAR = Fraction(1, 2)  # seconds between a known change and the step that shows it
FIRST_SEED = TRAINING_SEEDS + 500_000
SECONDS = 90.0
BUSY, SPARSE = 1.6, 0.25  # actors relative to one about every nine seconds
LOCATES = 4  # questions a video


def main(kind: str, folder: str, rest: str = "") -> None:
    spec = read_spec(resolve(MODEL), MODEL)
    if kind == "still":
        report = still(Path(folder), spec)
    elif kind == "busy":
        report = busy(Path(folder), int(rest), spec)
    elif kind == "locate":
        report = locate(Path(folder), int(rest), spec)
    elif kind == "static":
        report = static(Path(folder), int(rest), spec)
    else:
        report = real(Path(rest), spec)
    print(json.dumps(report))  # noqa: T201 - what the harness reads


def still(folder: Path, spec: ModelSpec) -> dict[str, Any]:
    """Tokens of both plans, and planted changes with a step at their very frame, per clip."""
    report: dict[str, Any] = {}
    for name, (draw, changes, crf) in CLIPS.items():
        path = folder / f"{name}.mp4"
        write_clip(draw(), path, crf)
        with open_video(path) as video:
            even, active = plans(video, spec, scan(video))
        starts = {step.t0 for step in active.steps}
        report |= {
            f"{name}_even": even.tokens,
            f"{name}_active": active.tokens,
            f"{name}_known": len(changes),
            f"{name}_kept": sum(change in starts for change in changes),
        }
    return report


def busy(folder: Path, videos: int, spec: ModelSpec) -> dict[str, Any]:
    """Events that a frame of the even plan shows and none of the adaptive one."""
    tokens, seen, lost = [0, 0], 0, 0
    for _, script, path in drawn(folder, videos, BUSY):
        with open_video(path) as video:
            even, active = plans(video, spec, scan(video))
        tokens = [tokens[0] + even.tokens, tokens[1] + active.tokens]
        for start, end in events(script):
            shown = [
                any(start <= t < end for s in plan.steps for t in (s.t0, s.t1)) for plan in (even, active)
            ]
            seen += shown[0]
            lost += shown[0] and not shown[1]
    return {"even": tokens[0], "active": tokens[1], "seen": seen, "lost": lost}


def locate(folder: Path, videos: int, spec: ModelSpec) -> dict[str, Any]:
    """The same questions on the same videos, watched evenly and adaptively: how many are right (IoU >= 0.5),
    and processor seconds of scanning and of watching evenly."""
    from qvl_cli.align import load_aligner
    from qvl_cli.model.load import load_model

    model = load_model(spec)
    aligner = load_aligner(model, "auto")
    right, tokens, asked = [0, 0], [0, 0], 0
    scanning = watching = 0.0
    for rng, script, path in drawn(folder, videos, SPARSE):
        drawn_queries = (locate_query(script, rng, absent=0.0) for _ in range(LOCATES))
        queries = [query for query in drawn_queries if query is not None]
        asked += len(queries)
        with open_video(path) as video:
            began = time.process_time()
            activity = scan(video)
            scanning += time.process_time() - began
            for at, plan in enumerate(plans(video, spec, activity)):
                began = time.process_time()
                session = watched(model, video, path, plan)
                watching += (time.process_time() - began) * (at == 0)
                right[at] += count_right(session, aligner, queries)
                tokens[at] += plan.tokens
    return {
        "asked": asked,
        "even": right[0],
        "active": right[1],
        "even_tokens": tokens[0],
        "active_tokens": tokens[1],
        "scan_cpu_s": scanning,
        "watch_cpu_s": watching,
    }


def static(folder: Path, videos: int, spec: ModelSpec) -> dict[str, Any]:
    """The same questions on the same even steps, all of their tokens and those that changed alone; on videos
    in which little happens, and on busy ones."""
    from qvl_cli.align import load_aligner
    from qvl_cli.model.load import load_model

    model = load_model(spec)
    aligner = load_aligner(model, "auto")
    report: dict[str, Any] = {}
    for name, density in (("still", SPARSE), ("busy", BUSY)):
        asked, found = 0, [(0, 0), (0, 0)]
        for rng, script, path in drawn(folder, videos, density):
            drawn_queries = (locate_query(script, rng, absent=0.0) for _ in range(LOCATES))
            queries = [query for query in drawn_queries if query is not None]
            asked += len(queries)
            with open_video(path) as video:
                plan = plan_samples(video.info, EVEN, spec)
                for at, settings in enumerate((EVEN, CHANGED)):
                    session = watched(model, video, path, plan, settings)
                    right = count_right(session, aligner, queries)
                    found[at] = found[at][0] + right, found[at][1] + session.vision_tokens
        report[f"{name}_asked"] = asked
        for how, (right, tokens) in zip(("all", "changed"), found, strict=True):
            report |= {f"{name}_{how}": right, f"{name}_{how}_tokens": tokens}
    return report


def watched(
    model: LoadedModel, video: Source, path: Path, plan: SamplePlan, settings: SamplingSettings = EVEN
) -> StreamSession:
    """A session that has watched the plan's steps."""
    from qvl_cli.stream import StreamSession

    session = StreamSession(model)
    # The checkpoint is named: still footage may be unlike its world.
    request = Request("locate", str(path), "anything", settings, model=MODEL)
    pipeline.watch(video, plan, session, request, _Silent())
    return session


def count_right(session: StreamSession, aligner: Aligner, queries: Sequence[Query]) -> int:
    """How many of the questions the session answers with IoU >= 0.5."""
    from qvl_cli.tasks.locate import locate as ask_for

    right = 0
    for query in queries:
        moments = ask_for(session, aligner, query.prompt.query).moments
        right += top_iou([(each.start, each.end) for each in moments], list(query.spans)) >= 0.5
    return right


def real(media: Path, spec: ModelSpec) -> dict[str, Any]:
    """Known changes of real clips with a step near, at a quarter of the even plan's tokens; and what adaptive
    takes of them where it may take all."""
    report: dict[str, Any] = {}
    for name, changes in REAL.items():
        with open_video(media / name) as video:
            activity = scan(video)
            even, free = plans(video, spec, activity)
            asked = replace(ACTIVE, max_tokens=max(even.tokens // 4, even.tokens_per_step))
            active = plan_samples(video.info, asked, spec, activity)
        near = [any(abs(step.t0 - change) <= NEAR for step in active.steps) for change in changes]
        report |= {
            f"{name} known": len(changes),
            f"{name} kept": sum(near),
            f"{name} ratio": active.tokens / even.tokens,
            f"{name} free": free.tokens / even.tokens,
        }
    return report


def plans(video: Source, spec: ModelSpec, activity: Activity) -> tuple[SamplePlan, SamplePlan]:
    """(even, adaptive) of one video at the default settings."""
    even = plan_samples(video.info, EVEN, spec)
    return even, plan_samples(video.info, ACTIVE, spec, activity)


def drawn(folder: Path, videos: int, density: float) -> Iterator[tuple[Any, Script, Path]]:
    """Fresh drawn videos: their own random numbers, what happens, and the file."""
    for seed in range(FIRST_SEED, FIRST_SEED + videos):
        script = write_script(seed, SECONDS, density=density)
        path = folder / f"drawn-{seed}-{density}.mp4"
        film(script, path)
        yield rng_for(seed, "bench sampling"), script, path
        path.unlink()


def events(script: Script) -> Iterator[tuple[float, float]]:
    """Every presence and every action."""
    for actor in script.actors:
        yield actor.start, actor.end
        if actor.action:
            yield actor.action.start, actor.action.end


class _Silent:
    def note(self, line: str) -> None: ...
    def progress(self, stage: str, done: float, total: float) -> None: ...
    def text(self, piece: str, thinking: bool = False) -> None: ...


if __name__ == "__main__":
    main(*sys.argv[1:])
