"""Stage 2: the language model and the head learn what happens when, many questions a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qvl_cli.align.network import HeadNetwork, HeadShape
from qvl_cli.align.training import head_loss
from qvl_cli.tiny.clips import Clip
from qvl_cli.tiny.lookup import HEADS, LATER_HEADS, attention_inputs, lookup_losses, missing
from qvl_cli.tiny.network import encode_steps
from qvl_cli.tiny.perception import IGNORE
from qvl_cli.tiny.readers import (
    CaptionReader,
    CellReader,
    ClockReader,
    EdgeReader,
    LinkReader,
    OrderReader,
    StepSummary,
)
from qvl_cli.tiny.recipe import EMBEDDING_RMS, Lessons

# What a token's state should say: (clip, place, truth); and what learns to read it: (states [n, hidden],
# truths [n] or [n, 2]) -> loss, share right.
Fact = tuple[int, int, float | tuple[int, ...]]
Reading = Callable[[Tensor, Tensor], tuple[Tensor, float]]


class TimeStage(nn.Module):
    """The language model with everything that is trained beside it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        hidden = network.config.text_config.hidden_size
        self.language = network.model.language_model
        self.head = HeadNetwork(HeadShape(hidden))
        self.summary = StepSummary(hidden)
        self.clock = ClockReader(hidden)
        self.cells = CellReader(hidden)
        self.edges = EdgeReader(hidden)
        self.told = ClockReader(hidden)
        self.links = LinkReader(hidden)
        self.captions = CaptionReader(hidden)
        self.order = OrderReader(hidden)

    def modules_by_name(self, lessons: Lessons) -> dict[str, nn.Module]:
        """What these lessons train."""
        modules = {} if lessons.still else {"language": self.language, "head": self.head}
        modules |= {"summary": self.summary, "clock": self.clock}
        if lessons.focal:
            modules |= {"cells": self.cells}
        if lessons.edges:
            modules |= {"edges": self.edges, "told": self.told}
        if lessons.links:
            modules |= {"links": self.links}
        if lessons.captions:
            modules |= {"captions": self.captions}
        return modules | {"order": self.order} if lessons.compares else modules


def block_mask(
    blocks: Tensor, steps: Tensor | None = None, views: Sequence[Mapping[int, tuple[int, int]]] = ()
) -> Tensor:
    """blocks [b, t] (0 video, 1.. questions, -1 padding) -> additive mask [b, 1, t, t]: causal, and a
    question sees the video and itself. steps [b, t]: of each token, -1 for none; views: for each of the b,
    question -> steps [first, last) where it sees no others."""
    query, key = blocks[:, :, None], blocks[:, None, :]
    count = blocks.shape[1]
    causal = torch.ones(count, count, dtype=torch.bool, device=blocks.device).tril()
    seen = causal & ((key == 0) | (key == query)) & (key >= 0)
    for i, view in enumerate(views):
        assert steps is not None
        for block, (first, last) in view.items():
            hidden = (steps[i] >= 0) & ((steps[i] < first) | (steps[i] >= last))
            seen[i] &= ~((blocks[i] == block)[:, None] & hidden[None])
    seen |= torch.eye(count, dtype=torch.bool, device=blocks.device)  # padding sees itself: no empty rows
    return torch.zeros(seen.shape, device=blocks.device).masked_fill(~seen, -1e9)[:, None]


