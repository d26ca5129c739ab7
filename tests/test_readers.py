"""What is read off states in training: what they must say, and what they must not be told."""

from __future__ import annotations

import pytest
import torch

from qvl_cli.tiny.perception import IGNORE, label
from qvl_cli.tiny.readers import KNOWN_KINDS, CaptionReader, EdgeReader, OrderReader, StepSummary
from qvl_cli.tiny.world import ACTIONS, COLOUR_NAMES, SHAPES, UNSEEN_KINDS


def test_what_comes_and_goes_is_what_the_step_before_did_not_show_or_no_longer() -> None:
    reader = EdgeReader(8)
    reader.norm, reader.output = torch.nn.Identity(), torch.nn.Identity()  # states are logits
    kinds, acts = len(COLOUR_NAMES) * len(SHAPES), 1 + len(ACTIONS)
    present = torch.zeros(1, 3, kinds, acts)
    present[0, :2, 7, 0] = present[0, 1, 7, 2] = present[0, 2, 9, 0] = 1
    edges = torch.zeros(1, 3, 2, kinds, acts)
    edges[0, 0, 0, 7, 0] = edges[0, 1, 0, 7, 2] = edges[0, 2, 0, 9, 0] = 1  # come, begin
    edges[0, 2, 1, 7, 0] = edges[0, 2, 1, 7, 2] = 1  # gone, ended
    loss, figures = reader.loss((edges * 40 - 20).view(1, 3, -1), present, only_known=False)
    assert loss < 1e-3 and figures == {"comes_goes": 1.0, "begins_ends": 1.0}
    loss, figures = reader.loss((20 - edges * 40).view(1, 3, -1), present, only_known=False)
    assert loss > 1e3 and figures == {"comes_goes": 0.0, "begins_ends": 0.0}


@pytest.mark.parametrize("reader", [StepSummary(8), EdgeReader(8)])
def test_nothing_is_learned_of_what_training_never_shows(reader: StepSummary | EdgeReader) -> None:
    unseen = {
        COLOUR_NAMES.index(colour) * len(SHAPES) + SHAPES.index(shape) for colour, shape in UNSEEN_KINDS
    }
    assert set((KNOWN_KINDS[:, 0] == 0).nonzero().flatten().tolist()) == unseen
    present = torch.zeros(1, 3, len(COLOUR_NAMES) * len(SHAPES), 1 + len(ACTIONS))
    states = torch.randn(1, 3, 8)
    if isinstance(reader, StepSummary):
        present, states = present[0], states[0]
    for only_known in (False, True):
        reader.zero_grad()
        reader.loss(states, present, only_known)[0].backward()
        bias = reader.output.bias.grad
        assert bias is not None
        moved = bias.view(-1, *present.shape[-2:]).abs().sum((0, 2)) > 0
        assert set(moved.nonzero().flatten().tolist()) == set(range(64)) - (unseen if only_known else set())


def test_a_word_is_read_off_the_step_that_shows_it() -> None:
    reader = CaptionReader(13)
    reader.norm, reader.output = torch.nn.Identity(), torch.nn.Identity()  # states are logits
    labels = torch.zeros(4, 15, 5, dtype=torch.long)
    word = label("word", "exit")
    labels[0, 3:6, 4], labels[0, 6, 4] = word, IGNORE
    labels[1, 2, 4] = IGNORE  # too little of a word to tell which
    labels[2, 4, 0] = 5  # a shape, no word
    states = torch.zeros(4, 13)
    states[0, word] = states[2:, 0] = states[1, 3] = 30.0
    loss, right = reader.loss(states, labels)
    assert loss < 1e-3 and right == 1.0
    states[0] = states[1]
    loss, right = reader.loss(states, labels)
    assert loss > 1 and right == 0.0


def test_how_late_is_told_by_one_number() -> None:
    torch.manual_seed(0)
    reader, seconds = OrderReader(8), torch.tensor([3.0, 90.5, 12.0, 12.0, 700.0])
    states = torch.cat([seconds[:, None] / 100, torch.randn(5, 7)], 1)
    optimizer = torch.optim.Adam(reader.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss, right = reader.loss(states, seconds)
        loss.backward()
        optimizer.step()
    assert right == 1.0 and loss < 0.05
    assert reader.loss(states.flip(0), seconds)[1] < 0.5
    alone = reader.loss(states[2:4], seconds[2:4])[0]  # equal times are no pair
    assert alone.isfinite() and alone == 0


def test_of_two_wrong_pairs_the_nearer_weighs_more() -> None:
    reader, seconds = OrderReader(1), torch.tensor([10.0, 13.0, 400.0])
    reader.norm, reader.output = torch.nn.Identity(), torch.nn.Identity()  # states are how late it is
    swapped_near, swapped_far = (torch.tensor(late)[:, None] for late in ([1.0, 0.0, 9.0], [0.0, 1.0, -8.0]))
    for near in (False, True):
        (one, right), (other, wrong) = (
            reader.loss(late, seconds, near) for late in (swapped_near, swapped_far)
        )
        assert right > wrong  # one pair of three against two
        assert (one / other > 0.25) == near
    alike = torch.tensor([20.0, 23.0])
    plain, weighed = (reader.loss(swapped_near[:2], alike, near)[0] for near in (False, True))
    assert plain == pytest.approx(weighed.item())  # a single pair is a mean of itself
