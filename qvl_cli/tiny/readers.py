"""What is read off the states of the language model during training, and thrown away after it: it makes a
state say what later layers and questions need of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qvl_cli.tiny.perception import AXES, IGNORE, label_loss
from qvl_cli.tiny.world import ACTIONS, COLOUR_NAMES, SHAPES, UNSEEN_KINDS, WORDS

# [kinds, 1]: 1, and 0 for what training never shows, of which it must not be learned that it never shows.
KNOWN_KINDS = torch.tensor(
    [[float((colour, shape) not in UNSEEN_KINDS)] for colour in COLOUR_NAMES for shape in SHAPES]
)


class StepSummary(nn.Module):
    """Which kinds each step shows and what they do, read off its last token; used in training only. It makes
    the step's state say everything a later query may ask for."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, len(COLOUR_NAMES) * len(SHAPES) * (1 + len(ACTIONS)))
        nn.init.constant_(self.output.bias, -4.0)  # almost nothing of all this shows in a step

    def loss(self, states: Tensor, present: Tensor, only_known: bool) -> tuple[Tensor, dict[str, float]]:
        """states [n, hidden], present [n, kinds, 1 + actions]; only_known: of KNOWN_KINDS -> loss, recall at
        0.5 of kinds and of acts."""
        logits = self.output(self.norm(states)).view(present.shape)
        weight = _weights(present, only_known)
        loss = F.binary_cross_entropy_with_logits(logits, present, weight=weight, reduction="sum")
        found, shown = logits > 0, present > 0
        return loss / len(states), {
            "kinds": found[..., 0][shown[..., 0]].float().mean().item(),
            "acts": found[..., 1:][shown[..., 1:]].float().mean().item(),
        }


def _weights(present: Tensor, only_known: bool) -> Tensor:
    weights = 1.0 + 3.0 * present
    return weights * KNOWN_KINDS.to(present.device) if only_known else weights


