"""Scripts -> training clips: the tokens qvl itself would stream, many questions packed behind one video.

Every question sees the video and itself only (a block mask): one question's text would give away another's
answer. Positions of each question start where the video ends, as in a fork.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from qvl_cli.align.training import step_targets
from qvl_cli.prompts import section_prompt
from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.lookup import LookupTarget, action_words
from qvl_cli.tiny.perception import COLS, FRAME_GAP, IGNORE, ROWS, film_look, step_labels
from qvl_cli.tiny.questions import (
    LEAST_VISIBLE,
    Look,
    Query,
    Span,
    ask_query,
    locate_query,
    overview_query,
    plural,
    section_query,
    spans_text,
)
from qvl_cli.tiny.recipe import TIME, TIME_MIX, Mix, clips_of
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
class Clip:
    """One watched video with its questions. frames uint8 [steps, 2, H, W, 3]; ends: place of each step's last
    token; times [steps, 2] seconds as written; durations [steps] seconds; present [steps, 64, 1 + 7]: which
    kinds show and which of the actions they do; labels int64 [steps, cells, 3] as in `step_labels`; answers,
    names: where the answers' tokens, and all that name a shape, a colour or an action, should look."""

    frames: npt.NDArray[np.uint8]
    sequence: Sequence3D
    ends: tuple[int, ...]
    times: npt.NDArray[np.float64]
    durations: npt.NDArray[np.float32]
    present: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    targets: tuple[HeadTarget, ...]
    answers: tuple[LookupTarget, ...]
    names: tuple[LookupTarget, ...]


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
def name_tokens() -> dict[int, Look]:
    """Ids of the words that name a shape, a colour or an action -> what to look at."""
    words = {shape: Look(shape=shape) for shape in SHAPES}
    words |= {plural(shape): Look(shape=shape) for shape in SHAPES}
    words |= {colour: Look(colour=colour) for colour in COLOUR_NAMES}
    words |= {word: Look(action=action) for action in ACTIONS for word in action_words(action)}
    return {_one_token(word): look for word, look in words.items()}


def _one_token(word: str) -> int:
    (token,) = encode(f" {word}")
    return token


def lookup_target(row: int, look: Look, steps: tuple[int, int] = (0, sys.maxsize)) -> LookupTarget:
    """`look` in the numbers of `step_labels`."""
    return LookupTarget(
        row,
        (
            1 + SHAPES.index(look.shape) if look.shape else 0,
            1 + COLOUR_NAMES.index(look.colour) if look.colour else 0,
            1 + ACTIONS.index(look.action) if look.action else 0,
        ),
        steps,
    )


def present_targets(script: Script, starts: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Multi-hot [steps, 64, 1 + 7] of what the two frames of each step show: kinds, and what they do."""
    found = np.zeros((len(starts), len(COLOUR_NAMES) * len(SHAPES), 1 + len(ACTIONS)), np.float32)
    for actor in script.actors:
        kind = COLOUR_NAMES.index(actor.colour) * len(SHAPES) + SHAPES.index(actor.shape)
        shown = (starts + FRAME_GAP >= actor.start) & (starts < actor.end)
        found[shown, kind, 0] = 1
        if actor.action:
            doing = shown & (starts + FRAME_GAP >= actor.action.start) & (starts < actor.action.end)
            found[doing, kind, 1 + ACTIONS.index(actor.action.kind)] = 1
    return found


def draw_queries(script: Script, rng: np.random.Generator, window: Span, mix: Mix) -> list[Query]:
    """The questions of one clip: locate, then one of each ask family, then a section or the overview."""
    locates = [locate_query(script, rng, mix.absent) for _ in range(mix.locates + 4)]
    asks = [next(filter(None, (ask_query(script, rng, f) for _ in range(4))), None) for f in mix.asks]
    queries = [q for q in locates if q][: mix.locates] + [q for q in asks if q]
    if rng.random() >= mix.tell:
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
    targets, answers, names = [], [], []
    window = (float(intervals[0][0]), float(intervals[1][-1]))
    for block, query in enumerate(draw_queries(script, rng, window, mix), start=1):
        tokens, looks = _append_query(sequence, cursor, block, query, offset, rng, mix)
        if tokens:
            targets.append(head_target(query.spans, tokens, *intervals))
        begin, end = query.window or window
        seen = int(np.searchsorted(starts, begin)), int(np.searchsorted(starts, end))
        answers += [lookup_target(row, look, seen) for row, look in looks]
    for place, (token, block) in enumerate(zip(sequence.ids, sequence.block, strict=True)):
        if block and (named := name_tokens().get(token)):
            names.append(lookup_target(place, named))
    return Clip(
        frames.reshape(steps, 2, *frames.shape[1:]),
        sequence,
        tuple(ends),
        times + offset,
        (intervals[1] - intervals[0]).astype(np.float32),
        present_targets(script, starts),
        np.stack([step_labels(script, (t0, t1)) for t0, t1 in times]),
        tuple(targets),
        tuple(answers),
        tuple(names),
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
) -> tuple[list[int], list[tuple[int, Look]]]:
    """Append one question; returns the places whose states the head reads (the event of a locate, the answer
    of an ask, nothing for sections), and for each token that tells what was found the place before it, from
    which it is predicted, with what proves it."""
    prompt = query.prompt if query.window is None else section_prompt(*(t + offset for t in query.window))
    cursor = sequence.text(encode(prompt.before), cursor, block)
    first = len(sequence.ids)
    cursor = sequence.text(encode(prompt.query), cursor, block)
    tokens = list(range(first, len(sequence.ids)))
    if query.family == "locate" and rng.random() > mix.written:
        return tokens, []
    cursor = sequence.text(encode(prompt.after) + encode(SUFFIX), cursor, block)
    end = special_ids()["<|im_end|>"]
    if query.family == "locate":
        shifted = tuple((a + offset, b + offset) for a, b in query.spans)
        sequence.text([*encode(spans_text(shifted)), end], cursor, block, learn=1.0)
        return tokens, []
    first, looks = len(sequence.ids), []
    for piece in query.said:
        ids = encode(piece.text)
        if piece.look:
            looks += [(len(sequence.ids) - 1 + i, piece.look) for i in range(len(ids))]
        cursor = sequence.text(ids, cursor, block, learn=mix.found_weight if piece.look else 1.0)
    last = len(sequence.ids)
    sequence.text([end], cursor, block, learn=1.0)
    return [] if query.family in ("section", "overview") else list(range(first, last)), looks


def clip_batch(update: int) -> list[Clip]:
    """The clips of one update of the time stage."""
    steps, count = clips_of(update)
    first = TIME.first_seed + update * TIME.batch
    return [make_clip(first + i, steps) for i in range(count)]
