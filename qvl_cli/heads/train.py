"""`qvl head train`: stored features -> a trained head, calibrated on videos it was not fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qvl_cli import pipeline, registry
from qvl_cli.align.calibrate import Judged, fit_score
from qvl_cli.align.head import FORM, checkpoint_mark, head_bytes, step_scores
from qvl_cli.align.network import HeadNetwork, HeadShape
from qvl_cli.align.training import head_loss, step_targets
from qvl_cli.errors import UsageError
from qvl_cli.evals.annotations import read_annotations
from qvl_cli.evals.document import document
from qvl_cli.evals.figures import DIGITS
from qvl_cli.evals.troubles import Troubles
from qvl_cli.evals.videos import name_videos
from qvl_cli.evals.watching import Watcher
from qvl_cli.heads.features import VideoFeatures, collect, padded, with_absent
from qvl_cli.registry import HEAD_FILE
from qvl_cli.render.output import check_writable, write_file
from qvl_cli.request import Request
from qvl_cli.timeline import TimeSpan

HELD_OUT = 0.2  # of the videos: for calibration, never for the weights
BATCH = 8  # videos an update
PEAK_RATE, WARMUP = 2e-3, 0.05  # AdamW; the share of all updates that warms up, before a cosine to zero
_MILLIS = 1000
_OF_HEADS = {"aligner", "head", "refine"}  # settings that features do not depend on


@dataclass(frozen=True, slots=True)
class Sources:
    """annotations: QVHighlights' form; videos: their folder; features: where to store what is computed."""

    annotations: Path
    videos: Path
    features: Path


def run(
    sources: Sources,
    output: Path,
    epochs: int,
    seed: int,
    request: Request,
    listener: pipeline.Listener,
) -> dict[str, Any]:
    """Train a head for the checkpoint of `request` and write it to `output`; returns the JSON document.

    Raises UsageError where the data is not enough, ModelMissing where the checkpoint is not there.
    """
    troubles = Troubles(listener)
    known = read_annotations("qvhighlights", sources.annotations)
    backward = {query.qid for query in known.queries if (query.windows[:, 0] >= query.windows[:, 1]).any()}
    why = [f"qid {qid!r}: a window ends where it begins, or before" for qid in backward]
    troubles.add("unreadable annotation", [*known.unreadable, *why])
    asked = with_absent([query for query in known.queries if query.qid not in backward])
    files = name_videos(asked, sources.videos, troubles)
    watcher = Watcher(request, listener)
    read = [sources.annotations, *(video.path for video in files.values()), *watcher.spec.folder.iterdir()]
    check_writable(str(output), *(str(path) for path in read if path.name != HEAD_FILE))
    for note in watcher.notes:
        listener.note(note)
    told = {key: value for key, value in watcher.settings().items() if key not in _OF_HEADS}
    # What names the model: wherever it lies and whatever head lies beside it, its weights decide.
    of_steps = {key: value for key, value in told.items() if key not in ("model", "fingerprint")}
    settings = {
        "weights": registry.weights_digest(watcher.spec.folder),
        "form": FORM,
        **of_steps,
    }
    videos = collect(asked, files, watcher, sources.features, settings, troubles, listener)
    trained, held = split(videos)
    network = fit(trained, watcher.spec.hidden_size, epochs, seed, watcher.model.device, listener)
    try:
        threshold, figures = fit_score(network, _judged(network, held))
    except ValueError as error:
        raise UsageError(f"{error}: there is nothing to calibrate on", "train longer, or on more") from error
    write_file(str(output), head_bytes(network, threshold, checkpoint_mark(watcher.model)))
    results = {"threshold": threshold, **{key: value for key, value in figures.items() if key != "queries"}}
    return document(
        "head",
        {key: None if math.isnan(value) else round(value, DIGITS) for key, value in results.items()},
        {"videos": len(trained), "held_out_videos": len(held), "held_out_queries": int(figures["queries"])},
        {},
        **told,
        head=str(output),
        left_out=troubles.left_out(),
    )


def split(videos: Sequence[VideoFeatures]) -> tuple[list[VideoFeatures], list[VideoFeatures]]:
    """Videos to train on, and those held out: the fifth whose names hash lowest, at least one.

    Raises UsageError for fewer than two videos.
    """
    if len(videos) < 2:
        raise UsageError(
            f"{len(videos)} video with features is not enough", "give at least two: one is held out"
        )
    ordered = sorted(videos, key=lambda each: sha256(each.video.encode()).digest())
    count = max(1, round(HELD_OUT * len(ordered)))
    return ordered[count:], ordered[:count]


def fit(
    videos: Sequence[VideoFeatures],
    hidden: int,
    epochs: int,
    seed: int,
    device: torch.device,
    listener: pipeline.Listener,
) -> HeadNetwork:
    """A head of `hidden` width fitted to the videos; the same seed gives the same head."""
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        network = HeadNetwork(HeadShape(hidden)).to(device)
    optimizer = torch.optim.AdamW(
        [each for each in network.parameters() if each.requires_grad], lr=PEAK_RATE, weight_decay=0.02
    )
    order = np.random.default_rng(seed)
    batches = math.ceil(len(videos) / BATCH)
    total, done = epochs * batches, 0
    for _ in range(epochs):
        shuffled = [videos[at] for at in order.permutation(len(videos))]
        for first in range(0, len(shuffled), BATCH):
            batch = shuffled[first : first + BATCH]
            for group in optimizer.param_groups:
                group["lr"] = PEAK_RATE * _rate(done / total)
            for video in batch:
                loss = _loss(network, video, device) / len(batch)
                loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1
            listener.progress("training the head", done, total)
    return network.eval()


def _rate(done: float) -> float:
    if done < WARMUP:
        return max(done / WARMUP, 0.05)
    return 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP)))


def _loss(network: HeadNetwork, video: VideoFeatures, device: torch.device) -> Tensor:
    starts, ends = (
        np.array([float(edge) for edge in edges])
        for edges in zip(*((each.start, each.end) for each in video.intervals), strict=True)
    )
    truth = torch.from_numpy(np.stack([step_targets(spans, starts, ends) for spans in video.spans]))
    queries, present = padded(video.queries)
    durations = torch.from_numpy(ends - starts).float()
    scores = network(
        video.steps[None].to(device),
        queries[None].to(device),
        present[None].to(device),
        durations[None].to(device),
    )
    return head_loss(scores[0], truth.to(device))[0]


def _judged(network: HeadNetwork, videos: Sequence[VideoFeatures]) -> Iterator[Judged]:
    device = network.score_bias.device
    for video in videos:
        durations = torch.tensor([float(each.duration) for each in video.intervals], device=device)
        for query, spans in zip(video.queries, video.spans, strict=True):
            scores = step_scores(network, video.steps.to(device), query.to(device), durations)
            yield Judged(video.intervals, scores, [_span(start, end) for start, end in spans])


def _span(start: float, end: float) -> TimeSpan:
    return TimeSpan(Fraction(round(start * _MILLIS), _MILLIS), Fraction(round(end * _MILLIS), _MILLIS))