class ClockReader(nn.Module):
    """Reads a printed time off a token's state: off the last token of a step early in the network, and late
    off the tokens that write the time of a step; used in training only. What writes a time can then copy it
    from the one to the other."""

    EARLY, LATE = 1, 3  # after these layers
    PLACES = (100.0, 10.0, 1.0, 0.1)
    BLANK = 10  # of a leading zero, which is not printed

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, len(self.PLACES) * 11)

    def loss(self, states: Tensor, seconds: Tensor) -> tuple[Tensor, float]:
        """states [n, hidden], seconds [n] as printed -> loss, share of right digits."""
        tenths = (seconds * 10).round().long()
        digits = torch.stack([tenths // round(place * 10) % 10 for place in self.PLACES], -1)
        digits[..., 0][tenths < 1000] = self.BLANK
        digits[..., 1][tenths < 100] = self.BLANK
        logits = self.output(self.norm(states)).view(-1, 11)
        right = (logits.argmax(-1) == digits.flatten()).float().mean().item()
        return F.cross_entropy(logits, digits.flatten()), right


class CellReader(nn.Module):
    """Reads what covers each vision token off its state deep in the network; used in training only. Layers
    add to a token until what it showed is buried, and what is looked up there cannot be said."""

    LAYER = 2  # after this layer, in front of the one whose heads look things up

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.axes = nn.ModuleDict({axis: nn.Linear(hidden, 1 + len(words)) for axis, words in AXES.items()})

    def loss(self, states: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
        """states [n, hidden], labels [n, 5] as in `step_labels` -> loss, share right on covered cells."""
        normed, total, right = self.norm(states), states.new_zeros(()), {}
        for (axis, output), truth in zip(self.axes.items(), labels.unbind(1), strict=True):
            loss, right[f"cell_{axis}"] = label_loss(output(normed), truth, of_none=0.1)
            if (truth != IGNORE).any():
                total = total + loss
        return total, right


class EdgeReader(nn.Module):
    """Reads off a step's last token what it shows that the step before did not, and what it shows no longer;
    used in training only. Later tokens do not show in a step, so this is how it can be found as the first or
    as the end of something."""

    LAYER = 2  # after this layer, in front of the one whose heads look for times

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, 2 * len(COLOUR_NAMES) * len(SHAPES) * (1 + len(ACTIONS)))
        nn.init.constant_(self.output.bias, -4.0)  # hardly anything changes from step to step

    def loss(self, states: Tensor, present: Tensor, only_known: bool) -> tuple[Tensor, dict[str, float]]:
        """states [clips, steps, hidden], present [clips, steps, kinds, 1 + actions]; only_known: of
        KNOWN_KINDS -> loss, recall at 0.5 of things that come or go, and of what they begin or end to do."""
        before = F.pad(present, (0, 0, 0, 0, 1, 0))[:, :-1]
        edges = torch.stack([(present > before), (present < before)], 2).float()
        logits = self.output(self.norm(states)).view(edges.shape)
        weight = _weights(edges, only_known)
        loss = F.binary_cross_entropy_with_logits(logits, edges, weight=weight, reduction="sum")
        found, true = logits > 0, edges > 0
        return loss / states.shape[:2].numel(), {
            "comes_goes": found[..., 0][true[..., 0]].float().mean().item(),
            "begins_ends": found[..., 1:][true[..., 1:]].float().mean().item(),
        }


class LinkReader(nn.Module):
    """Reads off the tokens of a thing that is new on screen what was new before it; used in training only.
    What comes after a thing is found by that."""

    LAYER = 2  # after this layer, whose attention looks it up

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.axes = nn.ModuleList(nn.Linear(hidden, 1 + len(words)) for words in (SHAPES, COLOUR_NAMES))

    def loss(self, states: Tensor, before: Tensor) -> tuple[Tensor, float]:
        """states [n, hidden], before [n, 2]: shape and colour as in `step_labels`, 0 for the first thing of
        all -> loss, share of both right."""
        normed, total, right = self.norm(states), states.new_zeros(()), torch.ones_like(before[:, 0]).bool()
        for output, truth in zip(self.axes, before.unbind(1), strict=True):
            logits = output(normed)
            total = total + F.cross_entropy(logits, truth)
            right &= logits.argmax(1) == truth
        return total, right.float().mean().item()


class CaptionReader(nn.Module):
    """Reads which word stands on screen off a step's last token; used in training only."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, 1 + len(WORDS))

    def loss(self, states: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        """states [n, hidden], labels [n, cells, 5] as in `step_labels` -> loss, share of words right."""
        cells = labels[..., 4]
        word = cells.max(1).values
        unclear = (word == 0) & (cells == IGNORE).any(1)
        return label_loss(self.output(self.norm(states)), word.masked_fill(unclear, IGNORE), of_none=0.1)


class OrderReader(nn.Module):
    """Reads off the tokens behind told times, in front of the last layer, how late each is: one number, which
    grows with the time; used in training only. Which of two times is the earlier is their difference then,
    which is all that a single layer can make of two places."""

    NEAR = 5.0  # seconds between two times that weigh half as much as two at once

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, 1)

    def loss(self, states: Tensor, seconds: Tensor, near: bool = False) -> tuple[Tensor, float]:
        """states [n, hidden], seconds [n], of any videos; near: pairs weigh more the nearer they are -> loss
        over all pairs, share of pairs right."""
        late = self.output(self.norm(states)).squeeze(-1)
        apart, gaps = late[:, None] - late[None], seconds[:, None] - seconds[None]
        pairs = gaps != 0
        if not pairs.any():
            return late.new_zeros(()), float("nan")
        apart, gaps = apart[pairs], gaps[pairs]
        each = F.binary_cross_entropy_with_logits(apart, (gaps > 0).float(), reduction="none")
        weights = 1 / (1 + gaps.abs() / self.NEAR) if near else torch.ones_like(gaps)
        right = ((apart > 0) == (gaps > 0)).float().mean().item()
        return (each * weights).sum() / weights.sum(), right
