"""Scripts -> training clips: the tokens qvl itself would stream, many questions packed behind one video.

Every question sees the video and itself only (a block mask): one question's text would give away another's
answer. Positions of each question start where the video ends, as in a fork.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from qvl_cli.align.training import step_targets
from qvl_cli.prompts import section_prompt
from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.perception import CELL, COLS, FRAME_GAP, ROWS, film_look
from qvl_cli.tiny.questions import (
    LEAST_VISIBLE,
    Query,
    Span,
    ask_query,
    locate_query,
    overview_query,
    plural,
    section_query,
    spans_text,
)
from qvl_cli.tiny.recipe import TIME_MIX, Course, Mix
from qvl_cli.tiny.vocabulary import special_ids, world_tokenizer
from qvl_cli.tiny.world import (
    ACTIONS,
    COLOUR_NAMES,
    SHAPES,
    Script,
    check_training_seed,
    rng_for,
    write_script,
)

PREFIX, SUFFIX = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
IGNORE = -100


@dataclass(slots=True)
class Sequence3D:
    """Tokens with their three MRoPE positions, grown piece by piece. Block 0 is the video, 1.. questions."""

    ids: list[int] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    block: list[int] = field(default_factory=list)

    def text(self, ids: Sequence[int], cursor: int, block: int, learn: float = 0.0) -> int:
        """Append text; with `learn` > 0 each token is the target of the one before, at that weight. Returns
        the next position."""
        for i, token in enumerate(ids):
            if learn:
                self.targets[-1], self.weights[-1] = token, learn
            self.ids.append(token)
            self.positions.append((cursor + i,) * 3)
            self.targets.append(IGNORE)
            self.weights.append(0.0)
            self.block.append(block)
        return cursor + len(ids)

    def vision(self, pad: int, cursor: int) -> int:
        for row in range(ROWS):
            for col in range(COLS):
                self.ids.append(pad)
                self.positions.append((cursor, cursor + row, cursor + col))
                self.targets.append(IGNORE)
                self.weights.append(0.0)
                self.block.append(0)
        return cursor + max(ROWS, COLS)


@dataclass(frozen=True, slots=True)
class HeadTarget:
    """What the alignment head should say of one query.

    tokens: places of the query's states in the sequence; spans: the truth in seconds from the clip's start;
    inside [steps]: share of each interval in the spans; first, last [steps]: 0 or 1; start_at, end_at
    [steps]: where in the interval.
    """

    tokens: tuple[int, ...]
    spans: tuple[Span, ...]
    inside: npt.NDArray[np.float32]
    first: npt.NDArray[np.float32]
    last: npt.NDArray[np.float32]
    start_at: npt.NDArray[np.float32]
    end_at: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LookupTarget:
    """Where the tokens of an answer should look. rows: places of the tokens from which each answer token is
    predicted; keys: places of the vision tokens under the centres of what proves the answer; names: places of
    the colours and shapes that the answer says again from the question."""

    rows: tuple[int, ...]
    keys: tuple[int, ...]
    names: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Clip:
    """One watched video with its questions. frames uint8 [steps, 2, H, W, 3]; ends: place of each step's last
    token; times [steps, 2] seconds as written; durations [steps] seconds; present [steps, 64 + 7]:
    which kinds show and which actions happen."""

    frames: npt.NDArray[np.uint8]
    sequence: Sequence3D
    ends: tuple[int, ...]
    times: npt.NDArray[np.float64]
    durations: npt.NDArray[np.float32]
    present: npt.NDArray[np.float32]
    targets: tuple[HeadTarget, ...]
    lookups: tuple[LookupTarget, ...]


def encode(text: str) -> list[int]:
    return list(world_tokenizer().encode(text, add_special_tokens=False).ids)


def head_target(
    spans: tuple[Span, ...],
    tokens: Sequence[int],
    starts: npt.NDArray[np.float64],
    ends: npt.NDArray[np.float64],
) -> HeadTarget:
    """Spans against the steps' intervals [starts, ends)."""
    since = tuple((begin - float(starts[0]), end - float(starts[0])) for begin, end in spans)
    return HeadTarget(tuple(tokens), since, *step_targets(spans, starts, ends).T)


