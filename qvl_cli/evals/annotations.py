"""Annotation files of the public suites -> queries. What cannot be read is said and counted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qvl_cli.errors import UsageError
from qvl_cli.evals.interval import Floats
from qvl_cli.evals.qvhighlights import annotated_clips
from qvl_cli.evals.vue_tr import ATTRIBUTES

# What a value of another kind, or far too large a one, raises where an entry is read.
MISREAD = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class Query:
    """One thing asked of one video.

    windows: float seconds [n, 2], all that is true; none for what never happens. rated: the annotators'
    ratings [clips, 3] (QVHighlights). options, answer: of a multiple choice, answer as its letter.
    """

    qid: Hashable
    video: str
    text: str
    windows: Floats
    duration: float | None = None
    rated: Floats | None = None
    options: tuple[str, ...] = ()
    answer: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Entries:
    """What a file holds, as (place, content), and what could not be read, as `place: why`."""

    entries: tuple[tuple[str, Any], ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Annotations:
    queries: tuple[Query, ...]
    unreadable: tuple[str, ...]


def read_annotations(suite: str, path: Path) -> Annotations:
    """Raises UsageError where the file is not there, or holds no query that can be read."""
    text = read_text(path)
    if suite == "charades" and not text.lstrip().startswith(("{", "[")):
        entries = Entries(tuple((f"line {i + 1}", (i, line)) for i, line in _lines(text)), ())
        build: Callable[[Any], list[Query]] = _charades_line
    else:
        entries = json_entries(text)
        if suite == "video-mme":
            entries = replace(entries, entries=tuple(_questions(entries.entries)))
        build = {"vue-tr": _vue_tr, "video-mme": _video_mme}.get(suite, _qvhighlights)
    queries: list[Query] = []
    unreadable = list(entries.unreadable)
    known: set[Hashable] = set()
    for place, entry in entries.entries:
        try:
            built = build(entry)
            if not all(query.text.strip() for query in built):
                raise ValueError("the query is empty")
            if again := [query.qid for query in built if query.qid in known]:
                raise ValueError(f"qid {again[0]!r} comes a second time")
            known |= {query.qid for query in built}
            queries += built
        except MISREAD as error:
            unreadable.append(f"{place}: {explain(error)}")
    if not queries:
        why = f" ({unreadable[0]})" if unreadable else ""
        raise UsageError(f"{path} holds no {suite} query that can be read{why}", "see README, Evaluation")
    return Annotations(tuple(queries), tuple(unreadable))


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {path} ({explain(error)})", "give a UTF-8 text file that exists"
        ) from error


def json_entries(text: str) -> Entries:
    """The elements of a JSON array, or the lines of JSON lines. Raises UsageError for a broken array."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"the file is no whole JSON array ({error})", "repair or export it again"
            ) from None
        return Entries(tuple((f"entry {i + 1}", entry) for i, entry in enumerate(found)), ())
    entries, unreadable = [], []
    for i, line in _lines(text):
        try:
            entries.append((f"line {i + 1}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            unreadable.append(f"line {i + 1}: not JSON ({error})")
    return Entries(tuple(entries), tuple(unreadable))


def explain(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) or type(error).__name__


def spans(found: Any, widths: tuple[int, ...] = (2,)) -> Floats:
    """A list of number lists as an array; [] has shape [0, widths[0]]. Raises ValueError."""
    if not isinstance(found, list) or any(not isinstance(each, list) for each in found):
        raise ValueError("windows are no list of lists")
    if not found:
        return np.zeros((0, widths[0]))
    if len({len(each) for each in found}) > 1 or len(found[0]) not in widths:
        raise ValueError(f"a window has not {' or '.join(map(str, widths))} numbers")
    return numbers(found)


def numbers(found: Any, axes: int = 2) -> Floats:
    """An array of as many axes. Raises ValueError."""
    array = np.array(found, float)
    if array.ndim != axes:
        raise ValueError(f"no {'list' if axes == 1 else 'table'} of numbers")
    if not np.isfinite(array).all():
        raise ValueError("a number is not finite")
    return array


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # str.splitlines would also cut at U+2028 and the like, which JSON texts may hold as they are.
    return ((i, line) for i, line in enumerate(text.split("\n")) if line.strip())


def _seconds(found: Any) -> float | None:
    if found is None:
        return None
    value = float(found)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"duration {found!r} is no positive number")
    return value


def qid_of(entry: Mapping[str, Any], *names: str) -> Hashable:
    """What stands under the first of `names` that is there. Raises ValueError."""
    value = next((entry[name] for name in names if name in entry), None)
    if not isinstance(value, str | int):
        raise ValueError(f"no {names[0]!r} that is a number or a text")
    return value


def _qvhighlights(entry: Any) -> list[Query]:
    duration = _seconds(entry.get("duration") if isinstance(entry, dict) else None)
    rated = None
    if "saliency_scores" in entry and duration:
        rated = annotated_clips(duration, entry["relevant_clip_ids"], entry["saliency_scores"])
    windows = spans(entry["relevant_windows"])
    key = qid_of(entry, "qid")
    return [Query(key, str(entry["vid"]), str(entry["query"]), windows, duration, rated)]


def _charades_line(entry: tuple[int, str]) -> list[Query]:
    """`VIDEO START END##SENTENCE`; the qid is the number of the line, counted from 0."""
    number, line = entry
    head, marks, sentence = line.partition("##")
    parts = head.split()
    if not marks or len(parts) != 3:
        raise ValueError("not `VIDEO START END##SENTENCE`")
    window = spans([[float(parts[1]), float(parts[2])]])
    return [Query(number, parts[0], sentence.strip(), window)]


def _vue_tr(entry: Any) -> list[Query]:
    attributes = tuple((name, str(entry[name])) for name in ATTRIBUTES if name in entry)
    return [
        Query(
            qid_of(entry, "query_id", "id"),
            str(entry["video_id"]),
            str(entry["query"]),
            spans(entry["gt"]),
            _seconds(entry.get("duration")),
            attributes=attributes,
        )
    ]


def _questions(entries: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """One question a row, as on the hub, of rows that may be one video with its `questions`, as in the result
    files: one that cannot be read takes none of the others with it."""
    for place, entry in entries:
        questions = entry.get("questions") if isinstance(entry, dict) else None
        if not isinstance(questions, list):
            yield place, entry
            continue
        for number, question in enumerate(questions, 1):
            whole = {**entry, **question} if isinstance(question, dict) else question
            yield f"{place}, question {number}", whole


def _video_mme(entry: Any) -> list[Query]:
    options = tuple(map(str, entry["options"]))
    answer = str(entry["answer"]).strip().upper()[:1]
    if not 2 <= len(options) <= 26 or not answer or ord(answer) - ord("A") not in range(len(options)):
        raise ValueError(f"answer {entry['answer']!r} is no letter of {len(options)} options")
    return [
        Query(
            qid_of(entry, "question_id"),
            str(entry.get("videoID") or entry["video_id"]),
            str(entry["question"]),
            np.zeros((0, 2)),
            options=options,
            answer=answer,
            attributes=tuple(
                (name, str(entry[name]))
                for name in ("duration", "domain", "sub_category", "task_type")
                if name in entry
            ),
        )
    ]