@contextmanager
def layer_output(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what a layer puts out."""
    found: list[Tensor] = []

    def remember(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
        found.append(output if isinstance(output, Tensor) else output[0])

    handle = layer.register_forward_hook(remember)
    try:
        yield found
    finally:
        handle.remove()


def run_language(network: Any, clips: list[Clip]) -> Tensor:
    """Final-norm hidden states of a batch of clips with equally many steps: [clips, longest, hidden]."""
    language = network.model.language_model
    device = next(language.parameters()).device
    ids = _padded([c.sequence.ids for c in clips], network.config.text_config.pad_token_id, device)
    blocks = _padded([c.sequence.block for c in clips], -1, device)
    of_step = _padded([c.sequence.step for c in clips], -1, device)
    axes = ([[p[axis] for p in c.sequence.positions] for c in clips] for axis in range(3))
    positions = torch.stack([_padded(rows, 0, device) for rows in axes])
    frames = torch.from_numpy(np.concatenate([c.frames for c in clips])).to(device)
    with torch.no_grad():
        tokens, taps = encode_steps(network.model.visual, frames)
    visual = ids == network.config.video_token_id
    embedded = language.embed_tokens(ids)
    hidden: Tensor = language(
        inputs_embeds=embedded.masked_scatter(visual[..., None], tokens.flatten(0, 1)),
        attention_mask=block_mask(blocks, of_step, [c.views for c in clips]),
        position_ids=positions,
        visual_pos_masks=visual,
        deepstack_visual_embeds=[tap.flatten(0, 1) for tap in taps],
        use_cache=False,
    ).last_hidden_state
    return hidden


def _padded(rows: Sequence[Sequence[float]], fill: int, device: torch.device) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)


def time_loss(
    network: Any, stage: TimeStage, clips: list[Clip], lessons: Lessons
) -> tuple[Tensor, dict[str, float]]:
    """Answer tokens + alignment head + what `lessons` teach beside them, on one batch of clips with equally
    many steps."""
    layers = stage.language.layers
    with (
        attention_inputs(layers) as seen,
        layer_output(layers[ClockReader.EARLY]) as early,
        layer_output(layers[CellReader.LAYER]) as middle,
        layer_output(layers[ClockReader.LATE]) as late,
    ):
        hidden = run_language(network, clips)
    device = hidden.device
    targets = _padded([c.sequence.targets for c in clips], IGNORE, device)
    learn = targets != IGNORE
    logits = F.linear(hidden[learn], stage.language.embed_tokens.weight)
    weights = _padded([c.sequence.weights for c in clips], 0, device)[learn]
    each = F.cross_entropy(logits, targets[learn], reduction="none")
    if lessons.focal:
        weights = weights * missing(each)
    answer_loss = (each * weights).sum() / weights.sum().clamp_min(1e-3)
    figures = {"token": (logits.argmax(-1) == targets[learn]).float().mean().item()}

    ends = torch.tensor([c.ends for c in clips], device=device)
    steps = _states_at(hidden, ends)
    present = torch.from_numpy(np.concatenate([c.present for c in clips])).to(device)
    of_steps, only_known = steps.flatten(0, 1), lessons.only_known
    summary_loss, summary_figures = stage.summary.loss(of_steps, present, only_known)
    aligned, head_figures = _judging(hidden, ends[..., None], clips).loss(stage.head)
    loss = answer_loss + lessons.head * aligned + lessons.summary * summary_loss
    printed = torch.from_numpy(np.concatenate([c.times.mean(1) for c in clips])).to(device)
    clock_loss, figures["clock"] = stage.clock.loss(_states_at(early[0], ends).flatten(0, 1), printed)
    loss = loss + 0.3 * clock_loss
    labels = torch.from_numpy(np.stack([c.labels for c in clips])).to(device)
    if lessons.focal:
        cells = torch.arange(-labels.shape[2], 0, device=device)
        places = (ends[..., None] + cells).flatten(1)
        shown = _states_at(middle[0], places).flatten(0, 1)
        cell_loss, cell_figures = stage.cells.loss(shown, labels.flatten(0, 2))
        loss = loss + 0.5 * cell_loss
        figures |= cell_figures
    if lessons.edges:
        of_clips = present.view(*ends.shape, *present.shape[1:])
        edge_loss, edge_figures = stage.edges.loss(_states_at(middle[0], ends), of_clips, only_known)
        writing_loss, figures["told"] = read_off(stage.told.loss, late[0], times_written(clips))
        loss = loss + lessons.edge * edge_loss + 0.5 * writing_loss
        figures |= edge_figures
    if lessons.links:
        link_loss, figures["linked"] = read_off(stage.links.loss, middle[0], things_before(clips))
        loss = loss + 0.5 * link_loss
    if lessons.ranks:
        told_clock_loss, figures["told_clock"] = read_off(stage.clock.loss, early[0], times_told(clips))
        loss = loss + 0.3 * told_clock_loss
    if lessons.compares:
        read_order = partial(stage.order.loss, near=lessons.near)
        order_loss, figures["compared"] = read_off(read_order, late[0], times_told(clips))
        loss = loss + lessons.compares * order_loss
    if lessons.captions:
        caption_loss, figures["caption"] = stage.captions.loss(of_steps, labels.flatten(0, 1))
        loss = loss + 0.5 * caption_loss
    if lessons.looks:
        names = [name for name in HEADS if lessons.edges or name not in LATER_HEADS]
        for name, missed, share in lookup_losses(layers, seen, clips, names, lessons.focal):
            figures[f"look_{name}"] = share
            loss = loss + lessons.looks * missed
    return loss, {
        "answer_loss": answer_loss.item(),
        "head_loss": aligned.item(),
        **figures,
        **summary_figures,
        **head_figures,
    }


def _states_at(states: Tensor, places: Tensor) -> Tensor:
    """states [clips, t, hidden], places [clips, n] -> [clips, n, hidden]."""
    return states[torch.arange(len(states), device=states.device)[:, None], places]


def read_off(read: Reading, states: Tensor, facts: Sequence[Fact]) -> tuple[Tensor, float]:
    """What `read` makes of the states [clips, t, hidden] at the places of the facts; 0 and NaN of none."""
    if not facts:
        return states.new_zeros(()), float("nan")
    clips, rows, truths = (list(each) for each in zip(*facts, strict=True))
    return read(states[clips, rows], torch.tensor(truths, device=states.device))


def times_written(clips: list[Clip]) -> list[Fact]:
    """The tokens in front of those that write a time, and which time it is."""
    facts: list[Fact] = []
    for i, clip in enumerate(clips):
        printed = dict(zip(clip.ends, clip.times.mean(1).tolist(), strict=True))
        writing = (each for each in clip.lookups["times"] if each.places)
        facts += [(i, each.row, printed[each.places[0]]) for each in writing]
    return facts


def times_told(clips: list[Clip]) -> list[Fact]:
    """The tokens behind told times, and which time it was."""
    return [(i, row, seconds) for i, clip in enumerate(clips) for row, seconds in clip.clocked]


def things_before(clips: list[Clip]) -> list[Fact]:
    """The tokens of new things, and what was new before: its shape and its colour."""
    return [(i, each.row, each.wanted[:2]) for i, clip in enumerate(clips) for each in clip.lookups["chain"]]


@dataclass(frozen=True, slots=True, eq=False)
class Judging:
    """What a head has to judge. steps [clips, n, regions, hidden], query [clips, m, l, hidden] with given
    [clips, m, l] (True = a token), durations [clips, n], as `HeadNetwork` takes them; truth [clips, m, n, 5]
    as `step_targets` has it; asked [clips, m]: of a clip with fewer queries than others, those there are."""

    steps: Tensor
    query: Tensor
    given: Tensor
    durations: Tensor
    truth: Tensor
    asked: Tensor

    def loss(self, head: HeadNetwork) -> tuple[Tensor, dict[str, float]]:
        scores = head(self.steps.float(), self.query.float(), self.given, self.durations)
        return head_loss(scores[self.asked], self.truth[self.asked])


@torch.no_grad()
def judging(network: Any, clips: list[Clip]) -> Judging:
    """What a head gets from the engine, in float16: many of these are kept."""
    hidden = run_language(network, clips)
    all_of = _judging(hidden, torch.tensor([c.features for c in clips]), clips)
    return replace(all_of, steps=all_of.steps.half(), query=all_of.query.half())


def _judging(hidden: Tensor, judged: Tensor, clips: list[Clip]) -> Judging:
    """judged [clips, n, regions]: the places of the states that say what a step shows."""
    device, count = hidden.device, judged.shape[1]
    most = max(len(c.targets) for c in clips)
    longest = max(len(t.tokens) for c in clips for t in c.targets)
    places = torch.zeros(len(clips), most, longest, dtype=torch.long)
    given = torch.zeros(len(clips), most, longest, dtype=torch.bool)
    truth = torch.zeros(len(clips), most, count, 5)
    for i, clip in enumerate(clips):
        for j, target in enumerate(clip.targets):
            places[i, j, : len(target.tokens)] = torch.tensor(target.tokens)
            given[i, j, : len(target.tokens)] = True
            columns = (target.inside, target.first, target.last, target.start_at, target.end_at)
            truth[i, j] = torch.from_numpy(np.stack(columns, 1))
    places, given, truth = places.to(device), given.to(device), truth.to(device)
    asked = given.any(-1)
    return Judging(
        steps=_states_at(hidden, judged.flatten(1)).view(*judged.shape, -1),
        query=hidden[torch.arange(len(clips), device=device)[:, None, None], places],
        given=given | ~asked[..., None],
        durations=torch.from_numpy(np.stack([c.durations for c in clips])).to(device),
        truth=truth,
        asked=asked,
    )


def scale_vision(network: Any, frames: Tensor) -> None:
    """Bring merged tokens to the RMS of words, taps to half of it: perception leaves their scale arbitrary,
    and a tap far above what it is added to buries it for every later layer."""
    visual = network.model.visual
    with torch.no_grad():
        tokens, taps = encode_steps(visual, frames)
        mergers = [visual.merger, *visual.deepstack_merger_list]
        levels = [EMBEDDING_RMS, *[EMBEDDING_RMS / 2] * len(taps)]
        for merger, output, rms in zip(mergers, [tokens, *taps], levels, strict=True):
            factor = rms / output.square().mean().sqrt()
            merger.linear_fc2.weight *= factor
            merger.linear_fc2.bias *= factor
