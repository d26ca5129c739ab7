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
from qvl_cli.tiny.recipe import PERCEPTION
from qvl_cli.tiny.vocabulary import world_tokenizer
from qvl_cli.tiny.world import (
    ACTIONS,
    BACKGROUNDS,
    COLOUR_NAMES,
    HEIGHT,
    SHAPES,
    WIDTH,
    Action,
    Actor,
    Script,
    check_training_seed,
    rng_for,
)

CELL = 32  # pixels of one merged vision token
ROWS, COLS = HEIGHT // CELL, WIDTH // CELL
IGNORE = -100
AXES = {"shape": SHAPES, "colour": COLOUR_NAMES, "action": ACTIONS}  # in the order of the labels
COVERED, CLEAR = 0.12, 0.03  # share of a cell: above the first it shows the actor, below the second nothing
FRAME_GAP = 0.5  # seconds between the two frames of a step at 2 fps


@dataclass(frozen=True, slots=True)
class PerceptionBatch:
    """frames uint8 [steps, 2, H, W, 3]; labels int64 [steps, cells, 3]: shape, colour, action (0 = none)."""

    frames: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def step_labels(script: Script, times: tuple[float, float]) -> npt.NDArray[np.int64]:
    """Labels of one step [cells, 3]; IGNORE where an actor covers a cell too little to tell."""
    share = np.zeros((len(script.actors) + 1, ROWS, COLS))
    for time in times:
        for index, rows, cols, alpha in coverage(script, time, 1):
            picture = np.zeros((HEIGHT, WIDTH), np.float32)
            picture[rows, cols] = alpha
            share[index] += picture.reshape(ROWS, CELL, COLS, CELL).mean((1, 3)) / 2
    best, most = share[:-1].argmax(0) if len(script.actors) else np.zeros((ROWS, COLS), int), share.max(0)
    labels = np.zeros((ROWS, COLS, 3), np.int64)
    labels[(most > CLEAR) & (most <= COVERED)] = IGNORE
    for row, col in zip(*np.nonzero(most > COVERED), strict=True):
        actor = script.actors[best[row, col]]
        doing = 0
        if actor.action and actor.action.start <= times[0] and times[1] < actor.action.end:
            doing = 1 + ACTIONS.index(actor.action.kind)
        labels[row, col] = 1 + SHAPES.index(actor.shape), 1 + COLOUR_NAMES.index(actor.colour), doing
    return labels.reshape(ROWS * COLS, 3)


def crowd(seed: int) -> Script:
    """A packed script around time zero: many actors in the midst of their actions, much to learn a frame."""
    rng = rng_for(seed, "crowd")
    actors: list[Actor] = []
    for _ in range(40):
        radius, x, y = rng.uniform(11.0, 20.0), rng.uniform(8, WIDTH - 8), rng.uniform(8, HEIGHT - 8)
        if any(np.hypot(x - o.x, y - o.y) < 0.95 * (radius + o.radius) for o in actors):
            continue
        action = None
        if rng.random() < 0.6:
            kind, before, length = str(rng.choice(ACTIONS)), rng.uniform(0.0, 3.0), rng.uniform(3.5, 8.0)
            travel = length * rng.uniform(8.0, 18.0)
            action = Action(kind, -before, length - before, travel)
        actor = Actor(str(rng.choice(SHAPES)), str(rng.choice(COLOUR_NAMES)), -9.0, 9.0, x, y, radius, action)
        if action and kind != "blinks":  # so placed that it is at (x, y, radius) at time zero
            there = actor.at(0.0)
            assert there is not None
            actor = replace(actor, x=2 * x - there[0], y=2 * y - there[1], radius=radius**2 / there[2])
        actors.append(actor)
    noise = float(rng.choice([0.0, 2.0, 5.0]))
    return Script(seed, 1.0, str(rng.choice(BACKGROUNDS)), tuple(actors[: int(rng.integers(2, 9))]), noise)


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
        """tokens [steps, cells, hidden], labels [steps, cells, 3] -> loss, accuracies on covered cells."""
        direction, total, right = F.normalize(tokens.flatten(0, 1), dim=-1), tokens.new_zeros(()), []
        for i, (axis, truth) in enumerate(zip(AXES, labels.flatten(0, 1).unbind(1), strict=True)):
            matches = self.sharpness[i] * (direction @ self.get_buffer(axis).T)
            logits = torch.cat([self.nothing[i].expand(len(matches), 1), matches], 1)
            rare = torch.ones(logits.shape[1], device=logits.device)
            rare[0] = 0.3
            weight = 0.5 if axis == "action" else 1.0
            total = total + weight * F.cross_entropy(logits, truth, weight=rare, ignore_index=IGNORE)
            shown = truth > 0
            right.append((logits.argmax(1)[shown] == truth[shown]).float().mean().item())
        return total, right
