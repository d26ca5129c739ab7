"""What is kept in temporary files is what would be kept in memory, bit for bit."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from qvl_cli.cache import Block, make_memory, scratch
from qvl_cli.cache.scratch import Scratch
from qvl_cli.cache.spill import Spill
from qvl_cli.cache.trail import FiledRows, Rows
from qvl_cli.chunks import FrameChunk
from qvl_cli.errors import OverBudget
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import LoadedModel
from qvl_cli.prompts import Prompt
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, load_small_blocks, noise_clip

_OPEN = Path("/proc/self/fd")
PROMPT = Prompt("Look: ", "when does the seal wave?", " Say it.")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_small_blocks(tmp_path_factory.mktemp("model"), 2)


@pytest.fixture(scope="module")
def clip() -> FrameChunk:
    return noise_clip(15, 64, 64)


def test_filed_rows_are_rows() -> None:
    chance = torch.Generator().manual_seed(0)
    one, other = Rows((5,), torch.device("cpu")), FiledRows((5,))
    assert other.view().shape == (0, 5)
    before = []
    for count in (1, 3, 700, 2):
        rows = torch.randn(count, 5, generator=chance)
        one.extend(rows)
        other.extend(rows)
        assert torch.equal(one.view(), other.view())
        before.append((other.view(), one.view().clone()))
    assert all(torch.equal(view, then) for view, then in before)  # what is appended changes no view


def test_copies_of_filed_rows_grow_apart() -> None:
    rows = torch.arange(12.0).view(6, 2)
    one = FiledRows((2,))
    one.extend(rows[:2])
    twin = one.copy()
    twin.extend(rows[2:3])
    one.extend(rows[3:5])
    third = twin.copy()
    third.extend(rows[5:])
    assert torch.equal(one.view(), rows[[0, 1, 3, 4]])
    assert torch.equal(twin.view(), rows[[0, 1, 2]])
    assert torch.equal(third.view(), rows[[0, 1, 2, 5]])


@pytest.mark.parametrize("policy", ["window", "retrieve"])
def test_a_session_with_everything_in_files_answers_the_same(
    model: LoadedModel, clip: FrameChunk, policy: str
) -> None:
    settings = MemorySettings(policy, sinks=1, window=Fraction(8), fewest=2)
    held, filed = (
        StreamSession(model, memory=make_memory(model, settings, **more))
        for more in ({}, {"keep": Spill(), "filed": True})
    )
    for session in (held, filed):
        for chunk in cut(clip, 4):
            session.watch(chunk)
    assert torch.equal(held.features, filed.features)
    assert torch.equal(held.vision_means, filed.vision_means)
    assert torch.equal(held.logits(PROMPT), filed.logits(PROMPT))
    assert isinstance(filed._memory.trail.features, FiledRows)
    if policy == "retrieve":
        for one, other in zip(held.blocks(tail=True), filed.blocks(tail=True), strict=True):
            assert torch.equal(one.keys, other.keys)
            assert torch.equal(one.values, other.values)
            assert torch.equal(one.features, other.features)


@pytest.mark.skipif(not _OPEN.is_dir(), reason="no /proc")
def test_a_question_holds_no_file_open_for_each_block(model: LoadedModel, clip: FrameChunk) -> None:
    """A mapping holds a descriptor, and a process has a thousand of them: fewer than days have blocks."""
    settings = MemorySettings("retrieve", sinks=1, window=Fraction(8), fewest=6)
    session = StreamSession(model, memory=make_memory(model, settings, keep=Spill()))
    session.watch(clip)
    before, most = len(list(_OPEN.iterdir())), 0
    memory = session._memory
    read = memory.block

    def block(number: int) -> Block:
        nonlocal most
        found = read(number)
        most = max(most, len(list(_OPEN.iterdir())) - before)
        return found

    memory.block = block  # type: ignore[method-assign]
    memory.focus(0, len(clip.steps))
    assert 1 <= most <= 2


def test_what_is_written_is_on_disk_and_nowhere_else() -> None:
    """Tensors of odd sizes behind one another, each read where its mapping begins."""
    scratch = Scratch()
    tensors = [torch.arange(7, dtype=torch.int8), torch.arange(5, dtype=torch.float16)]
    scratch.write(torch.ones(1000))
    scratch.turn_page()
    start = scratch.end
    places = [scratch.write(tensor) - start for tensor in tensors]
    mapped = scratch.read(start, scratch.end - start)
    for tensor, at in zip(tensors, places, strict=True):
        assert at % 64 == 0
        found = torch.frombuffer(mapped, dtype=tensor.dtype, count=len(tensor), offset=at)
        assert torch.equal(found, tensor)


def test_rows_on_a_full_disk_are_over_budget() -> None:
    rows = FiledRows((4,))
    file, rows._file._file = rows._file._file, os.open("/dev/full", os.O_RDWR)
    with pytest.raises(OverBudget, match="No space left"):
        rows.extend(torch.ones(2, 4))
    os.close(rows._file._file)
    rows._file._file = file
    assert len(rows.view()) == 0


def test_a_place_in_memory_is_counted_as_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    kinds: dict[Path, str] = {}
    monkeypatch.setattr(scratch, "in_memory", kinds.get)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert scratch._temporary() == tmp_path
    kinds[tmp_path] = "tmpfs"
    assert scratch._temporary() == Path("/var/tmp")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert scratch._temporary() == tmp_path
    monkeypatch.setattr(scratch, "free_memory", lambda: 1 << 20)
    Scratch(expected=1 << 19)
    with pytest.raises(OverBudget, match=r"which lies in memory \(tmpfs\), has 0.0 GiB free"):
        Scratch(expected=1 << 21)
