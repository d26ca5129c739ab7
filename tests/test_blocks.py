"""A session is its blocks: taken out, moved, put together again, it is the same session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qvl_cli.cache import Block
from qvl_cli.chunks import FrameChunk
from qvl_cli.generate import DecodeSettings
from qvl_cli.model import rope
from qvl_cli.model.load import LoadedModel, load_model
from qvl_cli.model.rope import LAYOUTS, Rotary
from qvl_cli.prompts import Prompt
from qvl_cli.registry import read_spec
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, noise_clip, write_checkpoint
from tests.test_stream_exact import CLOSE, distance, watched

PROMPT = Prompt("Look: ", "when does the seal wave?", " Say it.")
GREEDY = DecodeSettings(max_new_tokens=32)


@pytest.fixture(scope="module", params=["dense", "moe"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = write_checkpoint(tmp_path_factory.mktemp(request.param), moe=request.param == "moe", seed=3)
    return load_model(read_spec(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def clip() -> FrameChunk:
    return noise_clip(19, 64, 96)  # two whole blocks and three steps


def blocks_of(session: StreamSession) -> list[Block]:
    return list(session.blocks(tail=True))


def tokens(session: StreamSession) -> list[int]:
    return [step.token for step in session.ask(PROMPT, GREEDY)]


def test_a_session_rebuilt_from_its_blocks_is_the_same(model: LoadedModel, clip: FrameChunk) -> None:
    session = watched(model, clip, 8)
    again = StreamSession.from_blocks(model, blocks_of(session))
    assert again.steps == clip.steps
    assert again.tokens == session.tokens
    assert torch.equal(again.features, session.features)
    assert torch.equal(again.vision_means, session.vision_means)
    assert distance(again.logits(PROMPT), session.logits(PROMPT)) <= CLOSE
    assert tokens(again) == tokens(session)


def test_a_rebuilt_session_watches_on(model: LoadedModel, clip: FrameChunk) -> None:
    """From the last whole block, and from the middle of one."""
    whole = watched(model, clip, 8)
    for steps in (8, 11):
        early = watched(model, FrameChunk(clip.steps[:steps], clip.frames[:steps]), 4)
        again = StreamSession.from_blocks(model, blocks_of(early))
        for chunk in cut(FrameChunk(clip.steps[steps:], clip.frames[steps:]), 5):
            again.watch(chunk)
        assert distance(again.logits(PROMPT), whole.logits(PROMPT)) <= CLOSE
        for one, other in zip(blocks_of(again), blocks_of(whole), strict=True):
            same(one, other)


def same(one: Block, other: Block) -> None:
    described = [(b.first, b.steps, b.lengths, b.advances) for b in (one, other)]
    assert described[0] == described[1]
    assert torch.equal(one.positions, other.positions)
    for name in ("keys", "values", "features", "vision_means"):
        assert distance(getattr(one, name), getattr(other, name)) <= CLOSE


def test_blocks_do_not_depend_on_the_chunks(model: LoadedModel, clip: FrameChunk) -> None:
    wanted = blocks_of(watched(model, clip, 19))
    assert [len(block.steps) for block in wanted] == [8, 8, 3]
    assert [block.first for block in wanted] == [0, 8, 16]
    for size in (1, 3, 8):
        session, taken = StreamSession(model), []
        for chunk in cut(clip, size):
            session.watch(chunk)
            taken += session.blocks(len(taken))
        assert len(taken) == 2
        taken += session.blocks(len(taken), tail=True)
        for one, other in zip(taken, wanted, strict=True):
            same(one, other)


def test_a_block_tells_its_times_and_its_size(model: LoadedModel, clip: FrameChunk) -> None:
    first, _, last = blocks_of(watched(model, clip, 8))
    spec = model.spec
    assert first.keys.shape == first.values.shape == (spec.layers, spec.kv_heads, first.tokens, spec.head_dim)
    assert first.positions.shape == (3, first.tokens)
    assert int(first.positions.min()) == 0
    assert int(first.positions.max()) < first.advance
    assert (first.span.start, last.span.end) == (clip.steps[0].interval.start, clip.steps[-1].interval.end)
    part = last.part(1, 3)
    assert (part.first, part.steps) == (17, clip.steps[17:])
    assert part.tokens == part.keys.shape[2] == last.tokens - last.lengths[0]
    assert int(part.positions.min()) == 0


def test_moving_the_whole_prefix_changes_nothing(model: LoadedModel, clip: FrameChunk) -> None:
    """The same blocks behind one another, but 300 positions further on: hidden states are equal.

    Much further, upstream's own float32 angles of the new tokens would be what differs.
    """
    session = watched(model, clip, 8)
    moved = StreamSession(model)
    moved._memory.position = 300
    moved._memory.extend(blocks_of(session))
    bare = StreamSession(model)
    bare._memory.extend(blocks_of(session))
    assert moved._memory.position == bare._memory.position + 300
    text = model.codec.encode_text("what did the seal do?")
    assert distance(moved._run_text(text), bare._run_text(text)) <= CLOSE


@pytest.mark.parametrize("at_once", [300, 2**20])
def test_rotation_is_the_networks_own(
    model: LoadedModel, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against transformers' rotation, at positions where float32 angles are still good."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

    monkeypatch.setattr(rope, "_CPU_AT_ONCE", at_once)
    rotary = Rotary.of(model)
    random = torch.Generator().manual_seed(0)
    keys = torch.randn(2, 2, 50, model.spec.head_dim, generator=random)
    positions = torch.randint(0, 500, (3, 50), generator=random)
    cos, sin = model.network.model.language_model.rotary_emb(keys, positions[:, None])
    wanted = apply_rotary_pos_emb(keys, keys, cos, sin)[1]
    rotated = rotary.rotate(keys.clone(), positions)
    assert distance(rotated, wanted) <= CLOSE
    assert distance(rotary.rotate(rotated.clone(), -positions), keys) <= 1e-5
    further = rotary.rotate(keys.clone(), positions + 300_000)
    assert distance(rotary.shift(rotated, 300_000), further) <= 1e-5
    half = rotary.rotate(keys.bfloat16(), positions)
    assert half.dtype == torch.bfloat16
    assert distance(half.float(), rotated) <= 0.05


def test_layouts_give_each_axis_its_section() -> None:
    for name, layout in LAYOUTS.items():
        axes = layout([24, 20, 20])
        assert [axes.count(axis) for axis in range(3)] == [24, 20, 20], name
    assert LAYOUTS["interleaved"]([24, 20, 20])[:7] == [0, 1, 2, 0, 1, 2, 0]
    assert LAYOUTS["six-segment"]([2, 2, 2]) == [0, 1, 2, 0, 1, 2]
    assert LAYOUTS["chunked"]([2, 1, 1]) == [0, 0, 1, 2]


def test_positions_that_depend_on_the_length_are_refused(tmp_path: Path) -> None:
    import json

    from qvl_cli.errors import ModelMissing

    folder = write_checkpoint(tmp_path / "m")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["rope_parameters"]["rope_type"] = "dynamic"
    path.write_text(json.dumps(config))
    with pytest.raises(ModelMissing, match="depends on the length"):
        read_spec(folder)
