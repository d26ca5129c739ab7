"""The decode loop, driven by scripted logits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qvl_cli.errors import ModelMissing, UsageError
from qvl_cli.generate import DecodeSettings, TokenStep, answer_settings, decode
from qvl_cli.model.load import LoadedModel, load_model
from qvl_cli.registry import Decoding, read_spec
from tests.checkpoints import write_checkpoint


@pytest.fixture(scope="module")
def instruct(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(read_spec(write_checkpoint(tmp_path_factory.mktemp("instruct"))), "cpu")


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(read_spec(write_checkpoint(tmp_path_factory.mktemp("thinking"), thinking=True)), "cpu")


def script(model: LoadedModel, text: str) -> list[int]:
    """Ids of text with its special tokens, as a model would emit them."""
    return model.codec.encode_template(text)


def playing(model: LoadedModel, ids: Sequence[int]) -> tuple[Tensor, Callable[[int], Tensor], list[int]]:
    """Logits that make greedy decoding say `ids`; the feed function; what was fed."""
    fed: list[int] = []

    def wanting(place: int) -> Tensor:
        logits = torch.zeros(model.spec.vocab_size)
        logits[ids[place % len(ids)]] = 5.0
        return logits

    def feed(token: int) -> Tensor:
        fed.append(token)
        return wanting(len(fed))

    return wanting(0), feed, fed


def say(
    model: LoadedModel, text: str, settings: DecodeSettings | None = None
) -> tuple[list[TokenStep], list[int]]:
    first, feed, fed = playing(model, script(model, text))
    return list(decode(model, first, feed, settings or DecodeSettings())), fed


def text_of(steps: list[TokenStep], thinking: bool) -> str:
    return "".join(step.text for step in steps if step.thinking == thinking)


def test_an_answer_ends_at_the_end_token(instruct: LoadedModel) -> None:
    steps, fed = say(instruct, "at 12.5 s, the 猫 sleeps<|im_end|>never said")
    assert text_of(steps, False) == "at 12.5 s, the 猫 sleeps"
    assert not any(step.thinking for step in steps)
    assert fed == [step.token for step in steps], "every token said has its state, the last one too"
    assert all("�" not in step.text for step in steps)
    wanted = 5.0 - float(torch.logsumexp(torch.tensor([5.0] + [0.0] * (instruct.spec.vocab_size - 1)), 0))
    assert steps[0].logprob == pytest.approx(wanted, abs=1e-5)


def test_the_token_budget_is_kept_and_open_bytes_are_shown(instruct: LoadedModel) -> None:
    steps, fed = say(instruct, "a猫", DecodeSettings(max_new_tokens=3))
    assert len(steps) == len(fed) == 3
    assert [step.text for step in steps[:2]] == ["a", ""]
    assert set(steps[2].text) == {"�"}


def test_thoughts_are_kept_apart(instruct: LoadedModel) -> None:
    steps, _ = say(instruct, "<think>let me see</think>\n\nat 3 s<|im_end|>")
    assert text_of(steps, True) == "let me see"
    assert text_of(steps, False) == "\n\nat 3 s"


def test_thoughts_the_template_opened(thinker: LoadedModel) -> None:
    assert not text_of(say(thinker, "still thinking<|im_end|>")[0], False)
    steps, _ = say(thinker, "hm, 5 s\n</think>\n\n5 s<|im_end|>")
    assert (text_of(steps, True), text_of(steps, False)) == ("hm, 5 s\n", "\n\n5 s")


def test_a_character_cut_by_a_marker_belongs_to_what_came_before(thinker: LoadedModel) -> None:
    cut = thinker.codec.encode_text("猫")[:2]
    ids = [*cut, *script(thinker, "</think>ok<|im_end|>")]
    first, feed, _ = playing(thinker, ids)
    steps = list(decode(thinker, first, feed, DecodeSettings()))
    assert set(text_of(steps, True)) == {"�"}
    assert text_of(steps, False) == "ok"


def test_silence_is_an_answer(instruct: LoadedModel) -> None:
    assert say(instruct, "<|im_end|>") == ([], [])


def test_sampling_follows_seed_and_mass(instruct: LoadedModel) -> None:
    logits = torch.full((instruct.spec.vocab_size,), -20.0)
    letters = instruct.codec.encode_text("abcd")
    logits[letters] = torch.tensor([0.6, 0.25, 0.1, 0.05]).log()

    def drawn(seed: int, top_p: float, temperature: float = 1.0, top_k: int = 0) -> list[int]:
        settings = DecodeSettings(300, Decoding(temperature, top_k, top_p), seed)
        return [step.token for step in decode(instruct, logits, lambda _: logits, settings)]

    assert drawn(1, 1.0) == drawn(1, 1.0) != drawn(2, 1.0)
    assert set(drawn(1, 1.0)) == set(letters)
    assert set(drawn(1, 0.8)) == set(letters[:2])
    assert set(drawn(1, 0.5)) == set(letters[:1])
    assert drawn(1, 1.0).count(letters[0]) / 300 == pytest.approx(0.6, abs=0.1)
    assert drawn(1, 1.0, temperature=0.3).count(letters[0]) > 270
    assert set(drawn(1, 1.0, top_k=3)) == set(letters[:3])
    assert set(drawn(1, 1.0, top_k=1)) == set(letters[:1])
    assert set(drawn(1, 0.6, top_k=2)) == set(letters[:1])  # of the mass that top_k left
    assert drawn(1, 1.0, top_k=10**6) == drawn(1, 1.0)


def test_models_that_think_decode_as_they_say_and_all_others_take_the_likeliest(tmp_path: Path) -> None:
    said = {"do_sample": True, "temperature": 0.9, "top_k": 20, "top_p": 0.95}
    for thinking in (False, True):
        folder = write_checkpoint(tmp_path / str(thinking), thinking=thinking)
        kept = json.loads((folder / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(json.dumps(kept | said))
        chosen = answer_settings(read_spec(folder)).choice
        assert chosen == (Decoding(0.9, 20, 0.95) if thinking else Decoding(0.0, 0, 1.0))
    for change in ({"do_sample": False}, {"do_sample": None}):
        (folder / "generation_config.json").write_text(json.dumps(kept | said | change))
        assert read_spec(folder).decoding == Decoding()
    for change in ({"temperature": 0}, {"top_p": 2}, {"top_k": "many"}):
        (folder / "generation_config.json").write_text(json.dumps(kept | said | change))
        with pytest.raises(ModelMissing, match="broken"):
            read_spec(folder)


def test_a_constraint_decides_what_may_follow(instruct: LoadedModel) -> None:
    a, b = instruct.codec.encode_text("ab")
    (end,) = instruct.eos_ids
    logits = torch.zeros(instruct.spec.vocab_size)
    logits[b] = 1.0

    def allowed(written: Sequence[int]) -> list[int]:
        return [[a], [a, b], [end]][len(written)]

    steps = list(decode(instruct, logits, lambda _: logits, DecodeSettings(allowed=allowed)))
    assert [step.token for step in steps] == [a, b]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}],
    ids=str,
)
def test_impossible_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no sampling"):
        Decoding(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        DecodeSettings(max_new_tokens=0)
