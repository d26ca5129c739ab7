"""Videos and queries through the frozen checkpoint, once: what a head is trained on, stored in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from qvl_cli.errors import MediaError, OutsideWorld, OverBudget, UsageError
from qvl_cli.evals.annotations import Query
from qvl_cli.evals.journal import Journal
from qvl_cli.prompts import locate_prompt
from qvl_cli.timeline import TimeSpan

if TYPE_CHECKING:
    from qvl_cli.evals.troubles import Troubles
    from qvl_cli.evals.videos import NamedVideo
    from qvl_cli.evals.watching import Watched, Watcher
    from qvl_cli.pipeline import Listener

LIST = "features.jsonl"


@dataclass(frozen=True, slots=True)
class VideoFeatures:
    """One watched video. steps: float32 [n, regions + 1, hidden], as `StreamSession.features`, mapped from
    its file; intervals: of the n steps; queries: float32 [l, hidden] each, as read after the video; spans:
    the true seconds of each query, none for what never happens."""

    video: str
    steps: Tensor
    intervals: tuple[TimeSpan, ...]
    queries: tuple[Tensor, ...]
    spans: tuple[tuple[tuple[float, float], ...], ...]


def with_absent(queries: Sequence[Query]) -> dict[str, list[Query]]:
    """video -> its queries, and as many of the next video's, which count as never happening here.

    Texts that both videos ask about are left out of the latter.
    """
    own: dict[str, list[Query]] = {}
    for query in queries:
        own.setdefault(query.video, []).append(query)
    names = list(own)
    asked: dict[str, list[Query]] = {}
    for at, name in enumerate(names):
        other = own[names[(at + 1) % len(names)]] if len(names) > 1 else []
        known = {query.text for query in own[name]}
        empty = [
            Query(query.qid, name, query.text, query.windows[:0])
            for query in other
            if query.text not in known
        ]
        asked[name] = own[name] + empty[: len(own[name])]
    return asked


def collect(
    asked: Mapping[str, Sequence[Query]],
    files: Mapping[str, NamedVideo],
    watcher: Watcher,
    folder: Path,
    settings: Mapping[str, Any],
    troubles: Troubles,
    listener: Listener,
) -> list[VideoFeatures]:
    """Features of every video that can be watched; those already in `folder` are read, not computed again, as
    long as the file and the texts are those they were computed from.

    Raises UsageError where the folder holds features of other settings, or cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {error.strerror}", "name another --features DIR") from error
    journal = Journal(folder / LIST, settings, keep=True, flag="--features DIR")
    try:
        of = {name: [*video.identity, _texts_digest(asked[name])] for name, video in files.items()}
        for done, (name, video) in enumerate(files.items()):
            listener.progress("reading videos", done, len(files))
            if journal.get(name, of[name]):
                continue
            try:
                watched = watcher.watch(video.path)
            except (MediaError, OverBudget, OutsideWorld) as error:
                troubles.add("unwatched video", [f"{name}: {error}"])
                continue
            journal.add({"of": of[name], **_store(name, watched, asked[name], folder)})
            watched.session.release()
        records = [record for name in files if (record := journal.get(name, of[name]))]
        return [_read(record, folder, asked[str(record["video"])]) for record in records]
    finally:
        journal.close()


def _store(name: str, watched: Watched, queries: Sequence[Query], folder: Path) -> dict[str, Any]:
    """Write the tensors, whole before the list names them; returns the list's record."""
    session = watched.session
    tensors = {"steps": session.features.cpu()}
    for at, query in enumerate(queries):
        tensors[f"query.{at}"] = session.read(locate_prompt(query.text)).cpu()
    file = f"{sha256(name.encode()).hexdigest()[:24]}.safetensors"
    try:
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / file)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"cannot write the features of {name} to {folder} ({error})",
            "free space or name another --features DIR",
        ) from error
    return {
        "video": name,
        "file": file,
        "edges": [[str(step.interval.start), str(step.interval.end)] for step in session.steps],
    }


def _texts_digest(queries: Sequence[Query]) -> str:
    return sha256(json.dumps([query.text for query in queries]).encode()).hexdigest()


def _read(record: Mapping[str, Any], folder: Path, asked: Sequence[Query]) -> VideoFeatures:
    try:
        tensors = load_file(folder / record["file"])
        queries = tuple(tensors[f"query.{at}"] for at in range(len(asked)))
        steps = tensors["steps"]
    except (OSError, SafetensorError, KeyError) as error:
        raise UsageError(
            f"the features of {record['video']} in {folder} are damaged ({error})", "remove that folder"
        ) from error
    return VideoFeatures(
        str(record["video"]),
        steps,
        tuple(TimeSpan(Fraction(start), Fraction(end)) for start, end in record["edges"]),
        queries,
        tuple(tuple((start, end) for start, end in query.windows.tolist()) for query in asked),
    )


def padded(queries: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Queries [l, hidden] of different lengths -> [m, longest, hidden] and which of it is there."""
    lengths = torch.tensor([len(query) for query in queries])
    together = torch.nn.utils.rnn.pad_sequence(list(queries), batch_first=True)
    return together, torch.arange(together.shape[1])[None] < lengths[:, None]
