"""Stretched positions and dropped rotary pairs, against transformers' own forward, through every policy."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from qvl_cli.cache import make_memory
from qvl_cli.chunks import FrameChunk
from qvl_cli.errors import ModelMissing, UsageError
from qvl_cli.generate import DecodeSettings
from qvl_cli.index.opened import Subject
from qvl_cli.index.settings import IndexSettings
from qvl_cli.memory import MemorySettings
from qvl_cli.model import attention
from qvl_cli.model.load import LoadedModel, load_model
from qvl_cli.model.rope import LAYOUTS
from qvl_cli.registry import RopeSettings, read_spec, rope_notes, with_rope
from qvl_cli.registry.rope import PLAIN_ROPE
from qvl_cli.sampling import SamplingSettings
from qvl_cli.stream import StreamSession
from tests import test_blocks, test_packed, test_retrieve, test_window
from tests.checkpoints import noise_clip, write_checkpoint
from tests.one_shot import OneShot
from tests.test_answering import Run, checkpoint, clip, run  # noqa: F401 - fixtures
from tests.test_stream_exact import CLOSE, PROMPT, distance, watched

BLOCK = 2
ORIGINAL = 128  # positions: a clip of these tests takes more
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL}
LOW = RopeSettings(prune=Fraction(15, 100))
HIGH = replace(LOW, end="high")
GREEDY = DecodeSettings(max_new_tokens=16)


def folder_with(folder: Path, **rope: Any) -> Path:
    """A random checkpoint of few original positions, whose configuration says `rope` of them."""
    write_checkpoint(folder, seed=3)
    (folder / "qvl.json").write_text(f'{{"block_steps": {BLOCK}}}')
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["max_position_embeddings"] = ORIGINAL
    config["text_config"]["rope_parameters"] |= rope
    path.write_text(json.dumps(config))
    return folder


def loaded(folder: Path, rope: RopeSettings = PLAIN_ROPE) -> LoadedModel:
    return load_model(with_rope(read_spec(folder), rope), "cpu", "float32")


def peer(model: LoadedModel) -> OneShot:
    """transformers with a weight of 0 on the channels of dropped pairs, where it normalises its queries: a
    rotation turns each pair within itself, so their scores are 0 ever after."""
    one_shot = OneShot(model)
    pairs = model.spec.head_dim // 2
    gone = [pair for pair in range(pairs) if pair not in model.spec.rope.kept(pairs)]
    for layer in one_shot.network.model.language_model.layers:
        with torch.no_grad():
            layer.self_attn.q_norm.weight[[*gone, *(pair + pairs for pair in gone)]] = 0
    return one_shot


@pytest.fixture(scope="module")
def stretched(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return loaded(folder_with(tmp_path_factory.mktemp("yarn"), **YARN))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = folder_with(tmp_path_factory.mktemp("plain"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 262_144
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def noise() -> FrameChunk:
    return noise_clip(13, 64, 64)


@pytest.fixture(scope="module", params=["yarn", "high", "low"])
def model(request: pytest.FixtureRequest, stretched: LoadedModel, plain: Path) -> LoadedModel:
    if request.param == "yarn":
        return stretched
    return loaded(plain, HIGH if request.param == "high" else LOW)


def test_streaming_equals_one_forward(model: LoadedModel, noise: FrameChunk) -> None:
    one_shot = peer(model)
    ids, hidden, _, _ = one_shot.prefill(noise, PROMPT)
    wanted, tokens, _ = one_shot.answer(noise, PROMPT, 16)
    ends = (ids == model.vision_end_id).nonzero()[:, 0]
    for size in (1, 5, 13):
        session = watched(model, noise, size)
        assert distance(session.features[:, -1], hidden[ends]) <= CLOSE
        assert distance(session.logits(PROMPT), wanted) <= CLOSE
    assert [step.token for step in session.ask(PROMPT, GREEDY)] == tokens
    if model.spec.rope_type == "yarn":
        assert session._memory.position > ORIGINAL


def test_it_does_change_what_is_computed(model: LoadedModel, plain: Path, noise: FrameChunk) -> None:
    """Else nothing here would prove anything."""
    untouched = loaded(plain)
    wanted = watched(untouched, noise, 13).logits(PROMPT)
    assert distance(watched(model, noise, 13).logits(PROMPT), wanted) > 100 * CLOSE


def test_windows_equal_one_forward_under_their_mask(model: LoadedModel, noise: FrameChunk) -> None:
    banded = test_window.Banded(model, noise, 3, 8)
    banded.one_shot = peer(model)
    wanted, tokens = banded.answer(16)
    session = test_window.windowed(model, noise, 5, test_window.settings())
    assert distance(session.logits(PROMPT), wanted) <= CLOSE
    assert [step.token for step in session.ask(PROMPT, GREEDY)] == tokens


@pytest.mark.parametrize("rebase", [20, 8_192])
def test_windows_move(
    model: LoadedModel, noise: FrameChunk, rebase: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_window.test_shrink_equals_closing_the_gap_each_time(model, noise, rebase, monkeypatch)


def test_blocks_move_and_come_back(model: LoadedModel, noise: FrameChunk) -> None:
    test_retrieve.test_a_question_sees_the_sinks_and_the_blocks_it_needs(model, noise_clip(15, 64, 64))
    test_retrieve.test_a_saved_index_becomes_a_session(model, noise_clip(15, 64, 64))
    test_blocks.test_moving_the_whole_prefix_changes_nothing(model, noise)


def test_codes_of_moved_blocks(
    model: LoadedModel, noise: FrameChunk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    test_packed.test_retrieved_blocks_are_read_as_they_were_coded(model, noise, "int4", tmp_path)
    test_packed.test_reading_what_was_not_compressed_is_the_full_policy(model, noise, monkeypatch)


def test_rotation_is_the_networks_own(stretched: LoadedModel) -> None:
    """But for YaRN's scale, which is a factor in keys and queries alike and stays in them."""
    scale = stretched.network.model.language_model.rotary_emb.attention_scaling
    assert scale > 1.1
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

    keys = torch.randn(2, 2, 50, stretched.spec.head_dim, generator=torch.Generator().manual_seed(0))
    positions = torch.randint(0, 500, (3, 50), generator=torch.Generator().manual_seed(1))
    cos, sin = stretched.network.model.language_model.rotary_emb(keys, positions[:, None])
    wanted = apply_rotary_pos_emb(keys, keys, cos, sin)[1]
    rotary = StreamSession(stretched)._memory.rotary
    assert distance(rotary.rotate(keys * scale, positions), wanted) <= CLOSE


