"""The retrieve policy: what is called back is exactly what was watched, put next to the sinks."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from qvl_cli.align.head import HeadAligner, middles, step_scores
from qvl_cli.align.network import HeadNetwork, HeadShape
from qvl_cli.cache import Block, make_memory
from qvl_cli.cache.packed import Read
from qvl_cli.cache.retrieve import Relevance
from qvl_cli.chunks import FrameChunk
from qvl_cli.generate import DecodeSettings
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import LoadedModel
from qvl_cli.prompts import Prompt, locate_prompt
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, load_small_blocks, noise_clip
from tests.test_stream_exact import CLOSE, distance, watched

PROMPT = Prompt("Look: ", "when does the seal wave?", " Say it.")
GREEDY = DecodeSettings(max_new_tokens=16)
BLOCK = 2
SETTINGS = MemorySettings("retrieve", sinks=1, window=Fraction(8), share=Fraction(1, 10), fewest=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_small_blocks(tmp_path_factory.mktemp("model"), BLOCK)


@pytest.fixture(scope="module")
def clip() -> FrameChunk:
    return noise_clip(15, 64, 64)


def retrieving(
    model: LoadedModel,
    clip: FrameChunk,
    size: int = 4,
    settings: MemorySettings = SETTINGS,
    relevance: Relevance | None = None,
) -> StreamSession:
    session = StreamSession(model, memory=make_memory(model, settings, relevance=relevance))
    for chunk in cut(clip, size):
        session.watch(chunk)
    return session


def favouring(*wanted: int) -> Relevance:
    def relevance(features: Tensor, query: Tensor, durations: Tensor) -> Tensor:
        assert len(features) == len(durations)
        assert len(query) > 0
        return torch.tensor([float(i in wanted) for i in range(len(features))])

    return relevance


def test_a_question_sees_the_sinks_and_the_blocks_it_needs(model: LoadedModel, clip: FrameChunk) -> None:
    session = retrieving(model, clip, relevance=favouring(5, 11))
    blocks = list(session.blocks(tail=True))
    shown = [blocks[0].part(0, 1), blocks[2], blocks[5]]
    wanted = StreamSession.from_blocks(model, shown)
    assert distance(session.logits(PROMPT), wanted.logits(PROMPT)) <= CLOSE
    answer = [step.token for step in session.ask(PROMPT, GREEDY)]
    assert answer == [step.token for step in wanted.ask(PROMPT, GREEDY)]
    others = retrieving(model, clip, relevance=favouring(6, 8))
    assert distance(others.logits(PROMPT), wanted.logits(PROMPT)) > 10 * CLOSE
    assert len(session.features) == len(session.steps) == 15  # every step stays to be located


def test_a_question_is_read_again_beside_what_it_chose(model: LoadedModel, clip: FrameChunk) -> None:
    """First beside the window, then beside the blocks which that chose, and that reading decides."""
    readings: list[Tensor] = []

    def by_turns(*turns: tuple[int, int]) -> Relevance:
        def relevance(features: Tensor, query: Tensor, durations: Tensor) -> Tensor:
            wanted = turns[len(readings)]
            readings.append(query)
            return favouring(*wanted)(features, query, durations)

        return relevance

    for turns in (((3, 8), (4, 11)), ((4, 11), (4, 11))):
        readings.clear()
        session = retrieving(model, clip, relevance=by_turns(*turns))
        blocks = list(session.blocks(tail=True))

        def showing(steps: tuple[int, int], blocks: list[Block] = blocks) -> StreamSession:
            chosen = (blocks[step // BLOCK] for step in steps)
            return StreamSession.from_blocks(model, [blocks[0].part(0, 1), *chosen])

        logits = session.logits(PROMPT)
        first, second = readings
        assert distance(first, session.fork()._question(PROMPT).states) <= CLOSE
        assert distance(second, showing(turns[0]).read(PROMPT)) <= CLOSE
        assert distance(logits, showing(turns[1]).logits(PROMPT)) <= CLOSE


def test_the_head_judges_the_middle_of_each_view_by_its_own_reading(
    model: LoadedModel, clip: FrameChunk
) -> None:
    torch.manual_seed(4)
    aligner = HeadAligner(HeadNetwork(HeadShape(model.spec.hidden_size)), threshold=0.0)
    session = retrieving(model, clip, relevance=aligner.relevance)
    judged = []
    views = session.overlapping_views
    assert views == [*(range(first, first + 4) for first in range(0, 12, 2)), range(12, 15)]
    edges = [0, 3, 5, 7, 9, 11, 13, 15]
    for view, own in zip(views, pairwise(edges), strict=True):
        query = session.focus(view.start, view.stop).read(locate_prompt("a seal"))
        scores = step_scores(aligner.network, session.features, query, session.durations)
        judged.append(scores.inside[slice(*own)])
    whole = aligner._swept_steps(session, locate_prompt("a seal"))
    assert np.allclose(whole.inside, np.concatenate(judged))
    assert len(whole.inside) == len(whole.end_at) == 15


def test_a_part_of_the_steps_is_judged_as_among_all() -> None:
    torch.manual_seed(2)
    network = HeadNetwork(HeadShape(16)).eval()
    with torch.no_grad():
        for mixer in network.mixers:
            mixer.weight.normal_()
    steps, query, durations = torch.randn(40, 3, 16), torch.randn(3, 16), torch.rand(40) + 0.5
    whole = step_scores(network, steps, query, durations)
    for own in (range(40), range(5), range(12, 13), range(17, 31), range(36, 40), range(8, 8)):
        part = step_scores(network, steps, query, durations, own)
        for each in fields(whole):
            wanted = getattr(whole, each.name)[own.start : own.stop]
            np.testing.assert_allclose(getattr(part, each.name), wanted, atol=1e-5)
    reach, moved = network.shape.reach, steps.clone()
    moved[20 - reach] = -steps[20 - reach]  # the furthest that the step can see
    assert abs(step_scores(network, moved, query, durations).inside[20] - whole.inside[20]) > 1e-4
    moved[20 - reach] = steps[20 - reach]
    moved[20 - reach - 1] = -steps[20 - reach - 1]
    assert step_scores(network, moved, query, durations).inside[20] == pytest.approx(whole.inside[20])


def test_middles_hold_each_step_once() -> None:
    assert middles([range(4), range(4, 8)]) == [range(4), range(4, 8)]
    assert middles([range(5), range(2, 7), range(4, 8)]) == [range(3), range(3, 5), range(5, 8)]
    assert middles([range(3, 9)]) == [range(3, 9)]


def test_the_first_and_the_unfinished_block_can_be_called_back(model: LoadedModel, clip: FrameChunk) -> None:
    session = retrieving(model, clip, relevance=favouring(1, 14))
    blocks = list(session.blocks(tail=True))
    assert [len(block.steps) for block in blocks] == [2] * 7 + [1]
    wanted = StreamSession.from_blocks(model, [blocks[0], blocks[7]])
    assert distance(session.logits(PROMPT), wanted.logits(PROMPT)) <= CLOSE


def test_chunks_change_nothing(model: LoadedModel, clip: FrameChunk) -> None:
    for relevance in (None, favouring(3, 12)):
        one = retrieving(model, clip, 1, relevance=relevance).logits(PROMPT)
        for size in (3, 15):
            other = retrieving(model, clip, size, relevance=relevance)
            assert distance(other.logits(PROMPT), one) <= CLOSE


def test_where_nothing_is_forgotten_it_is_the_full_policy(model: LoadedModel, clip: FrameChunk) -> None:
    settings = MemorySettings("retrieve", window=Fraction(1_000), fewest=8)
    wanted = watched(model, clip, 4)
    session = retrieving(model, clip, settings=settings)
    assert distance(session.logits(PROMPT), wanted.logits(PROMPT)) <= CLOSE
    tokens = [[step.token for step in one.ask(PROMPT, GREEDY)] for one in (session, wanted)]
    assert tokens[0] == tokens[1]


def test_a_prompt_without_words_of_the_users_sees_blocks_evenly_spread(
    model: LoadedModel, clip: FrameChunk
) -> None:
    session = retrieving(model, clip, relevance=favouring(5))
    blocks = list(session.blocks(tail=True))
    wanted = StreamSession.from_blocks(model, [blocks[0].part(0, 1), blocks[2], blocks[6]])
    for prompt in (Prompt("", "", "Say something."), Prompt("Look: ", "")):
        assert session.read(prompt).shape == (0, model.spec.hidden_size)
        assert distance(session.logits(prompt), wanted.logits(prompt)) <= CLOSE


def test_the_likeness_of_keys_finds_the_block_that_says_it(model: LoadedModel, clip: FrameChunk) -> None:
    """A block whose keys are the question's own is the first to be called back."""
    settings = MemorySettings("retrieve", sinks=0, window=Fraction(8), fewest=1, share=Fraction(1, 100))
    session = retrieving(model, clip, settings=settings)
    memory = session._memory
    keys = session.fork()._question(PROMPT).keys
    block = memory.block(3)
    repeats = -(-block.tokens // keys.shape[2])
    block.keys.copy_(keys.repeat(1, 1, repeats, 1)[:, :, : block.tokens])  # where it is kept
    wanted = StreamSession.from_blocks(model, [block])
    assert distance(session.logits(PROMPT), wanted.logits(PROMPT)) <= CLOSE


def test_a_saved_index_becomes_a_session(model: LoadedModel, clip: FrameChunk) -> None:
    session = retrieving(model, clip, relevance=favouring(5, 11))
    blocks = list(session.blocks(tail=True))
    memory = make_memory(model, SETTINGS, relevance=favouring(5, 11))
    again = StreamSession.from_blocks(model, blocks, memory=memory)
    assert distance(again.logits(PROMPT), session.logits(PROMPT)) <= CLOSE
    assert torch.equal(again.features, session.features)


def test_blocks_are_kept_where_they_are_told_to_be(model: LoadedModel, clip: FrameChunk) -> None:
    kept: list[Block] = []

    def keep(block: Block) -> Read:
        kept.append(block.on_cpu())
        return partial(lambda one: (one.keys, one.values), kept[-1])

    session = StreamSession(model, memory=make_memory(model, SETTINGS, keep=keep))
    session.watch(clip)
    assert [block.first for block in kept] == [0, 2, 4, 6, 8, 10, 12]
    assert [block.keys is one.keys for block, one in zip(session.blocks(), kept, strict=True)] == [True] * 7
    fork = session.fork()
    fork.watch(FrameChunk(clip.steps[:1], clip.frames[:1]))
    assert len(list(session.blocks())) == 7
    assert len(list(fork.blocks())) == 8


def test_a_part_of_the_video_can_be_looked_at_alone(model: LoadedModel, clip: FrameChunk) -> None:
    session = retrieving(model, clip, relevance=favouring(1))
    blocks = list(session.blocks(tail=True))
    shown = {(8, 11): [blocks[4], blocks[5].part(0, 1)], (4, 14): [blocks[3], blocks[5]]}
    for (first, last), parts in shown.items():
        wanted = StreamSession.from_blocks(model, parts)
        focus = session.focus(first, last)
        assert distance(focus.logits(PROMPT), wanted.logits(PROMPT)) <= CLOSE
        assert focus.steps == clip.steps
    full = watched(model, clip, 5)
    wanted = StreamSession.from_blocks(model, [list(full.blocks())[1].part(0, 1)])
    assert distance(full.focus(2, 3).logits(PROMPT), wanted.logits(PROMPT)) <= CLOSE
    assert torch.equal(full.focus(0, len(clip.steps)).logits(PROMPT), full.logits(PROMPT))


def test_asking_without_a_video(model: LoadedModel) -> None:
    session = StreamSession(model, memory=make_memory(model, SETTINGS))
    assert distance(session.logits(PROMPT), StreamSession(model).logits(PROMPT)) <= CLOSE


def test_how_many_blocks_a_question_sees() -> None:
    settings = MemorySettings("retrieve")
    assert [settings.picked(n) for n in (0, 3, 8, 50, 80, 81, 1_000)] == [0, 3, 8, 8, 8, 9, 100]
