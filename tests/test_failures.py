"""What a failure becomes: a line with its remedy, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from qvl_cli import pipeline
from qvl_cli.cli.app import main
from qvl_cli.cli.failures import told
from qvl_cli.errors import OverBudget
from qvl_cli.model.memory import memory_errors
from tests.checkpoints import write_checkpoint
from tests.clips import write_clip, x264
from tests.indexing import Heard, request

GIVEN_OUT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.OutOfMemoryError("no room"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("error", GIVEN_OUT, ids=str)
def test_memory_that_ran_out_is_exit_5_wherever_it_happens(error: Exception) -> None:
    line, code = told(error)
    assert code == 5 and "lower --max-tokens" in line and "report this" not in line
    with pytest.raises(OverBudget, match="out of memory while reading"), memory_errors("reading"):
        raise error


def test_other_errors_are_bugs() -> None:
    line, code = told(RuntimeError("shapes do not match"))
    assert code == 1 and "report this" in line
    with pytest.raises(RuntimeError, match="shapes"), memory_errors("reading"):
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize("task", ["locate", "ask"])
def test_a_checkpoint_beyond_the_range_of_float16_is_told_and_never_saved(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QVL_CACHE_DIR", str(tmp_path / "cache"))
    model = write_checkpoint(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["model.language_model.layers.0.mlp.down_proj.weight"] *= 1e6
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    clip = str(write_clip(tmp_path / "clip.mp4", [250 * n for n in range(8)], options=x264()))
    given = [task, clip, "a van", "--model", str(model), "-q", "-f", "json"]
    assert main([*given, "--dtype", "float16"]) == 2
    said = capsys.readouterr()
    assert not said.out and "computes no numbers in float16 -- use --dtype bfloat16" in said.err
    assert main([*given, "--dtype", "float32"]) == 0
    assert json.loads(capsys.readouterr().out)["usage"]["index"] == "saved"


def test_the_largest_model_for_auto_is_one_for_max_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[tuple[object, ...]] = []
    monkeypatch.setattr(pipeline, "free_on_device", lambda _: (10 << 30, 2))
    monkeypatch.setattr("qvl_cli.registry.choose_model", lambda *given: offered.append(given) or "tiny")
    for limit in ({}, {"max_memory": "800M"}):
        pipeline.choose_spec(request(tmp_path, "ask", "x", **{"model": "auto", **limit}), Heard())
    assert offered == [(None, 10 << 30, 2), (None, 800 << 20, 2)]


def test_index_tells_what_ask_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QVL_CACHE_DIR", str(tmp_path / "cache"))
    model, folder = write_checkpoint(tmp_path / "model"), tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (64, 64), (9 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    given = [str(folder), "--model", str(model), "-f", "json"]
    warned = []
    for command in (["index", *given], ["locate", given[0], "x", *given[1:3], "--no-index", "-f", "json"]):
        assert main(command) in (0, 6), capsys.readouterr().err
        warned.append(json.loads(capsys.readouterr().out)["warnings"])
    damaged = [each for each in warned[1] if "2.png" in each]
    assert damaged and set(damaged) <= set(warned[0])
