"""Where words look: some attention heads are shown the tokens that each word is about.

Retrieval by colour emerges from the answers alone, retrieval by shape or action does not in any affordable
time, nor does naming several things one after the other. So every hop has a head that is told where to look
(HEADS). The loss is the negative log of the share of attention on the right tokens; what the network does
with what it finds there is learned from the answers. What is not there is looked for at the first token.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from qvl_cli.tiny.perception import IGNORE, label
from qvl_cli.tiny.phrases import ACTION_WORDS, plural
from qvl_cli.tiny.pieces import NOWHERE, Look
from qvl_cli.tiny.sequence import encode
from qvl_cli.tiny.world import ACTIONS, COLOUR_NAMES, SHAPES, WORDS

if TYPE_CHECKING:
    from qvl_cli.tiny.clips import Clip

# What a head is told -> (layer, head). Two query heads share a key head: 0 and 1, 2 and 3.
HEADS = {
    # words that name a shape, colour, action or caption, before DeepStack adds to the tokens
    "names": (0, 3),
    "group": (2, 0),  # in an enumeration: things of the shape that comes next
    "same": (2, 2),  # in an enumeration: the next thing of the same shape, if there is one
    "chain": (2, 3),  # a thing that is new on screen: what was new before it
    "things": (3, 0),  # the token before one that tells something: what proves it
    "next": (3, 3),  # the same where that is what comes after a thing
    "hundreds": (0, 0),  # the last token of a step: the digits of its time, `<` where it has none
    "tens": (0, 1),
    "ones": (0, 2),
    "tenths": (1, 0),
    "shows": (1, 2),  # the last token of a step: what its own cells show
    "before": (2, 1),  # and the last token of the step before
    "does": (3, 1),  # once more its own cells, which know by now who does what
    "times": (3, 2),  # the token before one of a written time: the last token of the step that has this time
    "former": (4, 0),  # the token before one that says which of two times is the earlier: the first one's end
    "latter": (4, 2),  # and the second one's
}
LATER_HEADS = {"shows", "before", "does"}  # told by the last stage only


@dataclass(frozen=True, slots=True)
class LookupTarget:
    """What a token should look at. row: its place in the sequence; wanted: as in `step_labels`, 0 for any,
    and a cell has to have all; steps: only in steps [first, last); places: these very tokens
    instead; weight: in the mean loss."""

    row: int
    wanted: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    steps: tuple[int, int] = (0, sys.maxsize)
    places: tuple[int, ...] = ()
    weight: float = 1.0


def lookup_target(row: int, look: Look, steps: tuple[int, int] = (0, sys.maxsize)) -> LookupTarget:
    """`look` in the numbers of `step_labels`."""
    if look is NOWHERE:
        return LookupTarget(row, steps=(0, 0))
    return LookupTarget(
        row,
        (
            label("shape", look.shape),
            label("colour", look.colour),
            label("action", look.action),
            0,
            label("word", look.word),
        ),
        steps,
    )


def clock_lookups(end: int, cells: int, seconds: float) -> dict[str, LookupTarget]:
    """Where the last token of a step finds the digits of the time it was given: `<123.4 seconds>` stands in
    front of the step's start and its cells."""
    return digit_lookups(end, end - cells - 4, seconds)  # before ` seconds`, `>` and the start


def digit_lookups(row: int, tenths: int, seconds: float) -> dict[str, LookupTarget]:
    """Where `row` finds the digits of a time that ends at the place `tenths`; what stands in front of it for
    those that it lacks."""
    opening = tenths - len(f"{seconds:.1f}")
    places = {"tenths": tenths, "ones": tenths - 2, "tens": tenths - 3, "hundreds": tenths - 4}
    return {name: LookupTarget(row, places=(max(place, opening),)) for name, place in places.items()}


@functools.cache
def name_tokens() -> dict[int, Look]:
    """Ids of the words that name a shape, a colour, an action or a caption -> what to look at."""
    words = {shape: Look(shape=shape) for shape in SHAPES}
    words |= {plural(shape): Look(shape=shape) for shape in SHAPES}
    words |= {colour: Look(colour=colour) for colour in COLOUR_NAMES}
    words |= {word: Look(action=action) for action in ACTIONS for word in ACTION_WORDS[action]}
    words |= {word: Look(word=word) for word in WORDS}
    return {_one_token(word): look for word, look in words.items()}


def _one_token(word: str) -> int:
    (token,) = encode(f" {word}")
    return token


