"""The cache folder without any model: exact JSON, the manifest, the library, `qvl cache`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_cli import digests
from qvl_cli.cache import exact, manifest
from qvl_cli.cache.library import Library, verify
from qvl_cli.cache.manifest import (
    IndexKey,
    Manifest,
    StoredBlock,
    plan_digest,
    read_manifest,
    read_plan,
    settings_text,
    stored_block,
    write_manifest,
    write_plan,
)
from qvl_cli.cache.place import make_folder, origin, user_cache, write_whole
from qvl_cli.cli.app import main
from qvl_cli.config import load_config
from qvl_cli.errors import IndexUnusable, UsageError
from qvl_cli.memory import MemorySettings
from qvl_cli.registry import EMBEDDED, weights_digest
from qvl_cli.sampling import SamplePlan, SamplingSettings, Step
from qvl_cli.timeline import TimeSpan

times = st.fractions(min_value=0, max_value=10**6, max_denominator=10**9)
spans = st.tuples(times, times).map(lambda pair: TimeSpan(min(pair), max(pair)))
steps = st.builds(Step, times, times, spans)
plans = st.builds(
    SamplePlan,
    steps=st.lists(steps, max_size=4).map(tuple),
    range=spans,
    width=st.integers(1, 9999),
    height=st.integers(1, 9999),
    tokens_per_step=st.integers(1, 999),
    fps=times,
    considered=st.integers(0, 10**6),
    coarsened=st.booleans(),
    notes=st.lists(st.text(), max_size=3).map(tuple),
)
KEY = IndexKey(
    "ab" * 32, "cd" * 32, settings_text(SamplingSettings()), settings_text(MemorySettings()), "float32"
)


@settings(deadline=None, max_examples=25)
@given(plans)
def test_a_plan_comes_back_exactly(plan: SamplePlan) -> None:
    assert exact.load(SamplePlan, exact.dump(plan)) == plan


def test_a_manifest_is_written_as_it_is_read(tmp_path: Path) -> None:
    block = StoredBlock("000000.safetensors", 7, "ef" * 16, 8)
    manifest = Manifest(KEY, '/videos/ä "%s".mp4', Fraction(1, 3), "tiny", "12" * 32, (block, block))
    write_manifest(tmp_path, manifest)
    data = (tmp_path / "manifest.json").read_bytes()
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert read_manifest(tmp_path) == manifest


@dataclass(frozen=True)
class Odd:
    ratio: float
    maybe: Fraction | None
    pair: tuple[int, str]


@pytest.mark.parametrize("change", [
    {"ratio": "1"}, {"ratio": True}, {"maybe": 0.5}, {"maybe": "1/0"}, {"maybe": "x"}, {"pair": [1]},
    {"pair": [1.0, "a"]}, {"pair": [True, "a"]}, {"more": 1},
])  # fmt: skip
def test_anything_but_what_was_written_is_refused(change: dict[str, object]) -> None:
    value = Odd(1.5, Fraction(1, 3), (1, "a"))
    document = json.loads(exact.dump(value))
    assert exact.load(Odd, json.dumps(document)) == value
    with pytest.raises(ValueError):
        exact.load(Odd, json.dumps(document | change))


def entry(library: Library, name: str, used: float, size: int = 1000) -> Path:
    """An index whose blocks are no tensors, which only readers of blocks would notice."""
    folder = library.folder(name)
    make_folder(library.root)
    make_folder(folder)
    span = TimeSpan(Fraction(0), Fraction(1))
    plan = SamplePlan((), span, 32, 32, 1, Fraction(2), 0, False)
    data = name.encode() * size
    write_whole(folder / "000000.safetensors", data[:size])
    block = stored_block("000000.safetensors", data[:size], 8)
    write_plan(folder, plan)
    held = Manifest(KEY, f"/videos/{name[:4]}.mp4", Fraction(1, 3), "tiny", plan_digest(plan))
    write_manifest(folder, replace(held, blocks=(block,), complete=True))
    os.utime(folder, (used, used))
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path / "cache")
    for number, name in enumerate("abc"):
        entry(library, name * 32, 1000.0 + number)
    return library


def test_a_manifest_comes_back_and_a_changed_one_does_not(library: Library) -> None:
    folder = library.folder("a" * 32)
    held = read_manifest(folder)
    assert held is not None
    assert (held.steps, held.duration, held.key) == (8, Fraction(1, 3), KEY)
    assert read_plan(folder, held).fps == 2
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"steps":8', b'"steps":9'))
    with pytest.raises(IndexUnusable, match="checksum"):
        read_manifest(folder)


def test_block_files_are_fetched_whole_in_order_and_no_more_than_may_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("no posix_fadvise on this platform")
    fetched: list[tuple[str, int, int]] = []

    def fetch(descriptor: int, place: int, length: int, _: int) -> None:
        fetched.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, place, length))

    monkeypatch.setattr(os, "posix_fadvise", fetch)
    monkeypatch.setattr(manifest, "_READ_AHEAD", 3_500)
    monkeypatch.setattr(manifest, "_FETCHED_AT_ONCE", 600)
    blocks = tuple(stored_block(name, b"x" * 1_000, 8) for name in ("lost", "one", "two", "late"))
    for name in ("one", "two", "late"):
        (tmp_path / name).write_bytes(b"x" * 1_000)
    manifest.read_ahead(tmp_path, Manifest(KEY, "", Fraction(1), "tiny", "12" * 32, blocks))
    for thread in threading.enumerate():
        if thread.name == "qvl-ahead":
            thread.join()
    assert fetched == [(name, place, 600) for name in ("one", "two") for place in (0, 600)]


def test_entries_come_latest_first_and_are_found(library: Library) -> None:
    assert [each.name for each in library.entries()] == ["c" * 12, "b" * 12, "a" * 12]
    assert library.find("aa").folder.name == "a" * 32
    assert library.find("/videos/bbbb.mp4").folder.name == "b" * 32
    entry(library, "a" * 31 + "b", 5000.0)
    for unknown in ("aa", "zz", "", "../cache"):
        with pytest.raises(UsageError):
            library.find(unknown)


def test_pruning_goes_by_last_use_damage_first_and_spares_what_is_in_use(library: Library) -> None:
    (library.folder("c" * 32) / "manifest.json").write_text("{")
    size = sum(each.bytes for each in library.entries())
    assert library.prune(size) == []
    others = size - library.find("b").bytes
    assert library.prune(others, spare="b" * 32) == [], "what is spared is not counted"
    assert [each.name[0] for each in library.prune(size - 1)] == ["c"]
    with library.lock("a" * 32, exclusive=False) or pytest.fail("free"):
        assert [each.name[0] for each in library.prune(0, spare="b" * 32)] == []
    assert [each.name[0] for each in library.prune(0, spare="b" * 32)] == ["a"]
    assert sorted(path.name[0] for path in library.root.iterdir()) == ["b"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


def test_places(tmp_path: Path) -> None:
    assert user_cache({"XDG_CACHE_HOME": "/x"}, "darwin") == Path("/x/qvl")
    assert user_cache({}, "linux") == Path.home() / ".cache" / "qvl"
    assert user_cache({}, "darwin") == Path.home() / "Library" / "Caches" / "qvl"


@pytest.mark.parametrize(("text", "size"), [
    ("10GiB", 10 << 30), ("500 MB", 500 << 20), ("1.5g", 3 << 29), ("0", 0), ("4096", 4096), ("2k", 2048),
])  # fmt: skip
def test_sizes(text: str, size: int, tmp_path: Path) -> None:
    assert load_config({"cache_cap": text}, {}, tmp_path).count("cache_cap") == size


@pytest.mark.parametrize("text", ["", "ten", "-1", "1e9", "10XB", True])
def test_no_sizes(text: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a size, like 8G"):
        load_config({"cache_cap": text}, {}, tmp_path)


def test_a_digest_covers_every_byte_that_decides(tmp_path: Path) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "model")
    first = weights_digest(folder)
    assert weights_digest(folder) == first
    (folder / "alignment_head.safetensors").unlink()
    assert weights_digest(folder) == first, "a head reads what was watched"
    seen = {first}
    for name in (
        "model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "video_preprocessor_config.json",
    ):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        seen.add(weights_digest(folder))
    assert len(seen) == 5


def test_big_files_are_remembered_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_BIG", 1)
    monkeypatch.setattr(digests, "SETTLED", 0.0)
    folder = shutil.copytree(EMBEDDED, tmp_path / "model")
    memory = tmp_path / "weights.json"
    first = weights_digest(folder, memory)
    held = json.loads(memory.read_text())
    assert len(held) >= 5
    memory.write_text(json.dumps(dict.fromkeys(held, "0" * 64)))
    assert weights_digest(folder, memory) != first, "what is remembered is believed"
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    for broken in ("", "[1]", "{"):
        memory.write_text(broken)
        assert weights_digest(folder, memory) == weights_digest(folder)


def test_what_a_newer_qvl_saved_is_neither_damaged_nor_the_first_to_go(
    library: Library, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (library.folder("c" * 32) / "manifest.json").write_text(json.dumps({"format": 99}))
    assert [each.state for each in library.entries()] == ["newer", "complete", "complete"]
    monkeypatch.setenv("QVL_CACHE_DIR", str(library.root))
    assert main(["cache", "verify"]) == 0
    assert "was written by a newer qvl" in capsys.readouterr().out
    size = sum(each.bytes for each in library.entries())
    assert [each.name[0] for each in library.prune(size - 1)] == ["a"]


def test_what_an_older_qvl_saved_says_so_and_goes_first(library: Library) -> None:
    (library.folder("c" * 32) / "manifest.json").write_text(json.dumps({"format": 1}))
    states = {each.name[0]: each for each in library.entries()}
    assert states["c"].state == "unusable"
    assert states["c"].trouble is not None and "was written by an older qvl (format 1" in states["c"].trouble
    size = sum(each.bytes for each in library.entries())
    assert [each.name[0] for each in library.prune(size - 1)] == ["c"]


def test_streams_are_listed_as_they_were_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [origin(each) for each in ("-", "https://host/x.mp4")] == ["-", "https://host/x.mp4"]
    assert origin("x.mp4") == str(tmp_path.resolve() / "x.mp4")


def test_cache_commands(
    library: Library, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QVL_CACHE_DIR", str(library.root))

    def qvl(*arguments: str) -> tuple[int, str, str]:
        code = main(["cache", *arguments])
        return (code, *capsys.readouterr())

    assert qvl("path") == (0, f"{library.root}\n", "")
    code, listed, _ = qvl("ls")
    assert code == 0
    assert [line.split()[0] for line in listed.splitlines()] == ["INDEX", "c" * 12, "b" * 12, "a" * 12]
    document = json.loads(qvl("ls", "-f", "json")[1])
    assert document["bytes"] == sum(each["bytes"] for each in document["entries"])
    shown = json.loads(qvl("show", "/videos/aaaa.mp4", "--format", "json")[1])["entry"]
    assert (shown["state"], shown["steps"], shown["bound_to"]["dtype"]) == ("complete", 8, "float32")
    assert "duration     0.333" in qvl("show", "aaa")[1]
    assert qvl("verify")[0] == 0
    block = library.folder("b" * 32) / "000000.safetensors"
    block.write_bytes(block.read_bytes()[::-1] + b"x")
    assert qvl("verify", "aaa")[0] == 0
    code, told, line = qvl("verify")
    assert code == 1
    assert f"{'b' * 12} " in told
    assert "1 of 3 indexes damaged -- qvl cache rm bbbbbbbbbbbb" in line
    assert len(verify(library.find("b"))) == 1
    assert qvl("rm", "bbb")[0] == 0
    assert qvl("prune", "--cache-cap", "0")[2] == "qvl: removed 2 indexes\n"
    assert qvl("ls") == (0, "", "")
    for wrong in ("rm", "rm --all a", "show a", "ls -f srt", "prune --cache-cap x"):
        code, out, line = qvl(*wrong.split())
        assert (code, out, len(line.splitlines())) == (2, "", 1), wrong
    assert qvl("verify", "-f", "json") == (0, '{"schema": "qvl.cache/1", "entries": []}\n', "")


def test_an_index_in_use_is_not_removed(
    library: Library, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QVL_CACHE_DIR", str(library.root))
    with library.lock("a" * 32, exclusive=False) or pytest.fail("free"):
        assert main(["cache", "rm", "--all"]) == 1
    assert "in use by another qvl: aaaaaaaaaaaa" in capsys.readouterr().err
    assert [each.name[0] for each in library.entries()] == ["a"]


def test_listing_starts_nothing_heavy(library: Library) -> None:
    code = (
        "import sys; from qvl_cli.cli.app import main; main(['cache', 'ls']); print('torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "QVL_CACHE_DIR": str(library.root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == "False"
