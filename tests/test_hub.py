"""Names to folders, against a local stand-in of the hub, each in a process of its own as users run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qvl_cli.errors import ModelMissing
from qvl_cli.registry import ALIASES, HEAD_FILE, choose_model, read_spec, resolve
from tests.checkpoints import write_checkpoint
from tests.hub_server import HubServer, hub_environment

REPO = "Qwen/Qwen3-VL-2B-Instruct"
ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, sys, warnings
from qvl_cli.errors import ModelMissing
from qvl_cli.registry import choose_model, read_spec, resolve
calls = []
try:
    folder = resolve(sys.argv[1], progress=lambda done, total: calls.append((done, total)))
    result = {"files": sorted(p.name for p in folder.iterdir()), "parameters": read_spec(folder).parameters}
except ModelMissing as error:
    result = {"error": str(error), "code": error.exit_code}
result["auto"] = choose_model(None, 1 << 40)
result["cramped"] = choose_model(None, 1 << 20)
result["progress"] = calls[-1:]
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("hub"))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle nobody wants")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[HubServer]:
    server = HubServer(checkpoint, REPO)
    yield server
    server.close()


def run(url: str, home: Path, model: str = "2b", **env: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, model],
        env={**hub_environment(url, home), **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@contextmanager
def serving(checkpoint: Path, folder: Path) -> Iterator[tuple[HubServer, Path]]:
    """A hub with a copy of the checkpoint that may be changed."""
    shutil.copytree(checkpoint, folder)
    server = HubServer(folder, REPO)
    yield server, folder
    server.close()


def transfers(hub: HubServer) -> list[str]:
    return [one for one in hub.requests if "/resolve/" in one and one.startswith("GET")]


def test_a_model_is_downloaded_once(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    first = run(hub.url, tmp_path)
    fetched = [path for path in checkpoint.iterdir() if path.suffix in (".json", ".jinja", ".safetensors")]
    assert first["files"] == sorted(path.name for path in fetched)
    total = sum(path.stat().st_size for path in fetched)
    assert first["progress"] == [[total, total]]
    assert (first["auto"], first["cramped"]) == (REPO, "tiny")
    hub.requests.clear()
    again = run(hub.url, tmp_path)
    assert (again["files"], again["progress"], hub.requests) == (first["files"], [], [])
    hub.close()
    assert run(hub.url, tmp_path)["files"] == first["files"], "a whole copy needs no hub"
    assert run(hub.url, tmp_path, HF_HUB_OFFLINE="1")["files"] == first["files"]


def test_a_transfer_that_breaks_off_goes_on(hub: HubServer, tmp_path: Path) -> None:
    hub.cut["model.safetensors"] = 2
    assert "parameters" in run(hub.url, tmp_path)
    assert sum("model.safetensors" in one for one in transfers(hub)) == 3


def test_a_failed_download_leaves_no_broken_model(hub: HubServer, tmp_path: Path) -> None:
    hub.cut["model.safetensors"] = 1000
    failed = run(hub.url, tmp_path)
    assert failed["code"] == 4
    assert "failed" in failed["error"] and "try again" in failed["error"]
    assert failed["auto"] == "tiny"
    offline = run(hub.url, tmp_path, HF_HUB_OFFLINE="1")
    assert offline["code"] == 4
    hub.cut.clear()
    hub.requests.clear()
    assert "parameters" in run(hub.url, tmp_path)
    assert len(transfers(hub)) == 1, "finished files are kept"


def test_a_damaged_file_in_the_cache_is_fetched_anew(hub: HubServer, tmp_path: Path) -> None:
    whole = run(hub.url, tmp_path)
    (weights,) = (tmp_path / "hub").glob("models--*/snapshots/*/model.safetensors")
    os.truncate(weights.resolve(), 1000)
    hub.requests.clear()
    assert run(hub.url, tmp_path)["parameters"] == whole["parameters"]
    assert len(transfers(hub)) == 1, "the others are whole"


def test_a_file_that_is_damaged_on_the_hub_is_not_fetched_again(checkpoint: Path, tmp_path: Path) -> None:
    with serving(checkpoint, tmp_path / "broken") as (hub, folder):
        (folder / "model.safetensors").write_bytes(b"no safetensors file")
        for transferred in ([0], [0]):
            assert "is no safetensors file" in run(hub.url, tmp_path)["error"]
            assert hub.ranges == transferred


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, f"{REPO} holds quantised weights (fp8)"),
        ({"model_type": "qwen2_5_vl"}, f"{REPO} holds a qwen2_5_vl model"),
        ({"vision_config": None}, "incomplete or broken"),
    ],
)
def test_what_cannot_run_is_told_before_its_weights_are_fetched(
    checkpoint: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with serving(checkpoint, tmp_path / "other") as (hub, folder):
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | change))
        for _ in range(2):
            refused = run(hub.url, tmp_path)
            assert (refused["code"], hub.ranges) == (4, [])
            assert said in refused["error"]


def test_weights_that_are_no_safetensors_are_told_before_a_download(checkpoint: Path, tmp_path: Path) -> None:
    with serving(checkpoint, tmp_path / "pickled") as (hub, folder):
        (folder / "model.safetensors").unlink()
        assert f"{REPO} lacks model.safetensors" in run(hub.url, tmp_path)["error"]


def test_a_disk_that_is_too_small_is_told_before_a_download(hub: HubServer, tmp_path: Path) -> None:
    hub.claims["model.safetensors"] = 1 << 60
    refused = run(hub.url, tmp_path)
    assert (refused["code"], hub.ranges) == (4, [])
    assert "GiB" in refused["error"] and "HF_HOME" in refused["error"]


def test_what_a_model_promises_is_what_it_is(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "promised"))
    (folder / HEAD_FILE).write_bytes(b"a head")
    real = read_spec(folder, "it")
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.safetensors")}
    for path in folder.glob("*.safetensors"):
        path.unlink()
    promised = read_spec(folder, "it", promised=sizes)
    # but for the headers of the files
    assert 0 <= promised.weight_bytes - real.weight_bytes < 1 << 20
    counted = {"weight_bytes": real.weight_bytes, "parameters": real.parameters}
    assert replace(promised, **counted) == real
    assert real.parameters == pytest.approx(promised.parameters, rel=0.01)


def test_no_hub_no_model(hub: HubServer, tmp_path: Path) -> None:
    hub.close()
    gone = run(hub.url, tmp_path)
    assert gone["code"] == 4
    assert "cannot reach the hub" in gone["error"]
    assert "--model tiny" in gone["error"]
    assert gone["auto"] == "tiny"


def test_offline_says_so(hub: HubServer, tmp_path: Path) -> None:
    result = run(hub.url, tmp_path, HF_HUB_OFFLINE="1")
    assert result["code"] == 4
    assert "offline" in result["error"]
    assert hub.requests == []


def test_a_name_the_hub_does_not_know(hub: HubServer, tmp_path: Path) -> None:
    result = run(hub.url, tmp_path, "nobody/nothing")
    assert result["code"] == 4
    assert "the hub has no model nobody/nothing" in result["error"]


def test_names_that_are_nothing() -> None:
    for name in ("3b", "", "../up", "a/b/c", "no such"):
        with pytest.raises(ModelMissing, match="no model is called"):
            resolve(name)


def test_a_folder_is_itself(checkpoint: Path) -> None:
    assert resolve(str(checkpoint)) == checkpoint


def test_what_is_configured_is_chosen() -> None:
    assert choose_model("8b", 0) == "8b"


def test_of_two_of_one_size_the_one_that_does_not_think_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = [
        (f"Qwen/{name}", SimpleNamespace(parameters=size, thinking="T" in name))
        for name, size in (("2B-I", 2), ("2B-T", 2), ("4B-T", 4))
    ]
    monkeypatch.setattr("qvl_cli.registry.hub.cached_models", lambda: iter(cached[:2]))
    assert choose_model(None, 1000) == "Qwen/2B-I"
    monkeypatch.setattr("qvl_cli.registry.hub.cached_models", lambda: iter(cached))
    assert choose_model(None, 1000) == "Qwen/4B-T"


def test_a_cache_that_may_not_be_read_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(self: Path, pattern: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", locked)
    assert choose_model(None, 1 << 40) == "tiny"


def test_the_table() -> None:
    sizes = ["2b", "4b", "8b", "32b", "30b-a3b", "235b-a22b"]
    assert list(ALIASES) == ["tiny", *sizes, *(f"{size}-thinking" for size in sizes)]
    assert ALIASES["30b-a3b-thinking"].hub_id == "Qwen/Qwen3-VL-30B-A3B-Thinking"
    assert ALIASES["tiny"].hub_id is None
