"""Checkpoint folders: what they say of themselves, and how broken ones are refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qvl_cli.errors import ModelMissing, UsageError
from qvl_cli.model import attention, load
from qvl_cli.model.load import load_model, pick_dtype
from qvl_cli.registry import EMBEDDED, fingerprint, read_spec, weight_files
from tests.checkpoints import write_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In several shards with an index, as big checkpoints come."""
    return write_checkpoint(tmp_path_factory.mktemp("whole"), shard="8MB")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_spec_is_read_from_the_files(whole: Path, shared: Path) -> None:
    spec = read_spec(whole, "mine")
    weights = [tensor for path in whole.glob("*.safetensors") for tensor in load_file(path).values()]
    assert spec.name == "mine"
    assert spec.parameters == sum(tensor.numel() for tensor in weights)
    assert spec.weight_bytes == sum(tensor.numel() * tensor.element_size() for tensor in weights)
    assert (spec.dtype, spec.heads, spec.kv_heads, spec.head_dim) == ("float32", 4, 2, 128)
    assert spec.kv_bytes_per_token(2) == 2 * 4 * 2 * 128 * 2
    assert (spec.clip_pixels, spec.frame_pixels) == ((4096, 25_165_824), None)
    assert not (spec.thinking or spec.has_alignment_head or spec.has_world_gate)


def test_a_folder_may_fix_its_frame_size(folder: Path) -> None:
    (folder / "qvl.json").write_text(json.dumps({"frame_pixels": [24576, 24576], "block_steps": 4}))
    (folder / "alignment_head.safetensors").write_bytes(b"")
    spec = read_spec(folder)
    assert (spec.frame_pixels, spec.block_steps, spec.has_alignment_head) == ((24576, 24576), 4, True)


def test_of_two_sets_of_weights_those_are_checked_that_are_loaded(folder: Path, tmp_path: Path) -> None:
    sharded = fingerprint(folder)
    weights = {name: value for path in weight_files(folder) for name, value in load_file(path).items()}
    save_file(
        {name: -value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    assert weight_files(folder) == [folder / "model.safetensors"] and fingerprint(folder) != sharded
    loaded = load_model(read_spec(folder), "cpu", "float32").network.state_dict()
    name = next(name for name in weights if name in loaded)
    assert torch.equal(loaded[name], -weights[name])
    assert weight_files(tmp_path, {"model.safetensors": 1}) == [tmp_path / "model.safetensors"]


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("generation_config.json", "{", "cannot read .*generation_config.json"),
        ("qvl.json", '{"text_steps": 0}', "incomplete or broken: .*text_steps 0"),
        ("qvl.json", '{"block_steps": 0}', "incomplete or broken: .*block_steps 0"),
    ],
)
def test_a_small_file_that_is_broken_is_found_with_the_rest(
    folder: Path, name: str, content: str, fact: str
) -> None:
    (folder / name).write_text(content)
    with pytest.raises(ModelMissing, match=fact):
        read_spec(folder)


def test_released_configs_are_understood(folder: Path, shared: Path) -> None:
    for name in ("config.json", "video_preprocessor_config.json"):
        shutil.copy(shared / "qwen3vl" / "4B" / name, folder / name)
    spec = read_spec(folder)
    assert (spec.hidden_size, spec.layers, spec.heads, spec.kv_heads) == (2560, 36, 32, 8)
    assert (spec.max_positions, spec.vocab_size) == (262_144, 151_936)
    assert spec.kv_bytes_per_token(2) == 144 * 1024


def first_shard(folder: Path) -> Path:
    return min(folder.glob("*.safetensors"))


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "missing shard": lambda folder: first_shard(folder).unlink(),
    "truncated shard": lambda folder: os.truncate(
        first_shard(folder), first_shard(folder).stat().st_size - 7
    ),
    "empty shard": lambda folder: first_shard(folder).write_bytes(b""),
    "not safetensors": lambda folder: first_shard(folder).write_bytes(b"\x80\x04pickle" * 100),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "broken config": lambda folder: (folder / "config.json").write_text("{"),
    "config is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "half a config": lambda folder: edit(folder, "config.json", text_config={}),
    "other model": lambda folder: edit(folder, "config.json", model_type="llama"),
    "quantised": lambda folder: edit(folder, "config.json", quantization_config={"bits": 4}),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "no template": lambda folder: (folder / "chat_template.jinja").unlink(),
    "escaping index": lambda folder: edit(
        folder, "model.safetensors.index.json", weight_map={"a": "../model.safetensors"}
    ),
    "pickle only": lambda folder: [
        path.unlink() for path in folder.glob("model*") if (folder / "pytorch_model.bin").write_bytes(b"x")
    ],
}


@pytest.mark.parametrize("damage", UNREADABLE)
def test_a_broken_folder_is_refused_before_loading(folder: Path, damage: str) -> None:
    UNREADABLE[damage](folder)
    with pytest.raises(ModelMissing) as caught:
        read_spec(folder)
    assert caught.value.exit_code == 4
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no model folder"):
        read_spec(tmp_path / "nowhere")