def test_asking_for_yarn_is_having_it(tmp_path: Path, stretched: LoadedModel, noise: FrameChunk) -> None:
    asked = loaded(folder_with(tmp_path / "plain"), RopeSettings(yarn=Fraction(4)))
    assert asked.spec.max_positions == stretched.spec.max_positions == 4 * ORIGINAL
    logits = [watched(each, noise, 5).logits(PROMPT) for each in (asked, stretched)]
    assert torch.equal(*logits)
    assert "512 positions, for which it was not trained" in rope_notes(asked.spec)[0]
    with pytest.raises(UsageError, match="already stretches its positions, by 'yarn': it holds 512"):
        with_rope(stretched.spec, RopeSettings(yarn=Fraction(2)))


def test_what_a_configuration_says_of_its_range(tmp_path: Path) -> None:
    """As the released model cards write it: 1,000,000 are tokens, three times the original are positions."""
    folder = folder_with(tmp_path / "card")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    text = config["text_config"]
    rope = {"mrope_interleaved": True, "mrope_section": [24, 20, 20]}
    theta = text.pop("rope_parameters")["rope_theta"]
    text |= {"max_position_embeddings": 1_000_000, "rope_theta": theta}
    for kind in ({"rope_type": "yarn"}, {"type": "yarn"}):
        scaling = {**rope, **kind, "factor": 3.0, "original_max_position_embeddings": 262_144}
        path.write_text(json.dumps({**config, "text_config": {**text, "rope_scaling": scaling}}))
        spec = read_spec(folder)
        assert (spec.rope_type, spec.max_positions) == ("yarn", 786_432)
    for kind in ("dynamic", "longrope"):
        scaling = {**rope, "type": kind, "factor": 3.0}
        path.write_text(json.dumps({**config, "text_config": {**text, "rope_scaling": scaling}}))
        with pytest.raises(ModelMissing, match=f"'{kind}', which depends on the length"):
            read_spec(folder)


