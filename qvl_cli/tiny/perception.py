"""Stage 1: the vision tower learns which shape, colour and action covers every vision token of single steps.

The language-model loss alone learns to see very slowly; the generator knows what covers each token, so a
dense loss on the merged tokens teaches the tower directly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qvl_cli.tiny.draw import coverage, draw
from qvl_cli.tiny.lettering import caption_box
from qvl_cli.tiny.recipe import PERCEPTION
from qvl_cli.tiny.scripts import draw_caption, draw_turn
from qvl_cli.tiny.vocabulary import world_tokenizer
from qvl_cli.tiny.world import (
    ACTIONS,
    BACKGROUNDS,
    COLOUR_NAMES,
    HEIGHT,
    MOVES,
    PASSAGES,
    PEEK,
    PLACES,
    SHAPES,
    WIDTH,
    WORDS,
    Action,
    Actor,
    Place,
    Scene,
    Script,
    check_training_seed,
    known_kind,
    rng_for,
    third,
)

CELL = 32  # pixels of one merged vision token
ROWS, COLS = HEIGHT // CELL, WIDTH // CELL
IGNORE = -100
AXES = {  # in the order of the labels
    "shape": SHAPES,
    "colour": COLOUR_NAMES,
    "action": ACTIONS,
    "place": PLACES,
    "word": WORDS,
}
AXIS_WEIGHTS = {"shape": 1.0, "colour": 1.0, "action": 0.5, "place": 0.3, "word": 1.0}
COVERED, CLEAR = 0.12, 0.03  # share of a cell: above the first it shows the actor, below the second nothing
LETTERED, BLANK = 0.25, 0.06  # the same for the box of a caption
TURNING = 0.35, 0.65  # done of a turn between which the colour is neither
FRAME_GAP = 0.5  # seconds between the two frames of a step at 2 fps


@dataclass(frozen=True, slots=True)
class PerceptionBatch:
    """frames uint8 [steps, 2, H, W, 3]; labels int64 [steps, cells, 5]: shape, colour, action,
    place, word (0 = none)."""

    frames: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def label(axis: str, word: str | None) -> int:
    """The number of a word on one of AXES; 0 for none."""
    return 1 + AXES[axis].index(word) if word else 0


def step_labels(script: Script, times: tuple[float, float]) -> npt.NDArray[np.int64]:
    """Labels of one step [cells, 5] in the order of AXES; IGNORE where an actor or a word covers a cell too
    little to tell, and where a colour or a place is between two."""
    share = np.zeros((len(script.actors) + 1, ROWS, COLS))
    for time in times:
        for index, rows, cols, alpha in coverage(script, time, 1):
            picture = np.zeros((HEIGHT, WIDTH), np.float32)
            picture[rows, cols] = alpha
            share[index] += picture.reshape(ROWS, CELL, COLS, CELL).mean((1, 3)) / 2
    best, most = share[:-1].argmax(0) if len(script.actors) else np.zeros((ROWS, COLS), int), share.max(0)
    labels = np.zeros((ROWS, COLS, len(AXES)), np.int64)
    labels[(most > CLEAR) & (most <= COVERED), :4] = IGNORE
    for row, col in zip(*np.nonzero(most > COVERED), strict=True):
        actor = script.actors[best[row, col]]
        labels[row, col, :4] = (
            label("shape", actor.shape),
            _colour_label(actor, times),
            label("action", actor.action.kind) if actor.action and is_doing(actor.action, times) else 0,
            _place_label(actor, times),
        )
    labels[..., 4] = _word_labels(script, times)
    return labels.reshape(ROWS * COLS, len(AXES))


def is_doing(action: Action, times: tuple[float, float]) -> bool:
    """Whether both frames of a step show the action."""
    return action.start <= times[0] and times[1] < action.end


def _colour_label(actor: Actor, times: tuple[float, float]) -> int:
    turned = [actor.turned(time) for time in times]
    if max(turned) < TURNING[0]:
        return label("colour", actor.colour)
    assert actor.action is not None
    return label("colour", actor.action.colour) if min(turned) > TURNING[1] else IGNORE


def _place_label(actor: Actor, times: tuple[float, float]) -> int:
    seen = {third(place[0]) for place in (actor.at(time) for time in times) if place}
    (found,) = seen if len(seen) == 1 else (None,)
    return IGNORE if found is None else 1 + found


def _word_labels(script: Script, times: tuple[float, float]) -> npt.NDArray[np.int64]:
    labels = np.zeros((ROWS, COLS), np.int64)
    for caption in script.captions:
        shown = sum(caption.start <= time < caption.end for time in times) / 2
        if shown:
            picture = np.zeros((HEIGHT, WIDTH), np.float32)
            rows, cols, _ = caption_box(caption, 1)
            picture[rows, cols] = shown
            share = picture.reshape(ROWS, CELL, COLS, CELL).mean((1, 3))
            labels[share > BLANK] = IGNORE
            labels[share > LETTERED] = label("word", caption.word)
    return labels


def crowd(seed: int) -> Script:
    """A packed script around time zero: many actors in the midst of their actions, much to learn a frame."""
    rng = rng_for(seed, "crowd")
    actors: list[Actor] = []
    for _ in range(40):
        radius, x, y = rng.uniform(11.0, 20.0), rng.uniform(8, WIDTH - 8), rng.uniform(8, HEIGHT - 8)
        colour, shape = str(rng.choice(COLOUR_NAMES)), str(rng.choice(SHAPES))
        kind = str(rng.choice(ACTIONS)) if rng.random() < 0.7 else ""
        if kind in PASSAGES and kind != "crosses":  # over an edge, far enough inside to be told
            x = float(rng.uniform(-0.3, 1.0)) * radius
            x = x if rng.random() < 0.5 else WIDTH - x
        if any(np.hypot(x - o.x, y - o.y) < 0.95 * (radius + o.radius) for o in actors):
            continue
        if known_kind(seed, colour, shape):
            actor = Actor(shape, colour, -9.0, 9.0, x, y, radius)
            actors.append(replace(actor, action=_in_the_midst(rng, seed, kind, actor)))
    placed = tuple(map(_moved_back, actors[: int(rng.integers(2, 9))]))
    words = tuple(draw_caption(rng, -9.0, 9.0) for _ in range(int(rng.choice([0, 1, 2], p=[0.4, 0.5, 0.1]))))
    noise, scene = float(rng.choice([0.0, 2.0, 5.0])), Scene(0.0, str(rng.choice(BACKGROUNDS)))
    return Script(seed, 1.0, (scene,), placed, noise, words)


def _in_the_midst(rng: np.random.Generator, seed: int, kind: str, actor: Actor) -> Action | None:
    """An action of this kind that goes on at time zero, with the actor where it is then."""
    before, length = float(rng.uniform(0.0, 3.0)), float(rng.uniform(3.5, 8.0))
    if not kind:
        return None
    if kind == "turns":
        new = draw_turn(rng, seed, actor.colour, actor.shape)
        length = min(length, 5.0)
        return Action(kind, -before, length - before, colour=new) if new else None
    if kind == "crosses":
        way = str(rng.choice(["left", "right"]))
        return Action(kind, -before, length - before, length * float(rng.uniform(19.0, 30.0)), way)
    if kind in PASSAGES:
        inward = "right" if actor.x < WIDTH / 2 else "left"
        way = inward if kind == "enters" else {"left": "right", "right": "left"}[inward]
        length, travel = float(rng.uniform(3.5, 5.5)), actor.radius * float(rng.uniform(1.6, 1.9))
        # how much of the way is done where it is, counted from the outermost point
        inside = actor.x if actor.x < WIDTH / 2 else WIDTH - actor.x
        share = (inside + PEEK * actor.radius) / travel
        done = share if kind == "enters" else 1 - share
        return Action(kind, -length * done, length * (1 - done), travel, way)
    return Action(
        kind, -before, length - before, length * float(rng.uniform(8.0, 16.0)), kind if kind in MOVES else ""
    )


def _moved_back(actor: Actor) -> Actor:
    """So placed that it is at time zero where it was put, at the size it was given."""
    if actor.action is None or actor.action.kind == "blinks":
        return actor
    there: Place | None = actor.at(0.0)
    assert there is not None
    return replace(
        actor, x=2 * actor.x - there[0], y=2 * actor.y - there[1], radius=actor.radius**2 / there[2]
    )


def perception_batch(update: int, steps: int) -> PerceptionBatch:
    """One step each of many crowds; every update has its own training seeds."""
    frames, labels = [], []
    for i in range(steps):
        seed = PERCEPTION.first_seed + update * PERCEPTION.batch + i
        check_training_seed(seed)
        script, rng = crowd(seed), rng_for(seed, "perception")
        frames.append(film_look(draw(script, (0.0, FRAME_GAP)), rng))
        labels.append(step_labels(script, (0.0, FRAME_GAP)))
    return PerceptionBatch(np.stack(frames), np.stack(labels))


def film_look(frames: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Roughly what an encoder does to drawn frames: halved chroma, a little blur, a little light change."""
    picture = frames.astype(np.float32)
    if rng.random() < 0.6:
        luma = picture @ np.array([0.299, 0.587, 0.114], np.float32)
        colour = picture - luma[..., None]
        pairs = colour[:, ::2] + colour[:, 1::2]
        small = (pairs[:, :, ::2] + pairs[:, :, 1::2]) * 0.25
        if rng.random() < 0.5:
            luma[:, 1:, 1:] += 0.25 * (luma[:, :-1, 1:] + luma[:, 1:, :-1] - 2 * luma[:, 1:, 1:])
        n, height, width, _ = picture.shape
        blocks = picture.reshape(n, height // 2, 2, width // 2, 2, 3)
        np.add(luma.reshape(*blocks.shape[:-1], 1), small[:, :, None, :, None], out=blocks)
    gain, lift = rng.uniform(0.94, 1.06), rng.uniform(-6, 6)
    picture *= np.float32(gain)
    picture += np.float32(lift + 0.5)
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)


