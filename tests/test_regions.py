"""What a step says of each part of its picture: gathered by the engine, against a plain loop over tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qvl_cli.chunks import FrameChunk
from qvl_cli.model.load import LoadedModel
from qvl_cli.model.preprocess import merged_grid
from qvl_cli.prompts import Prompt
from qvl_cli.registry.regions import SIDE, region_grid
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, load_small_blocks, noise_clip
from tests.one_shot import OneShot
from tests.test_stream_exact import CLOSE, watched

PROMPT = Prompt("", "What is it?")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_small_blocks(tmp_path_factory.mktemp("model"), 2)


def regions_of(rows: int, columns: int) -> list[list[int]]:
    """The vision tokens of each region."""
    down, across = region_grid(rows, columns)
    found: list[list[int]] = [[] for _ in range(down * across)]
    for row in range(rows):
        for column in range(columns):
            found[row * down // rows * across + column * across // columns].append(row * columns + column)
    return found


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (5, 5), (6, 4), (7, 13), (40, 3)])
def test_regions_share_the_tokens_evenly(rows: int, columns: int) -> None:
    regions = regions_of(rows, columns)
    assert sorted(token for tokens in regions for token in tokens) == list(range(rows * columns))
    assert len(regions) <= SIDE**2 and min(map(len, regions)) >= 1
    if rows <= SIDE and columns <= SIDE:
        assert regions == [[token] for token in range(rows * columns)]


@pytest.mark.parametrize("grid", [(96, 160), (192, 256)], ids=str)
def test_features_are_those_of_one_forward(model: LoadedModel, grid: tuple[int, int]) -> None:
    clip = noise_clip(7, *grid)
    ids, hidden, _, _ = OneShot(model).prefill(clip, PROMPT)
    rows, columns = merged_grid(model.spec, clip.frames.shape[3], clip.frames.shape[2])
    shown = hidden[ids == model.video_token_id].view(7, rows * columns, -1)
    ends = hidden[ids == model.vision_end_id]
    wanted = torch.stack([shown[:, tokens].mean(1) for tokens in regions_of(rows, columns)] + [ends], 1)
    for size in (1, 3, 7):
        torch.testing.assert_close(watched(model, clip, size).features, wanted, atol=CLOSE, rtol=0)


def test_a_region_without_tokens_says_what_it_said_before(model: LoadedModel) -> None:
    clip = noise_clip(6, 192, 256)
    rows, columns = merged_grid(model.spec, clip.frames.shape[3], clip.frames.shape[2])
    kept = np.random.default_rng(3).random((6, rows, columns)) < 0.4
    kept[2] = False
    dropped = FrameChunk(clip.steps, clip.frames, kept=kept)
    regions = regions_of(rows, columns)
    found = []
    for size in (1, 2, 6):
        session = StreamSession(model)
        for chunk in cut(dropped, size):
            session.watch(chunk)
        found.append(session.features)
    for features in found:
        torch.testing.assert_close(features, found[0], atol=CLOSE, rtol=0)
        empty = 0
        for step in range(6):
            for number, tokens in enumerate(regions):
                if not kept[step].reshape(-1)[tokens].any():
                    past = features[step - 1, number] if step else features[0, -1]
                    assert torch.equal(features[step, number], past)
                    empty += 1
        assert empty > len(regions)
    again = StreamSession.from_blocks(model, list(session.blocks(tail=True)))
    assert torch.equal(again.features, session.features)


def test_a_head_tells_which_of_two_things_a_step_shows_does_what() -> None:
    """Whatever is added up to one vector for a step would be the same in both."""
    from qvl_cli.align.network import HeadNetwork, HeadShape

    torch.manual_seed(0)
    network = HeadNetwork(HeadShape(8)).eval()
    red, blue, grows, blinks = torch.eye(8)[:4]
    steps = torch.stack(
        [torch.stack([red + grows, blue + blinks]), torch.stack([red + blinks, blue + grows])]
    )
    assert torch.equal(steps.sum(1)[0], steps.sum(1)[1])
    query, asked = (red + grows).expand(1, 1, 1, 8), torch.ones(1, 1, 1, dtype=torch.bool)
    with torch.no_grad():
        scores = network(steps[None], query, asked, torch.ones(1, 2))[0, 0]
    assert abs(float(scores[0, 0] - scores[1, 0])) > 1e-4