@functools.cache
def name_tokens() -> frozenset[int]:
    """Ids of the colours and shapes, singular and plural, that are one token."""
    words = [*COLOUR_NAMES, *SHAPES, *(plural(shape) for shape in SHAPES)]
    return frozenset(ids[0] for word in words if len(ids := encode(f" {word}")) == 1)


def centre_tokens(query: Query, starts: npt.NDArray[np.float64], ends: list[int]) -> tuple[int, ...]:
    """Places of the vision tokens under the centres of a question's actors, in the steps that show them."""
    found = set()
    for actor, (begin, end) in query.shown:
        for step in np.nonzero((starts >= begin) & (starts < end))[0]:
            if place := actor.at(float(starts[step])):
                row, col = int(place[1] // CELL), int(place[0] // CELL)
                if 0 <= row < ROWS and 0 <= col < COLS:
                    found.add(ends[step] - ROWS * COLS + row * COLS + col)
    return tuple(sorted(found))


def present_targets(script: Script, starts: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Multi-hot [steps, 64 + 7] of what the two frames of each step show."""
    found = np.zeros((len(starts), len(COLOUR_NAMES) * len(SHAPES) + len(ACTIONS)), np.float32)
    for actor in script.actors:
        shown = (starts + FRAME_GAP >= actor.start) & (starts < actor.end)
        found[shown, COLOUR_NAMES.index(actor.colour) * len(SHAPES) + SHAPES.index(actor.shape)] = 1
        if actor.action:
            doing = shown & (starts + FRAME_GAP >= actor.action.start) & (starts < actor.action.end)
            found[doing, len(COLOUR_NAMES) * len(SHAPES) + ACTIONS.index(actor.action.kind)] = 1
    return found


def draw_queries(script: Script, rng: np.random.Generator, window: Span, mix: Mix) -> list[Query]:
    """The questions of one clip: locate, then one of each ask family, then a section or the overview."""
    locates = [locate_query(script, rng) for _ in range(mix.locates + 4)]
    asks = [next(filter(None, (ask_query(script, rng, f) for _ in range(4))), None) for f in mix.asks]
    queries = [q for q in locates if q][: mix.locates] + [q for q in asks if q]
    if mix.tell < 1 and rng.random() >= mix.tell:
        return queries
    if rng.random() < 0.5:
        queries.append(overview_query(script))
    else:
        start, end = sorted(rng.uniform(*window, 2))
        if end - start > 4.0:
            queries.append(section_query(script, round(start, 1), round(end, 1)))
    return queries


def make_clip(seed: int, steps: int, mix: Mix = TIME_MIX) -> Clip:
    """A clip of `steps` steps cut out of a longer script; sometimes coarser than a step a second, and often
    far from time zero, so that long videos are nothing new."""
    check_training_seed(seed)
    rng = rng_for(seed, "clip")
    spacing = 1.0 if rng.random() < 0.75 else float(rng.uniform(1.0, 2.5))
    length = steps * spacing
    whole = write_script(seed, length + float(rng.uniform(0, 20)), density=float(rng.uniform(0.8, 1.6)))
    begin = float(rng.uniform(0, whole.duration - length))
    rate = float(rng.choice([10.0, 12.5, 25.0, 30.0]))
    starts = np.floor((begin + spacing * np.arange(steps)) * rate) / rate
    script = whole.window(float(starts[0]), float(starts[-1]) + spacing)
    script = _without_glimpses(script)
    offset = 0.0 if rng.random() < 0.4 else float(rng.uniform(0, 120 if rng.random() < 0.7 else 900))
    offset -= float(starts[0])
    times = np.stack([starts, np.floor((starts + FRAME_GAP) * rate) / rate], 1)
    frames = film_look(draw(script, times.ravel().tolist()), rng)
    intervals = starts, np.append(starts[1:], starts[-1] + spacing)

    sequence, ids = Sequence3D(), special_ids()
    cursor = sequence.text(encode(PREFIX), int(rng.integers(0, 4)) * int(rng.integers(0, 2000)), 0)
    ends = []
    for t0, t1 in times:
        cursor = sequence.text(encode(f"<{(t0 + t1) / 2 + offset:.1f} seconds>"), cursor, 0)
        cursor = sequence.text([ids["<|vision_start|>"]], cursor, 0)
        cursor = sequence.vision(ids["<|video_pad|>"], cursor)
        cursor = sequence.text([ids["<|vision_end|>"]], cursor, 0)
        ends.append(len(sequence.ids) - 1)
    targets, lookups = [], []
    window = (float(intervals[0][0]), float(intervals[1][-1]))
    for block, query in enumerate(draw_queries(script, rng, window, mix), start=1):
        tokens = _append_query(sequence, cursor, block, query, offset, rng, mix)
        if tokens:
            targets.append(head_target(query.spans, tokens, *intervals))
        if query.shown and (keys := centre_tokens(query, starts, ends)):
            # in whole sentences only the tokens that are not said again from the question have to look
            echo = len(encode(query.echo))
            deciding = tokens[echo:-1] if mix.sentences else tokens
            names = (
                tuple(t for t in tokens[:echo] if sequence.ids[t] in name_tokens()) if mix.sentences else ()
            )
            lookups.append(LookupTarget(tuple(token - 1 for token in deciding), keys, names))
    return Clip(
        frames.reshape(steps, 2, *frames.shape[1:]),
        sequence,
        tuple(ends),
        times + offset,
        (intervals[1] - intervals[0]).astype(np.float32),
        present_targets(script, starts),
        tuple(targets),
        tuple(lookups),
    )


def _without_glimpses(script: Script) -> Script:
    """Actors a window cut to less than what may be asked about are gone from picture and truth alike."""
    return replace(script, actors=tuple(a for a in script.actors if a.end - a.start >= LEAST_VISIBLE))


def _append_query(
    sequence: Sequence3D,
    cursor: int,
    block: int,
    query: Query,
    offset: float,
    rng: np.random.Generator,
    mix: Mix,
) -> list[int]:
    """Append one question; returns the places whose states the head reads: the event of a locate, the answer
    of an ask, nothing for sections."""
    prompt = query.prompt if query.window is None else section_prompt(*(t + offset for t in query.window))
    cursor = sequence.text(encode(prompt.before), cursor, block)
    first = len(sequence.ids)
    cursor = sequence.text(encode(prompt.query), cursor, block)
    tokens = list(range(first, len(sequence.ids)))
    if query.family == "locate" and rng.random() > 0.15:
        return tokens
    cursor = sequence.text(encode(prompt.after) + encode(SUFFIX), cursor, block)
    first = len(sequence.ids)
    shifted = tuple((a + offset, b + offset) for a, b in query.spans)
    said = query.answer if mix.sentences or not query.short else query.short
    answer = spans_text(shifted) if query.family == "locate" else said
    asked = query.family not in ("locate", "section", "overview")
    weight = mix.ask_weight if asked else 1.0
    sequence.text([*encode(answer), special_ids()["<|im_end|>"]], cursor, block, learn=weight)
    if not asked:
        return tokens if query.family == "locate" else []
    return list(range(first, len(sequence.ids) - 1))


def clip_batch(course: Course, update: int) -> list[Clip]:
    """The clips of one update of a course."""
    steps, count = course.clips(update)
    first = course.stage.first_seed + update * course.stage.batch
    return [make_clip(first + i, steps, course.mix) for i in range(count)]
