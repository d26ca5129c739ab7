"""A run that goes on from a stored checkpoint is the run that goes on from what had been trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qvl_cli.tiny import recipe
from qvl_cli.tiny.export import export_checkpoint, export_head
from qvl_cli.tiny.timing import TimeStage
from qvl_cli.tiny.train import load_trained, new_network, train_on

CPU = torch.device("cpu")


@pytest.fixture
def short_stages(monkeypatch: pytest.MonkeyPatch) -> tuple[recipe.Stage, recipe.Stage]:
    """Two updates for what reads, and two for all, on short clips."""
    read, near = (
        replace(stage, updates=2, batch=4, warmup=1, horizon=4, cooldown=1)
        for stage in (recipe.READ, recipe.NEAR)
    )
    lessons = {read: recipe.LESSONS[recipe.READ], near: recipe.LESSONS[recipe.NEAR]}
    monkeypatch.setattr(recipe, "LESSONS", lessons)
    monkeypatch.setattr(recipe, "RESTARTED", read)
    monkeypatch.setattr(recipe, "MIXES", {read: recipe.NEAR_MIX, near: recipe.NEAR_MIX})
    monkeypatch.setattr(recipe, "LENGTHS", (6,))
    return read, near


@pytest.mark.usefixtures("short_stages")
def test_going_on_from_a_checkpoint_equals_going_on(tmp_path: Path) -> None:
    network = new_network()
    parts = TimeStage(network)
    export_checkpoint(network, tmp_path / "stored")
    export_head(parts.head, 0.5, tmp_path / "stored")
    stored, head = load_trained(tmp_path / "stored")
    export_checkpoint(stored, tmp_path / "again")
    for file in (tmp_path / "stored").glob("[!a]*"):  # all but the head
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    before = {name: weight.detach().clone() for name, weight in stored.named_parameters()}
    moved = max(float((w.detach() - before[n]).abs().max()) for n, w in network.named_parameters())
    assert moved > 0  # float16 rounds

    whole = train_on(tmp_path / "whole", network, parts.head, CPU)
    begun = train_on(tmp_path / "begun", stored, head, CPU)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(begun.state_dict()[name], value, atol=0, rtol=0)

    log = (tmp_path / "begun" / "read.pt", tmp_path / "begun" / "near.pt")
    still, learned = (torch.load(file, weights_only=True)["modules"] for file in log)
    assert not {"language", "head"} & set(still)
    assert set(learned) == set(still) | {"language", "head"}
    changed = {name for name, weight in stored.named_parameters() if not torch.equal(weight, before[name])}
    assert any("language_model" in name for name in changed)
    assert not any("visual" in name for name in changed)


def test_readers_learn_while_the_network_stands_still(
    short_stages: tuple[recipe.Stage, recipe.Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, _ = short_stages
    monkeypatch.setattr(recipe, "LESSONS", {read: recipe.LESSONS[read]})
    network = new_network()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.half())
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    torch.manual_seed(recipe.SEED + 2)
    fresh = TimeStage(network)
    parts = train_on(tmp_path, network, fresh.head, CPU)
    for name, weight in network.named_parameters():
        assert torch.equal(weight, before[name]), name
    assert all(weight.requires_grad for weight in parts.language.parameters())
    fitted = {name for name, weight in parts.head.named_parameters() if not weight.requires_grad}
    assert fitted == {"score_weight", "score_bias"}  # after training, by the calibration
    for name, module in recipe_readers(parts).items():
        anew = dict(recipe_readers(fresh)[name].named_parameters())
        assert any(not torch.equal(weight, anew[n]) for n, weight in module.named_parameters()), name


def recipe_readers(parts: TimeStage) -> dict[str, torch.nn.Module]:
    return parts.modules_by_name(replace(recipe.NEAR_LESSONS, still=True))
