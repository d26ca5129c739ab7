"""Scripts -> training clips: the tokens qvl itself would stream, many questions packed behind one video.

Every question sees the video and itself only (a block mask): one question's text would give away another's
answer. Positions of each question start where the video ends, as in a fork; a question about a section sees
only its steps, as `summarize` asks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qvl_cli.align.training import step_targets
from qvl_cli.prompts import section_prompt
from qvl_cli.tiny.clock import GAPS, QUIET, STRETCH, Floats, Timing, planned_frames, uneven_starts
from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.drills import order_drill
from qvl_cli.tiny.lookup import (
    HEADS,
    LookupTarget,
    clock_lookups,
    digit_lookups,
    lookup_target,
    name_tokens,
)
from qvl_cli.tiny.perception import FRAME_GAP, film_look, label, step_labels
from qvl_cli.tiny.pieces import Piece, Query, Span
from qvl_cli.tiny.questions import LEAST_VISIBLE, ask_query, locate_query
from qvl_cli.tiny.recipe import TIME_MIX, Mix, Stage, clips_of, mix_of
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.sequence import PREFIX, SUFFIX, Sequence3D, encode
from qvl_cli.tiny.telling import overview_query, section_query
from qvl_cli.tiny.vocabulary import special_ids
from qvl_cli.tiny.world import (
    ACTIONS,
    COLOUR_NAMES,
    SHAPES,
    Actor,
    Script,
    check_training_seed,
    rng_for,
)

Lookups = dict[str, list[LookupTarget]]


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
    token; times [steps, 2] seconds as written; durations [steps] seconds; present [steps, 64, 1 + actions]:
    which kinds show and which of the actions they do; labels int64 [steps, cells, 5] as in `step_labels`;
    clocked: places behind told times, and the seconds told; lookups: by the names of HEADS; views: steps
    [first, last) that a question sees, where not all of them."""

    frames: npt.NDArray[np.uint8]
    sequence: Sequence3D
    ends: tuple[int, ...]
    times: Floats
    durations: npt.NDArray[np.float32]
    present: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    targets: tuple[HeadTarget, ...]
    clocked: tuple[tuple[int, float], ...]
    lookups: Lookups
    views: dict[int, tuple[int, int]]

    @property
    def features(self) -> list[list[int]]:
        """[steps][cells + 1]: the places whose states are the features of a step, as `step_features` has them
        where each vision token is a region of its own."""
        return [list(range(end - self.labels.shape[1], end + 1)) for end in self.ends]


def head_target(spans: tuple[Span, ...], tokens: Sequence[int], starts: Floats, ends: Floats) -> HeadTarget:
    """Spans against the steps' intervals [starts, ends)."""
    since = tuple((begin - float(starts[0]), end - float(starts[0])) for begin, end in spans)
    return HeadTarget(tuple(tokens), since, *step_targets(spans, starts, ends).T)


def present_targets(script: Script, starts: Floats) -> npt.NDArray[np.float32]:
    """Multi-hot [steps, 64, 1 + actions] of what the frames of each step show: kinds, and what they do."""
    found = np.zeros((len(starts), len(COLOUR_NAMES) * len(SHAPES), 1 + len(ACTIONS)), np.float32)
    for actor in script.shown:
        kind = COLOUR_NAMES.index(actor.colour) * len(SHAPES) + SHAPES.index(actor.shape)
        shown = (starts + FRAME_GAP >= actor.start) & (starts < actor.end)
        found[shown, kind, 0] = 1
        if actor.action:
            doing = shown & (starts + FRAME_GAP >= actor.action.start) & (starts < actor.action.end)
            found[doing, kind, 1 + ACTIONS.index(actor.action.kind)] = 1
    return found


def draw_queries(script: Script, rng: np.random.Generator, timing: Timing, mix: Mix) -> list[Query]:
    """The questions of one clip: locate, then one of each ask family, then a section or the overview."""
    drawn = (
        locate_query(script, rng, mix.absent, events=mix.events, mistaken=mix.mistaken)
        for _ in range(mix.locates + 8)
    )
    locates = _fresh(drawn, [])
    queries = locates[: mix.locates]
    for family in mix.asks:
        queries += _fresh((ask_query(script, rng, family, style=mix.style) for _ in range(5)), queries)[:1]
    queries += [order_drill(script, rng, mix.style.ranked) for _ in range(mix.drills)]
    draw, count = rng.random(), len(timing.starts)
    if draw < mix.overview:
        queries.append(overview_query(script))
    elif draw < mix.overview + mix.section:
        first = int(rng.integers(0, max(1, count - 4)))
        last = min(count, first + int(rng.integers(4, 36)))
        queries.append(section_query(script, float(timing.starts[first]), float(timing.ends[last - 1])))
    return queries


