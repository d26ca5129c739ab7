"""Compressed blocks: coded once, read exactly as coded, never the reason for anything else to change."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qvl_cli.cache import make_memory, packed
from qvl_cli.cache.codes import Codes, encode
from qvl_cli.cache.packed import PackedBlock, PackedMemory
from qvl_cli.cache.spill import Spill
from qvl_cli.chunks import FrameChunk
from qvl_cli.errors import OverBudget, UsageError
from qvl_cli.generate import DecodeSettings
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import LoadedModel
from qvl_cli.prompts import Prompt
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, load_small_blocks, noise_clip
from tests.test_stream_exact import CLOSE, distance, watched

PROMPT = Prompt("Look: ", "when does the seal wave?", " Say it.")
GREEDY = DecodeSettings(max_new_tokens=16)
BLOCK = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_small_blocks(tmp_path_factory.mktemp("model"), BLOCK)


@pytest.fixture(scope="module")
def clip() -> FrameChunk:
    return noise_clip(9, 96, 64)


def compressed(model: LoadedModel, clip: FrameChunk, kind: str, size: int = 3) -> StreamSession:
    session = StreamSession(model, memory=make_memory(model, MemorySettings("full", kv=kind)))
    for chunk in cut(clip, size):
        session.watch(chunk)
    return session


def tokens(session: StreamSession) -> list[int]:
    return [step.token for step in session.ask(PROMPT, GREEDY)]


def test_reading_what_was_not_compressed_is_the_full_policy(
    model: LoadedModel, clip: FrameChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of the blocks alone, with codes that lose nothing."""
    monkeypatch.setattr(packed, "encode", lambda tensor, kind, over: Codes(tensor))
    wanted = watched(model, clip, 9)
    for size in (1, 3, 9):
        session = compressed(model, clip, "int8", size)
        assert session.tokens == wanted.tokens
        assert distance(session.logits(PROMPT), wanted.logits(PROMPT)) <= CLOSE
        assert distance(session.features, wanted.features) <= CLOSE
    assert tokens(session) == tokens(wanted)
    for one, other in zip(session.blocks(tail=True), wanted.blocks(tail=True), strict=True):
        assert one.steps == other.steps
        assert distance(one.keys, other.keys) <= CLOSE


@pytest.mark.parametrize(
    ("kind", "share", "error"), [("bf16", 0.5, 0.02), ("int8", 0.27, 0.1), ("int4", 0.16, 1.3)]
)
def test_codes_lose_little_and_take_less(
    model: LoadedModel, clip: FrameChunk, kind: str, share: float, error: float
) -> None:
    session, wanted = compressed(model, clip, kind), watched(model, clip, 3).logits(PROMPT)
    memory = session._memory
    assert isinstance(memory, PackedMemory)
    full = sum(2 * 4 * block.keys.numel() for block in session.blocks())
    assert memory.nbytes <= share * full  # of float32
    lost = distance(session.logits(PROMPT), wanted)
    assert CLOSE < lost <= error * float(wanted.std())
    other = compressed(model, clip, kind, 9)
    assert distance(other.logits(PROMPT), session.logits(PROMPT)) <= 0.1 * lost


def test_a_code_is_the_nearest_of_its_levels() -> None:
    random = torch.Generator().manual_seed(1)
    tensor = torch.randn(2, 3, 40, 8, generator=random) * torch.tensor([100.0, *[1.0] * 7])
    for over in (2, 3):
        for kind, levels in (("int8", 254), ("int4", 15)):
            found = encode(tensor, kind, over).unpack(torch.float32)
            spread = tensor.amax(over, True) - tensor.amin(over, True)
            if kind == "int8":
                spread = 2 * tensor.abs().amax(over, True)
            assert bool(((found - tensor).abs() <= spread / levels * 0.51 + spread * 1e-3).all())
    # The one loud channel costs the others nothing, because keys are scaled by channel.
    quiet = (encode(tensor, "int4", 2).unpack(torch.float32) - tensor)[..., 1:].abs().max()
    assert float(quiet) < 0.3


def test_a_tensor_of_one_value_survives() -> None:
    for value in (0.0, 1e-9, 3.5, -250.0):
        tensor = torch.full((1, 1, 4, 4), value)
        for kind in ("int8", "int4"):
            found = encode(tensor, kind, 2).unpack(torch.float32)
            assert distance(found, tensor) <= 1e-3 * abs(value) + 1e-5


def test_coding_what_was_decoded_changes_nothing(model: LoadedModel, clip: FrameChunk) -> None:
    """So a session rebuilt from its blocks is not coded a second time in effect."""
    session = compressed(model, clip, "int8")
    blocks = list(session.blocks(tail=True))
    memory = make_memory(model, MemorySettings("full", kv="int8"))
    again = StreamSession.from_blocks(model, blocks, memory=memory)
    assert again.tokens == session.tokens
    assert distance(again.logits(PROMPT), session.logits(PROMPT)) <= CLOSE


def test_a_fork_of_a_compressed_session_has_a_future_of_its_own(model: LoadedModel, clip: FrameChunk) -> None:
    session = compressed(model, FrameChunk(clip.steps[:5], clip.frames[:5]), "int8")
    fork, before = session.fork(), session.logits(PROMPT)
    session.watch(FrameChunk(clip.steps[5:], clip.frames[5:]))
    assert torch.equal(fork.logits(PROMPT), before)
    assert tokens(session) == tokens(compressed(model, clip, "int8", 9))


@pytest.mark.parametrize("kind", ["none", "int8", "int4"])
def test_retrieved_blocks_are_read_as_they_were_coded(
    model: LoadedModel, clip: FrameChunk, kind: str, tmp_path: Path
) -> None:
    """In the main memory and in a file alike."""
    settings = MemorySettings("retrieve", sinks=1, window=Fraction(4), fewest=2, kv=kind)

    def favour(features: Tensor, query: Tensor, durations: Tensor) -> Tensor:
        return torch.arange(len(features)) * -1.0

    logits = []
    for keep in ({}, {"keep": Spill(tmp_path)}):
        session = StreamSession(model, memory=make_memory(model, settings, relevance=favour, **keep))
        session.watch(clip)
        logits.append(session.logits(PROMPT))
    assert torch.equal(*logits)
    shown = [next(session.blocks(number)) for number in (0, 1)]
    if kind != "none":
        plain = StreamSession(model, memory=make_memory(model, replace(settings, kv="none")))
        plain.watch(clip)
        raw = [next(plain.blocks(number)) for number in (0, 1)]
        for one, other in zip(shown, raw, strict=True):
            assert torch.equal(one.keys, PackedBlock.of(other, kind).unpack().keys)
    wanted = StreamSession.from_blocks(model, shown)
    assert distance(logits[0], wanted.logits(PROMPT)) <= CLOSE
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_a_full_disk_is_over_budget(model: LoadedModel, clip: FrameChunk, tmp_path: Path) -> None:
    with pytest.raises(OverBudget, match="cannot keep blocks on disk"):
        Spill(tmp_path / "missing")
    with pytest.raises(OverBudget, match="GiB free"):
        Spill(tmp_path, expected=1 << 60)
    spill = Spill(tmp_path)
    scratch = spill._file
    file, scratch._file = scratch._file, os.open("/dev/full", os.O_RDWR)
    with pytest.raises(OverBudget, match="No space left"):
        spill(next(watched(model, clip, 9).blocks()))
    os.close(scratch._file)
    scratch._file = file


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(UsageError, match="no kv is called 'int3'"):
        MemorySettings(kv="int3")