def test_dropped_pairs_take_no_memory(plain: Path, noise: FrameChunk) -> None:
    """10 of 64 pairs: keys of 108 instead of 128 channels, values as ever."""
    whole, pruned = loaded(plain), loaded(plain, HIGH)
    assert (whole.spec.key_dim, pruned.spec.key_dim) == (128, 108)
    sizes = []
    for model in (whole, pruned):
        session = StreamSession(model, memory=make_memory(model, MemorySettings("full")))
        session.watch(noise)
        states = session._memory.cache.states(0, session.tokens)
        sizes.append(sum(each.nbytes for each in states))
        assert sizes[-1] == session.tokens * model.spec.kv_bytes_per_token(4)
    assert sizes[1] / sizes[0] == (108 + 128) / 256
    assert next(iter(session.blocks())).keys.shape[-1] == 108


def test_nothing_dropped_is_nothing_changed(plain: Path, noise: FrameChunk) -> None:
    spec = read_spec(plain)
    assert with_rope(spec, RopeSettings()) == spec
    model = loaded(plain, RopeSettings(prune=Fraction(0)))
    assert StreamSession(model)._memory._pairs is None
    assert not any(hasattr(each, "qvl_kept") for each in model.network.modules())
    assert rope_notes(spec) == ()


def test_an_index_belongs_to_one_rotation(plain: Path, tmp_path: Path) -> None:
    def key(rope: RopeSettings) -> str:
        settings = IndexSettings(tmp_path / "cache")
        subject = Subject.of("v", with_rope(read_spec(plain), rope), "float32", SamplingSettings(), settings)
        assert subject is not None
        return subject.key(MemorySettings("full")).name

    half = Fraction(1, 2)
    changed = [RopeSettings(yarn=Fraction(3)), HIGH, LOW, replace(HIGH, prune=half)]
    names = {key(rope) for rope in (RopeSettings(), RopeSettings(end="high"), *changed)}
    assert len(names) == 1 + len(changed)  # where nothing is dropped, the end means nothing


def test_which_pairs_are_kept() -> None:
    assert RopeSettings().kept(32) == range(32)
    assert HIGH.kept(32) == range(5, 32)
    assert LOW.kept(32) == range(27)
    assert RopeSettings(prune=Fraction(1, 1000)).kept(32) == range(31)  # what was asked for happens
    assert len(RopeSettings(prune=Fraction(999, 1000)).kept(32)) == 1
    axes = LAYOUTS["interleaved"]([12, 10, 10])
    assert [axes[:5].count(axis) for axis in range(3)] == [2, 2, 1]
    assert [axes[-5:].count(axis) for axis in range(3)] == [3, 1, 1]
    for wrong in ({"prune": Fraction(1)}, {"prune": Fraction(-1)}, {"end": "left"}, {"yarn": Fraction(1)}):
        with pytest.raises(UsageError):
            RopeSettings(**wrong)


@pytest.mark.parametrize(("count", "total"), [(1, 1), (1, 40), (7, 7), (7, 40), (16, 17)])
def test_narrow_keys_against_plain_scores(count: int, total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_TILE", 8)
    random = torch.Generator().manual_seed(count)
    query = torch.randn(2, 6, count, 10, generator=random) * 3
    key = torch.randn(2, 2, total, 10, generator=random) * 3
    value = torch.randn(2, 2, total, 16, generator=random)
    scores = (query @ key.repeat_interleave(3, dim=1).transpose(2, 3)).double() / 4
    ahead = torch.ones(count, total, dtype=torch.bool).triu(total - count + 1)
    shares = scores.masked_fill(ahead, -torch.inf).softmax(dim=-1)
    wanted = shares @ value.repeat_interleave(3, dim=1).double()
    assert distance(attention._pruned(query, key, value, 0.25).double(), wanted) <= 1e-5
    half = attention._pruned(query.bfloat16(), key.bfloat16(), value.bfloat16(), None)
    assert half.dtype == torch.bfloat16


def test_the_command_says_what_was_lost(run: Run, clip: Path) -> None:  # noqa: F811
    code, out, err = run(
        "locate", str(clip), "a block", "--rope-prune", "15%", "--rope-prune-end", "high", "-f", "json"
    )
    assert code == 0
    assert "10 of 64 rotary pairs with the highest frequencies are dropped" in err
    assert any("rotary pairs" in warning for warning in json.loads(out)["warnings"])
    code, _, err = run("ask", str(clip), "what?", "--yarn", "2")
    assert code == 0
    assert "524,288 positions, for which it was not trained" in err
    for flags, said in (
        (("--rope-prune", "1.5"), "a share from 0 to below 1"),
        (("--rope-prune-end", "left"), "choose from low, high"),
        (("--yarn", "1"), "give a number above 1"),
    ):
        code, _, err = run("ask", str(clip), "what?", *flags)
        assert (code, said in err) == (2, True), err