def _fresh(drawn: Iterable[Query | None], known: Sequence[Query]) -> list[Query]:
    """Queries that ask neither what is known nor, in other words, the same as one before."""
    asked = {_asked(query) for query in known}
    fresh = []
    for query in drawn:
        if query and (key := _asked(query)) not in asked:
            asked.add(key)
            fresh.append(query)
    return fresh


def _asked(query: Query) -> tuple[object, ...]:
    return query.family, query.spans or query.prompt.query, query.answer


def make_clip(seed: int, steps: int, mix: Mix = TIME_MIX) -> Clip:
    """A clip of `steps` steps cut out of a longer script; sometimes coarser than a step a second, and often
    far from time zero, so that long videos are nothing new."""
    check_training_seed(seed)
    rng = rng_for(seed, "clip")
    spacing = 1.0 if rng.random() < 0.75 else float(rng.uniform(1.0, 2.5))
    uneven = bool(mix.uneven) and rng_for(seed, "uneven").random() < mix.uneven
    length = steps * spacing * (STRETCH if uneven else 1.0)
    planned = uneven and mix.planned
    spare, density = float(rng.uniform(0, 20)), float(rng.uniform(0.8, 1.6))
    density *= float(rng_for(seed, "quiet").uniform(QUIET, 1.0)) if planned else 1.0
    whole = write_script(seed, length + spare, density=density)
    begin = float(rng.uniform(0, whole.duration - length))
    rate = float(rng.choice([10.0, 12.5, 25.0, 30.0]))
    gaps = GAPS[int(rng_for(seed, "gaps").integers(4)) :]
    if planned:  # all of its frames are drawn: few a second
        slow = rate if rate < 20 else rate / 2.5
        times = planned_frames(whole, begin, begin + length, steps, slow, gaps)
    else:
        starts = np.floor((begin + spacing * np.arange(steps)) * rate) / rate
        if uneven:
            starts = uneven_starts(whole, begin, begin + length, steps, rate, gaps)
        times = np.stack([starts, np.floor((starts + FRAME_GAP) * rate) / rate], 1)
    starts = times[:, 0]
    script = _without_glimpses(whole.window(float(starts[0]), float(starts[-1]) + spacing))
    offset = 0.0 if rng.random() < 0.4 else float(rng.uniform(0, 120 if rng.random() < 0.7 else 900))
    intervals = starts, np.append(starts[1:], starts[-1] + spacing)
    timing = Timing(times, *intervals, offset - float(starts[0]), mix.beyond)
    frames = film_look(draw(script, times.ravel().tolist()), rng)

    sequence, ends = Sequence3D(), []
    cursor = sequence.text(encode(PREFIX), int(rng.integers(0, 4)) * int(rng.integers(0, 2000)), 0)
    jumps = (
        set(rng.integers(1, steps, size=int(rng.integers(1, 3))).tolist()) if rng.random() < mix.jumps else ()
    )
    for step in range(steps):
        if step in jumps:  # what long videos are like for a query: far away
            cursor += int(rng.integers(0, mix.longest_jump))
        cursor, end = sequence.watch(step, timing.printed(step), cursor)
        ends.append(end)
    lookups: Lookups = {name: [] for name in HEADS}
    targets, views = [], {}
    clocked: list[tuple[int, float]] = []
    labels = np.stack([step_labels(script, (t0, t1)) for t0, t1 in times])
    for block, query in enumerate(draw_queries(script, rng, timing, mix), start=1):
        place = cursor
        if query.window:
            views[block] = timing.steps_in(query.window)
            if rng.random() < 0.5:  # where the memory shows a section alone, the question follows right on it
                place = sequence.positions[ends[views[block][1] - 1]][0] + 1
        tokens = _append_query(sequence, place, block, query, timing, ends, lookups, clocked, rng, mix)
        if tokens:
            targets.append(head_target(query.spans, tokens, timing.starts, timing.ends))
    for place, (token, block) in enumerate(zip(sequence.ids, sequence.block, strict=True)):
        if block and (named := name_tokens().get(token)):
            lookups["names"].append(lookup_target(place, named, views.get(block, (0, steps))))
    lookups["chain"] += chain_targets(script, timing, labels, ends)
    for name, found in step_lookups(labels, ends).items():
        lookups[name] += found
    for step, end in enumerate(ends if mix.clocks else ()):
        for name, target in clock_lookups(end, labels.shape[1], timing.printed(step)).items():
            lookups[name].append(target)
    return Clip(
        frames.reshape(steps, 2, *frames.shape[1:]),
        sequence,
        tuple(ends),
        times + timing.offset,
        (timing.ends - timing.starts).astype(np.float32),
        present_targets(script, starts),
        labels,
        tuple(targets),
        tuple(clocked),
        lookups,
        views,
    )


