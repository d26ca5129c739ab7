"""The `stream` benchmark: its random models, its plan, its two sides, and how figures follow from runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qvl_cli.bench import stream, stream_run
from qvl_cli.bench.checkpoint import byte_tokenizer, write_random
from qvl_cli.bench.noise import noise_clip
from qvl_cli.bench.row import Run
from qvl_cli.bench.shapes import SHAPES, Shape, config_json, shape_named
from qvl_cli.errors import QvlError, UsageError
from qvl_cli.model.preprocess import step_text
from qvl_cli.registry import read_spec

TINY = Shape(4, 128, 2, 1, 128, 320, 4, 64, 128, (0, 1, 2))
MIB = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(TINY, tmp_path_factory.mktemp("tiny"), seed=1)


def test_2b_is_the_released_shape(shared: Path) -> None:
    released = json.loads((shared / "qwen3vl" / "2B" / "config.json").read_text())
    for part, own in config_json(SHAPES["2b"]).items():
        theirs = released[part]
        rope = theirs.get("rope_scaling", {})
        theirs["rope_parameters"] = {**rope, "rope_theta": theirs.get("rope_theta")}
        assert own == {key: theirs[key] for key in own}


def test_shapes_go_by_name() -> None:
    small = shape_named("small")
    assert (small.layers, small.hidden, small.heads, small.kv_heads, small.ffn) == (6, 512, 4, 2, 1536)
    with pytest.raises(UsageError, match="choose from small, 2b"):
        shape_named("9b")


def test_a_random_checkpoint_is_a_complete_folder(folder: Path) -> None:
    spec = read_spec(folder)
    assert (spec.layers, spec.hidden_size, spec.kv_heads, spec.head_dim) == (4, 128, 1, 128)
    assert (spec.vocab_size, spec.dtype, spec.thinking) == (320, "float32", False)


def test_both_sides_read_the_same_prompt(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logits, tokens = {}, {}
    ways = {name: ("qvl", chunk, kv) for name, chunk, kv in
            (("one", "1", "fp32"), ("all", "9", "fp32"), ("int8", "9", "int8"))}  # fmt: skip
    ways["peer"] = ("peer",)
    for name, (kind, *more) in ways.items():
        path = tmp_path / f"{name}.npy"
        stream_run.main(kind, str(folder), "9", str(path), *more)
        report = json.loads(capfd.readouterr().out.splitlines()[-1])
        assert ("kv_over_bf16" in report) == (name == "int8")
        assert report["logits"] == str(path) and report["seconds"] > 0 and report["cpu_seconds"] > 0
        logits[name], tokens[name] = np.load(path), report["tokens"]
    assert logits["peer"].std() > 0.1
    assert np.abs(logits["one"] - logits["peer"]).max() <= 1e-4
    assert np.abs(logits["all"] - logits["peer"]).max() <= 1e-4
    assert 0 < np.abs(logits["int8"] - logits["all"]).max() <= 0.3  # the first block is compressed
    assert (
        tokens["one"] == tokens["all"] == tokens["int8"] < tokens["peer"] < tokens["one"] + 64
    )  # the question


def test_a_size_is_reached_and_hardly_passed() -> None:
    tokenizer = byte_tokenizer()
    for size in (1, 4096, 16_384):
        clip = noise_clip(stream._steps(size), 2, 2)
        texts = [len(tokenizer.encode(step_text(step)).ids) for step in clip.steps]
        tokens = sum(texts) + len(texts) * (stream.VISION_TOKENS + 2)
        assert size <= tokens <= size * 1.06 + stream.STEP_TOKENS


def test_sizes_are_read_and_put_in_order() -> None:
    assert stream._counts({"tokens": "16k, 4K,300"}, "tokens") == {"300": 300, "4k": 4096, "16k": 16_384}
    for wrong in ("", "k", "4m", "0", "-1", "4k,,8k"):
        with pytest.raises(UsageError, match="no list of counts"):
            stream._counts({"tokens": wrong}, "tokens")


def test_figures_by_hand(tmp_path: Path) -> None:
    def run(name: str, megabytes: int, seconds: float = 1.0, logit: float = 0.0, tokens: int = 0) -> Run:
        path = tmp_path / f"{name}.npy"
        np.save(path, np.float32([0.0, logit]))
        report = {"seconds": seconds, "cpu_seconds": 2 * seconds, "tokens": tokens, "logits": str(path)}
        return Run(name, 9.0, 9.0, megabytes * MIB, report)

    runs = [
        run("peer load 4k", 100), run("peer 4k", 300, 2.0, tokens=4100), run("qvl load 4k", 90),
        run("qvl 4k chunk 8 fp32", 150, 3.0), run("qvl 4k chunk 32 fp32", 190, 1.0),
        run("peer load 16k", 100), run("peer 16k", 900, 8.0, 0.5, tokens=16_400), run("qvl load 16k", 100),
        run("qvl 16k chunk 8 fp32", 300, 10.0, 0.75), run("qvl 16k chunk 32 fp32", 340, 9.0, 0.5),
    ]  # fmt: skip
    figures = stream._figures({each.variant: each for each in runs})
    assert figures["memory_ratio"] == {
        "fp32 4k chunk 8": 0.3, "fp32 4k chunk 32": 0.5, "fp32": 0.25, "fp32 16k chunk 32": 0.3,
    }  # fmt: skip
    ratios = {"fp32 4k chunk 8": 1.5, "fp32 4k chunk 32": 0.5, "fp32": 1.25, "fp32 16k chunk 32": 1.125}
    assert figures["time_ratio"] == figures["cpu_ratio"] == ratios
    assert figures["max_abs_diff"]["fp32"] == 0.25 and figures["max_abs_diff"]["fp32 16k chunk 32"] == 0
    assert figures["tokens"] == {"4k": 4100, "16k": 16_400}
    assert figures["peer_mb"] == {"4k": 200, "16k": 800} and figures["qvl_mb"]["fp32"] == 200
    runs[1] = run("peer 4k", 100)
    with pytest.raises(QvlError, match="4k tokens take no memory"):
        stream._figures({each.variant: each for each in runs})