def test_length_dependent_positions_are_refused(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    text["rope_parameters"]["rope_type"] = "dynamic"
    edit(folder, "config.json", text_config=text)
    with pytest.raises(ModelMissing, match="dynamic"):
        read_spec(folder)


def missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[min(tensors)]


def reshaped(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in sorted(tensors) if tensors[name].dim() == 2)
    tensors[name] = torch.zeros(3, 5)


@pytest.mark.parametrize("damage", [missing, reshaped])
def test_weights_that_do_not_fit_are_never_made_up(
    folder: Path, damage: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    rewrite(first_shard(folder), damage)
    spec = read_spec(folder)
    with pytest.raises(ModelMissing) as caught:
        load_model(spec, "cpu")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "embedded": lambda _: EMBEDDED,
    "single file": write_checkpoint,
    "shards": lambda folder: write_checkpoint(folder, shard="8MB"),
    "experts": lambda folder: write_checkpoint(folder, moe=True),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_tensors_are_loaded_as_transformers_loads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, dtype: torch.dtype
) -> None:
    attention.register()
    spec = read_spec(CHECKPOINTS[kind](tmp_path))
    straight = load._read_straight(spec, dtype, CPU)
    with monkeypatch.context() as patched:
        patched.setattr(load, "_read_straight", lambda *_: None)
        slowly = load._read_network(spec, dtype, CPU)
    assert straight is not None and type(straight) is type(slowly)
    for parts in (type(slowly).named_parameters, type(slowly).named_buffers):
        mine, theirs = dict(parts(straight)), dict(parts(slowly))
        assert list(mine) == list(theirs)
        for name, tensor in theirs.items():
            assert tensor.dtype == mine[name].dtype and torch.equal(tensor, mine[name]), name
    assert straight.config.to_dict() == slowly.config.to_dict()
    assert _tied(straight) == _tied(slowly)


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_tensors_for_another_device_never_are_all_in_ordinary_memory(tmp_path: Path, kind: str) -> None:
    attention.register()
    spec = read_spec(CHECKPOINTS[kind](tmp_path))
    # No numbers, but a device of its own: what is read for it takes memory nowhere.
    there, here = (load._read_straight(spec, torch.bfloat16, torch.device(name)) for name in ("meta", "cpu"))
    assert {tensor.device.type for tensor in there.parameters()} == {"meta"}
    mine, theirs = dict(there.named_parameters()), dict(here.named_parameters())
    assert list(mine) == list(theirs)
    assert all((mine[name].shape, mine[name].dtype) == (t.shape, t.dtype) for name, t in theirs.items())
    assert _tied(there) == _tied(here)


def _tied(network: Any) -> bool:
    return network.lm_head.weight is network.model.language_model.embed_tokens.weight


@pytest.mark.parametrize("shard", ["5GB", "8MB"])
def test_files_with_other_names_are_left_to_transformers(tmp_path: Path, shard: str) -> None:
    spec = read_spec(write_checkpoint(tmp_path, shard=shard))
    rewrite(first_shard(tmp_path), missing)
    assert load._read_straight(spec, torch.float32, CPU) is None
    with pytest.raises(ModelMissing, match="does not fit its config"):
        load_model(spec, "cpu")


def test_a_tokenizer_without_the_vision_tokens_is_refused(folder: Path) -> None:
    edit(folder, "config.json", video_token_id=9999)
    with pytest.raises(ModelMissing, match="vision tokens"):
        load_model(read_spec(folder), "cpu")


def test_no_end_token_is_refused(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder, "config.json", text_config={**text, "eos_token_id": None})
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelMissing, match="end-of-answer"):
        load_model(read_spec(folder), "cpu")


def test_impossible_devices_and_dtypes(whole: Path) -> None:
    spec = read_spec(whole)
    wrong = [("nonsense", "auto"), ("meta", "auto"), ("cpu", "int3")]
    wrong += [("cuda", "auto")] * (not torch.cuda.is_available())
    for device, dtype in wrong:
        with pytest.raises(UsageError):
            load_model(spec, device, dtype)


def test_auto_dtype_follows_the_processor(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    small = replace(read_spec(whole), dtype="bfloat16")
    big = replace(small, weight_bytes=4 << 30)
    monkeypatch.setattr(load, "fast_bfloat16", lambda _: True)
    assert pick_dtype("auto", CPU, big) == torch.bfloat16
    assert pick_dtype("auto", CPU, small) == torch.float32
    assert pick_dtype("auto", CPU, replace(big, dtype="float32")) == torch.float32
    assert pick_dtype("bfloat16", CPU, small) == torch.bfloat16
    monkeypatch.setattr(load, "fast_bfloat16", lambda device: device.type == "cuda")
    assert pick_dtype("auto", CPU, big) == torch.float32
    assert pick_dtype("auto", torch.device("cuda"), big) == torch.bfloat16


def test_a_fingerprint_names_the_weights(folder: Path) -> None:
    first = fingerprint(folder)
    assert len(first) == 16
    assert fingerprint(folder) == first
    shard = first_shard(folder)
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    changed = fingerprint(folder)
    assert changed != first
    (folder / "alignment_head.safetensors").write_bytes(b"head")
    assert fingerprint(folder) != changed


def test_a_big_files_fingerprint_samples_all_of_it(tmp_path: Path) -> None:
    from qvl_cli.registry.spec import _sampled

    path = tmp_path / "big.safetensors"
    save_file({"w": torch.arange(200_000, dtype=torch.float32)}, path)
    size = path.stat().st_size
    blocks = list(_sampled(path, whole=1000, blocks=8, block=512))
    assert sum(map(len, blocks[1:])) == 8 * 512
    assert path.read_bytes()[size - 512 :] == blocks[-1]