def _without_glimpses(script: Script) -> Script:
    """Things a window cut to less than what may be asked about are gone from picture and truth alike, and so
    are those that a window caught turning."""

    def whole(actor: Actor) -> bool:
        action = actor.action
        cut = action and action.kind == "turns" and (action.start < actor.start or action.end > actor.end)
        return not cut and all(a.end - a.start >= LEAST_VISIBLE for a in actor.showings())

    captions = tuple(c for c in script.captions if c.end - c.start >= LEAST_VISIBLE)
    return replace(script, actors=tuple(filter(whole, script.actors)), captions=captions)


def step_lookups(labels: npt.NDArray[np.int64], ends: Sequence[int]) -> Lookups:
    """Where the last token of a step sees what its own cells show, and what was seen the step before."""
    shows, before = [], []
    covered = (labels[..., 0] > 0) | (labels[..., 4] > 0)
    for step, end in enumerate(ends):
        places = tuple((np.nonzero(covered[step])[0] + end - labels.shape[1]).tolist())
        shows.append(LookupTarget(end, steps=(0, 0), places=places))
        before.append(LookupTarget(end, steps=(0, 0), places=(ends[step - 1],) if step else ()))
    return {"shows": shows, "does": shows, "before": before}


def chain_targets(
    script: Script, timing: Timing, labels: npt.NDArray[np.int64], ends: Sequence[int]
) -> list[LookupTarget]:
    """The cells that show a thing in its first step look at the thing that was new before it, in its own
    first step; the first of all look at the first token. Things that come in one step are left out."""
    firsts: list[tuple[int, tuple[int, int], npt.NDArray[np.intp]]] = []
    for actor in script.shown:
        wanted = label("shape", actor.shape), label("colour", actor.colour)
        for step in range(*timing.steps_in((actor.start, actor.end))):
            cells = np.nonzero((labels[step, :, 0] == wanted[0]) & (labels[step, :, 1] == wanted[1]))[0]
            if len(cells):
                firsts.append((step, wanted, cells))
                break
    firsts.sort(key=lambda each: each[0])
    count, found = labels.shape[1], []
    for place, (step, _, cells) in enumerate(firsts):
        before = [each for each in firsts[:place] if each[0] < step]
        alone = sum(each[0] == step for each in firsts) == 1
        if not alone or (len(before) > 1 and before[-1][0] == before[-2][0]):
            continue
        wanted, steps = (0, 0), (0, 0)
        if before:
            wanted, steps = before[-1][1], (before[-1][0], before[-1][0] + 1)
        rows = [ends[step] - count + int(cell) for cell in cells]
        found += [LookupTarget(row, (*wanted, 0, 0, 0), steps) for row in rows]
    return found