class WordReader(nn.Module):
    """Reads shape, colour and action off merged tokens in the language model's own words: a token shows what
    its direction shares with the word's embedding. Trained with the tower and then thrown away: what stays is
    a tower whose tokens mean to the language model what its words mean.
    """

    def __init__(self, embeddings: Tensor) -> None:
        """embeddings: the language model's, float32 [vocabulary, hidden]."""
        super().__init__()
        for axis, words in AXES.items():
            rows = [world_tokenizer().encode(f" {word}", add_special_tokens=False).ids for word in words]
            directions = F.normalize(embeddings.detach()[[row[0] for row in rows]], dim=-1)
            self.register_buffer(axis, directions, persistent=False)
        self.sharpness = nn.Parameter(torch.full((len(AXES),), 12.0))
        self.nothing = nn.Parameter(torch.full((len(AXES),), 3.0))

    def loss(self, tokens: Tensor, labels: Tensor) -> tuple[Tensor, list[float]]:
        """tokens [steps, cells, hidden], labels [steps, cells, 5] -> loss, accuracies on covered cells."""
        direction, total, right = F.normalize(tokens.flatten(0, 1), dim=-1), tokens.new_zeros(()), []
        for i, (axis, truth) in enumerate(zip(AXES, labels.flatten(0, 1).unbind(1), strict=True)):
            matches = self.sharpness[i] * (direction @ self.get_buffer(axis).T)
            logits = torch.cat([self.nothing[i].expand(len(matches), 1), matches], 1)
            loss, share = label_loss(logits, truth, of_none=0.3)
            total = total + AXIS_WEIGHTS[axis] * loss
            right.append(share)
        return total, right


def label_loss(logits: Tensor, truth: Tensor, of_none: float) -> tuple[Tensor, float]:
    """logits [n, 1 + words of an axis], truth [n] as in `step_labels`; of_none: weight of what shows nothing
    -> loss, NaN where all is IGNORE; share right where something shows."""
    weight = torch.ones(logits.shape[1], device=logits.device)
    weight[0] = of_none
    shown = truth > 0
    right = (logits.argmax(1)[shown] == truth[shown]).float().mean().item()
    return F.cross_entropy(logits, truth, weight=weight, ignore_index=IGNORE), right