@contextmanager
def attention_inputs(layers: Sequence[nn.Module]) -> Iterator[list[dict[str, Any]]]:
    """Collects what the attention of each layer is called with."""
    seen: list[dict[str, Any]] = [{} for _ in layers]

    def remember(place: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[place].update(kwargs, hidden_states=kwargs.get("hidden_states", args[0] if args else None))

    with ExitStack() as stack:
        for place, layer in enumerate(layers):
            attention: Any = layer.self_attn
            hook = functools.partial(remember, place)
            stack.callback(attention.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield seen


def lookup_losses(
    layers: Any,
    seen: Sequence[dict[str, Any]],
    clips: Sequence[Clip],
    names: Sequence[str] = tuple(HEADS),
    focal: bool = False,
) -> Iterator[tuple[str, Tensor, float]]:
    """For each of these HEADS: its name, its mean loss over all rows, its mean share on the right tokens."""
    for name in names:
        layer, head = HEADS[name]
        lookups = [clip.lookups[name] for clip in clips]
        yield name, *lookup_loss(layers[layer].self_attn, seen[layer], clips, head, lookups, focal)


def lookup_loss(
    attention: Any,
    seen: Mapping[str, Any],
    clips: Sequence[Clip],
    head: int,
    lookups: Sequence[Sequence[LookupTarget]],
    focal: bool = False,
) -> tuple[Tensor, float]:
    """Weighted mean of the loss over the rows of all lookups of each clip, and the mean share of attention on
    the right tokens. focal: rows weigh by how far they are from right."""
    hidden, (cos, sin) = seen["hidden_states"], seen["position_embeddings"]
    mask, dim = seen["attention_mask"][:, 0], attention.head_dim
    mine, shared = slice(head * dim, (head + 1) * dim), head // attention.num_key_value_groups
    theirs = slice(shared * dim, (shared + 1) * dim)
    losses, weights = [hidden.new_zeros(0)], [hidden.new_zeros(0)]
    for i, (clip, rows_of) in enumerate(zip(clips, lookups, strict=True)):
        if not rows_of:
            continue
        rows = torch.tensor([each.row for each in rows_of], device=hidden.device)
        right, unclear = wanted_tokens(clip, rows_of, hidden.shape[1], hidden.device)
        query = attention.q_norm(hidden[i, rows] @ attention.q_proj.weight[mine].T)
        key = attention.k_norm(hidden[i] @ attention.k_proj.weight[theirs].T)
        query = _rotated(query, cos[i, rows], sin[i, rows])
        scores = query @ _rotated(key, cos[i], sin[i]).T * attention.scaling + mask[i, rows]
        scores = scores.masked_fill(unclear, -torch.inf)
        found = scores.masked_fill(~right, -torch.inf).logsumexp(-1)
        losses.append(scores.logsumexp(-1) - found)
        weights.append(torch.tensor([each.weight for each in rows_of], device=hidden.device))
    every, weight = torch.cat(losses), torch.cat(weights)
    if not len(every):
        return hidden.sum() * 0.0, float("nan")
    if focal:
        weight = weight * missing(every)
    return (every * weight).sum() / weight.sum(), torch.exp(-every).mean().item()


def missing(losses: Tensor) -> Tensor:
    """1 - p of negative log likelihoods, as weights: no gradient, and never quite zero."""
    return (1 - torch.exp(-losses.detach())).clamp_min(0.02)


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """states, cos, sin [tokens, head_dim]."""
    rotated: Tensor = apply_rotary_pos_emb(states[None, None], states[None, None], cos[None], sin[None])[0]
    return rotated[0, 0]


def wanted_tokens(
    clip: Clip, lookups: Sequence[LookupTarget], length: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """bool [rows, length], twice: the right tokens of every row, and those that are neither right nor wrong
    because they show too little of it."""
    labels = torch.from_numpy(clip.labels).to(device)
    steps, cells, _ = labels.shape
    ends = torch.tensor(clip.ends, device=device)
    places = (ends[:, None] - cells + torch.arange(cells, device=device)).flatten()
    wanted = torch.tensor([each.wanted for each in lookups], device=device)[:, None, None]
    reach = torch.tensor([each.steps for each in lookups], device=device)
    count = torch.arange(steps, device=device)
    shown = ((labels[None] == wanted) | (wanted == 0)).all(-1)
    shown &= ((count >= reach[:, :1]) & (count < reach[:, 1:]))[..., None]
    right = torch.zeros(len(lookups), length, dtype=torch.bool, device=device)
    unclear = torch.zeros(len(lookups), length, dtype=torch.bool, device=device)
    right[:, places] = shown.flatten(1)
    unclear[:, places] = ((labels[None] == IGNORE) & (wanted != 0)).any(-1).flatten(1)
    for row, each in enumerate(lookups):
        if each.places:
            right[row] = False
            right[row, list(each.places)] = True
    right[:, 0] = ~right.any(1)
    return right, unclear & ~right