def _append_query(
    sequence: Sequence3D,
    cursor: int,
    block: int,
    query: Query,
    timing: Timing,
    ends: Sequence[int],
    lookups: Lookups,
    clocked: list[tuple[int, float]],
    rng: np.random.Generator,
    mix: Mix,
) -> list[int]:
    """Append one question, and where the place before each answering token should look. Returns the places
    whose states the head reads: the event of a locate, the answer of an ask, nothing for sections."""
    prompt = query.prompt
    view = timing.steps_in(query.window) if query.window else (0, len(ends))
    if query.window:
        prompt = section_prompt(timing.printed(view[0]), timing.printed(view[1] - 1))
    cursor = sequence.text(encode(prompt.before), cursor, block)
    begin = len(sequence.ids)
    cursor = sequence.text(encode(prompt.query), cursor, block)
    tokens = list(range(begin, len(sequence.ids)))
    if query.family == "locate" and rng.random() > mix.written:
        return tokens
    cursor = sequence.text(encode(prompt.after) + encode(SUFFIX), cursor, block)
    begin = len(sequence.ids)
    written = [encode(_text(piece, timing)) for piece in query.said]
    telling = [(mix.balanced and piece.text == "never") or _tells(piece) for piece in query.said]
    # An enumeration has more to say than a single word, but not so much that nothing else is learned.
    told = sum(len(ids) for ids, tells in zip(written, telling, strict=True) if tells)
    share = max(told, 1) ** -0.5 if mix.balanced else 1.0
    for number, (piece, ids, tells) in enumerate(zip(query.said, written, telling, strict=True)):
        rows = range(len(sequence.ids) - 1, len(sequence.ids) - 1 + len(ids))
        proof = "next" if piece.follows and mix.follows else "things"
        _look(piece, proof, _next_moment(query.said, number), rows, share, timing, view, ends, lookups)
        if mix.style.ranked:
            before = _text(query.said[number - 1], timing) if number else ""
            _rank(piece, len(sequence.ids), before, clocked, lookups)
        learn = 0.0 if piece.given else mix.found_weight * share if tells else 1.0
        cursor = sequence.text(ids, cursor, block, learn)
    end = len(sequence.ids)
    sequence.text([special_ids()["<|im_end|>"]], cursor, block, learn=1.0)
    if query.family == "locate":
        if query.said[-1].moment is not None:  # no other time follows
            lookups["times"].append(LookupTarget(end - 1, steps=(0, 0)))
        return tokens
    return [] if query.window or query.family in ("overview", "drill") else list(range(begin, end))


def _tells(piece: Piece) -> bool:
    """Whether a piece tells what was found."""
    return piece.told or piece.look is not None or piece.moment is not None


def _text(piece: Piece, timing: Timing) -> str:
    """A piece as it is written in a clip: its time is that of a step."""
    if piece.moment is None:
        return piece.text
    return f"{timing.printed(timing.step_told(piece.moment, piece.first)):.1f}"


def _next_moment(said: Sequence[Piece], number: int) -> Piece | None:
    """The time that is written here or comes next."""
    return next((piece for piece in said[number:] if piece.moment is not None), None)


def _look(
    piece: Piece,
    proof: str,
    timed: Piece | None,
    rows: range,
    share: float,
    timing: Timing,
    view: tuple[int, int],
    ends: Sequence[int],
    lookups: Lookups,
) -> None:
    for name, look in ((proof, piece.look), ("group", piece.group), ("same", piece.same)):
        if look:
            steps = timing.steps_in(look.span) if look.span else view
            targets = (lookup_target(row, look, steps) for row in rows)
            lookups[name] += [replace(target, weight=share) for target in targets]
    if timed and timed.moment is not None:
        place = ends[timing.step_told(timed.moment, timed.first)]
        lookups["times"] += [LookupTarget(row, places=(place,)) for row in rows]
    elif piece.text == "never":
        lookups["times"] += [LookupTarget(row, steps=(0, 0)) for row in rows]


def _rank(piece: Piece, row: int, before: str, clocked: list[tuple[int, float]], lookups: Lookups) -> None:
    """A time is known where it ends, and of two the earlier is told by looking there. row: of the piece's
    first token; before: the text in front of it."""
    if piece.clocked:
        clocked.append((row, float(before)))
        for name, target in digit_lookups(row, row - 1, float(before)).items():
            lookups[name].append(target)
    if piece.ranks:
        for name, (end, _) in zip(("former", "latter"), clocked[-2:], strict=True):
            lookups[name].append(LookupTarget(row - 1, places=(end,)))


def clip_batch(stage: Stage, update: int) -> list[Clip]:
    """The clips of one update of a stage."""
    steps, count = clips_of(stage, update)
    first = stage.first_seed + update * stage.batch
    mix = mix_of(stage, update)
    clips = [make_clip(first + i, steps, mix) for i in range(count)]
    spare = iter(range(count, stage.batch))
    while not any(clip.targets for clip in clips):  # nobody is there: nothing to ask
        clips[0] = make_clip(first + next(spare), steps, mix)
    return clips
