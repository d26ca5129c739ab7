"""A head trained on a stored network is the head that the whole recipe trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qvl_cli.tiny import recipe, train
from qvl_cli.tiny.export import export_checkpoint
from qvl_cli.tiny.timing import TimeStage
from qvl_cli.tiny.train import load_trained, new_network, store, train_head, train_stage, with_new_readers

CPU = torch.device("cpu")


@pytest.fixture
def short_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "LENGTHS", (6,))
    monkeypatch.setattr(recipe, "LONG_FROM", {})


def shortened(stage: recipe.Stage, updates: int) -> recipe.Stage:
    return replace(stage, updates=updates, batch=4, warmup=1, horizon=updates + 2, cooldown=1, steps=36)


@pytest.mark.usefixtures("short_lengths")
def test_a_head_for_a_stored_network_is_that_of_the_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    match = shortened(recipe.MATCH, 6)
    monkeypatch.setattr(recipe, "MATCH", match)
    monkeypatch.setattr(recipe, "MATCH_BATCHES", 2)  # each is learned from three times
    monkeypatch.setattr(recipe, "MIXES", {match: recipe.MATCH_MIX})
    network = new_network()
    export_checkpoint(network, tmp_path / "stored")
    stored = load_trained(tmp_path / "stored")
    export_checkpoint(stored, tmp_path / "again")
    for file in (tmp_path / "stored").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    before = {name: weight.detach().clone() for name, weight in stored.named_parameters()}
    moved = max(float((w.detach() - before[n]).abs().max()) for n, w in network.named_parameters())
    assert moved > 0  # float16 rounds

    whole = train_head(tmp_path / "whole", network, CPU)
    begun = train_head(tmp_path / "begun", stored, CPU)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(begun.state_dict()[name], value, atol=0, rtol=0)
    torch.manual_seed(recipe.SEED + 3)
    fresh = type(whole)(whole.shape).state_dict()
    assert not torch.equal(whole.step_key.weight, fresh["step_key.weight"])
    for name, weight in stored.named_parameters():
        assert torch.equal(weight, before[name]), name  # the network stands still


@pytest.mark.usefixtures("short_lengths")
def test_a_head_that_was_stopped_goes_on_as_if_it_had_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "MATCH_BATCHES", 2)
    network = new_network()
    heads = []
    for run, stops in (("whole", [5]), ("stopped", [3, 5])):
        for updates in stops:
            match = replace(shortened(recipe.MATCH, updates), horizon=9)
            monkeypatch.setattr(recipe, "MATCH", match)
            monkeypatch.setattr(recipe, "MIXES", {match: recipe.MATCH_MIX})
            head = train_head(tmp_path / run, network, CPU)
        heads.append(head.state_dict())
    for name, value in heads[0].items():
        torch.testing.assert_close(heads[1][name], value)


@pytest.mark.usefixtures("short_lengths")
def test_readers_learn_while_the_network_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = shortened(recipe.READ, 2)
    monkeypatch.setattr(recipe, "LESSONS", {read: recipe.LESSONS[recipe.READ]})
    monkeypatch.setattr(recipe, "MIXES", {read: recipe.NEAR_MIX})
    network = new_network()
    store(network)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    trained = TimeStage(network)
    parts = with_new_readers(network, trained)
    for name, value in trained.head.state_dict().items():
        assert torch.equal(parts.head.state_dict()[name], value), name
    fresh = {name: weight.detach().clone() for name, weight in parts.named_parameters()}
    train_stage(read, tmp_path, network, parts)
    for name, weight in network.named_parameters():
        assert torch.equal(weight, before[name]), name
    assert all(weight.requires_grad for weight in parts.language.parameters())
    fitted = {name for name, weight in parts.head.named_parameters() if not weight.requires_grad}
    assert fitted == {"score_weight", "score_bias"}  # after training, by the calibration
    readers = parts.modules_by_name(recipe.LESSONS[read])
    assert not {"language", "head"} & set(readers)
    for reader in readers:
        moved = (not torch.equal(w, fresh[n]) for n, w in parts.named_parameters() if n.startswith(reader))
        assert any(moved), reader


@pytest.mark.usefixtures("short_lengths")
def test_after_the_readers_the_language_model_learns_on_and_the_tower_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, near = shortened(recipe.READ, 2), shortened(recipe.NEAR, 2)
    lessons = {read: recipe.LESSONS[recipe.READ], near: recipe.LESSONS[recipe.NEAR]}
    monkeypatch.setattr(recipe, "LESSONS", lessons)
    monkeypatch.setattr(recipe, "READ_AGAIN", read)
    monkeypatch.setattr(recipe, "MIXES", {read: recipe.NEAR_MIX, near: recipe.NEAR_MIX})
    monkeypatch.setattr(train, "scale_vision", lambda network, frames: None)  # before all stages
    network = new_network()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    train.train_time(tmp_path, network, CPU)
    log = (tmp_path / "read.pt", tmp_path / "near.pt")
    still, learned = (torch.load(file, weights_only=True)["modules"] for file in log)
    assert not {"language", "head"} & set(still)
    assert set(learned) == set(still) | {"language", "head"}
    stored = {name: weight.half().float() for name, weight in before.items()}
    changed = {name for name, weight in network.named_parameters() if not torch.equal(weight, stored[name])}
    assert any("language_model" in name for name in changed)
    assert not any("visual" in name for name in changed)
