"""Carried cache == one prefill: streaming against transformers' own forward, for every chunk size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from qvl_cli.chunks import FrameChunk
from qvl_cli.generate import DecodeSettings
from qvl_cli.model.load import LoadedModel, load_model
from qvl_cli.prompts import Prompt
from qvl_cli.registry import read_spec
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, noise_clip, write_checkpoint, write_released
from tests.one_shot import OneShot

PROMPT = Prompt("Look: ", "when does the seal wave?", " Say it.")
GREEDY = DecodeSettings(max_new_tokens=32)
CLOSE = 1e-4


@pytest.fixture(scope="module", params=["dense", "moe"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = write_checkpoint(tmp_path_factory.mktemp(request.param), moe=request.param == "moe", seed=3)
    return load_model(read_spec(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def one_shot(model: LoadedModel) -> OneShot:
    return OneShot(model)


def watched(model: LoadedModel, clip: FrameChunk, size: int) -> StreamSession:
    session = StreamSession(model)
    for chunk in cut(clip, size):
        session.watch(chunk)
    return session


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.mark.parametrize("grid", [(64, 64), (192, 128), (96, 160)], ids=str)
def test_streaming_equals_one_forward(model: LoadedModel, one_shot: OneShot, grid: tuple[int, int]) -> None:
    clip = noise_clip(11, *grid)
    ids, hidden, _, _ = one_shot.prefill(clip, PROMPT)
    wanted, tokens, states = one_shot.answer(clip, PROMPT, 32)
    ends = (ids == model.vision_end_id).nonzero()[:, 0]
    assert float(wanted.std()) > 0.5  # a model that prefers nothing would prove nothing
    for size in (1, 3, 8, 11):
        session = watched(model, clip, size)
        assert session.steps == clip.steps
        assert distance(session.features[:, -1], hidden[ends]) <= CLOSE
        assert distance(session.logits(PROMPT), wanted) <= CLOSE
        assert [step.token for step in session.ask(PROMPT, GREEDY)] == tokens
        assert session.answer_ids == tuple(tokens)
        assert distance(session.answer_states, states) <= CLOSE


def test_what_is_shown_matters(model: LoadedModel) -> None:
    """Else the test above could pass with the vision rows misplaced."""
    clip = noise_clip(6, 64, 96)
    swapped = FrameChunk(clip.steps, np.ascontiguousarray(clip.frames[::-1]))
    one, other = (watched(model, shown, 6).logits(PROMPT) for shown in (clip, swapped))
    assert distance(one, other) > 100 * CLOSE


def test_query_states_are_those_of_the_query_alone(model: LoadedModel, one_shot: OneShot) -> None:
    clip = noise_clip(4, 64, 96)
    _, hidden, _, _ = one_shot.prefill(clip, PROMPT)
    codec = model.codec
    count = len(codec.encode_text(PROMPT.query))
    behind = len(codec.encode_text(PROMPT.after)) + len(codec.encode_template(model.suffix))
    query = watched(model, clip, 3).read(PROMPT)
    assert distance(query, hidden[-behind - count : -behind]) <= CLOSE


def test_vision_means_are_means_of_the_merged_tokens(model: LoadedModel, one_shot: OneShot) -> None:
    from qvl_cli.model.preprocess import patchify

    clip = noise_clip(3, 64, 96)
    with torch.no_grad():
        merged = one_shot.network.model.visual(
            patchify(clip.frames), grid_thw=torch.tensor([[3, 6, 4]])
        ).pooler_output
    assert (
        distance(watched(model, clip, 2).vision_means, merged.view(3, -1, merged.shape[-1]).mean(1)) <= CLOSE
    )


def test_asking_without_a_video_is_a_plain_chat(model: LoadedModel) -> None:
    session = StreamSession(model)
    text = f"{model.prefix}{PROMPT.query}{model.suffix}"
    ids = torch.tensor([model.tokenizer.encode(text, add_special_tokens=False)])
    with torch.no_grad():
        wanted = model.network(input_ids=ids).logits[0, -1]
    assert distance(session.logits(Prompt("", PROMPT.query)), wanted) <= CLOSE
    assert session.features.shape == (0, 1, model.spec.hidden_size)


def test_a_thinking_checkpoint(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, thinking=True, seed=5)
    spec = read_spec(folder)
    assert spec.thinking
    model = load_model(spec, "cpu", "float32")
    assert model.opens_thinking
    assert model.suffix.endswith("<|im_start|>assistant\n<think>\n")
    clip = noise_clip(5, 64, 64)
    wanted, tokens, _ = OneShot(model).answer(clip, PROMPT, 32)
    session = watched(model, clip, 2)
    assert distance(session.logits(PROMPT), wanted) <= CLOSE
    answer = list(session.ask(PROMPT, GREEDY))
    assert [step.token for step in answer] == tokens
    closed = tokens.index(model.think_close) if model.think_close in tokens else len(tokens)
    assert [step.thinking for step in answer[: closed + 1]] == [True] * len(answer[: closed + 1])


def test_the_released_tokenizer_and_template(tmp_path: Path, shared: Path) -> None:
    model = load_model(read_spec(write_released(tmp_path, shared / "qwen3vl", seed=7)), "cpu", "float32")
    assert (model.prefix, model.suffix) == ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
    assert model.eos_ids >= {151645}
    clip = noise_clip(5, 96, 64)
    wanted, tokens, _ = OneShot(model).answer(clip, PROMPT, 8)
    session = watched(model, clip, 2)
    assert distance(session.logits(PROMPT), wanted) <= CLOSE
    assert [step.token for step in session.ask(PROMPT, DecodeSettings(max_new_tokens=8))] == tokens
