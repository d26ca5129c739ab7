"""Whatever is wrong with a saved index costs time and a note, and never an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qvl_cli import pipeline
from qvl_cli.answer import Answer
from qvl_cli.cache.locks import try_lock
from qvl_cli.cache.manifest import FORMAT
from qvl_cli.errors import QvlError, UsageError
from qvl_cli.index.opened import Subject
from tests.indexing import Heard, ask, disk_full_beyond, index, limited, request, said, stored

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A cache with a complete index, and the answer from it."""
    root = tmp_path_factory.mktemp("whole") / "cache"
    answer = ask(root)
    assert answer.usage.index == "saved"
    return root, answer


@pytest.fixture
def root(truth: tuple[Path, Answer], tmp_path: Path) -> Path:
    return shutil.copytree(truth[0], tmp_path / "cache")


def folder_of(root: Path) -> Path:
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    return folder


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE: dict[str, tuple[Callable[[Path], None], str, int]] = {
    "a flipped bit in a block": (lambda f: flip(f / "000001.safetensors", 90_000), "damaged", 16),
    "a flipped bit in its header": (lambda f: flip(f / "000001.safetensors", 3), "damaged", 16),
    "a truncated block": (lambda f: cut(f / "000001.safetensors"), "damaged", 16),
    "a missing block": (lambda f: (f / "000000.safetensors").unlink(), "cannot be read", 8),
    "a flipped bit in the manifest": (lambda f: flip(f / "manifest.json", 400), "damaged", 8),
    "a truncated manifest": (lambda f: cut(f / "manifest.json"), "damaged", 8),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "", 8),
    "a damaged plan": (lambda f: flip(f / "plan.json", 50), "damaged", 8),
    "blocks of another index": (
        lambda f: shutil.copy(f / "000000.safetensors", f / "000001.safetensors") and None, "damaged", 16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noted_watched_again_and_repaired(
    root: Path, truth: tuple[Path, Answer], name: str
) -> None:
    damage, words, first_watched = DAMAGE[name]
    damage(folder_of(root))
    heard = Heard()
    answer = ask(root, heard)
    assert heard.said(words)
    assert heard.watched[0] == first_watched, "what is whole is kept, the rest is watched again"
    assert said(answer) == said(truth[1])
    assert stored(root) == stored(truth[0])
    assert ask(root).usage.index == "used"


def test_a_newer_format_is_neither_used_nor_touched(root: Path, truth: tuple[Path, Answer]) -> None:
    path = folder_of(root) / "manifest.json"
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({"format": 99, "new": document}))
    held, heard = stored(root), Heard()
    answer = ask(root, heard)
    assert (answer.usage.index, answer.text) == ("unsaved", truth[1].text)
    assert heard.said(f"written by a newer qvl (format 99, this one knows {FORMAT})")
    assert heard.watched
    assert stored(root) == held
    with pytest.raises(QvlError, match="newer qvl"):
        index(root)


def test_an_index_under_a_wrong_name_is_not_used(root: Path) -> None:
    folder = folder_of(root)
    folder.rename(folder.with_name("0" * 32))
    assert ask(root).usage.index == "saved"
    other = next(path for path in root.iterdir() if path.is_dir() and path.name != "0" * 32)
    shutil.rmtree(other)
    (root / ("0" * 32)).rename(other)
    key = other.with_name("f" * 32)
    assert not key.exists()
    assert ask(root).usage.index == "used"


def test_a_full_disk_costs_the_index_and_not_the_answer(tmp_path: Path, truth: tuple[Path, Answer]) -> None:
    root, heard = tmp_path / "cache", Heard()
    with disk_full_beyond(300_000):
        answer = ask(root, heard)
    assert (answer.usage.index, answer.text) == ("unsaved", truth[1].text)
    assert heard.said("nothing is saved for later questions: File too large")
    assert stored(root) == {}
    assert ask(root).usage.index == "saved"


def test_indexing_on_a_full_disk_fails_in_a_line_and_goes_on_later(
    root: Path, truth: tuple[Path, Answer]
) -> None:
    (folder_of(root) / "000001.safetensors").unlink()
    with disk_full_beyond(300_000), pytest.raises(QvlError, match=r"File too large -- .*after block 1"):
        index(root)
    heard = Heard()
    assert index(root, heard).state == "resumed"
    assert heard.watched[0] == 16
    assert stored(root) == stored(truth[0])


def test_a_read_only_cache_is_read_and_not_written(root: Path, truth: tuple[Path, Answer]) -> None:
    with limited(root, 0o500):
        assert said(ask(root)) == said(truth[1])
        heard = Heard()
        assert ask(root, heard, fps="1").usage.index == "unsaved"
        assert heard.said("nothing is saved for later questions: cannot write in")
        with pytest.raises(QvlError, match=r"no index can be saved: .*Permission denied.*QVL_CACHE_DIR"):
            index(root, fps="1")
    assert stored(root) == stored(truth[0])


def test_damage_in_a_read_only_cache_is_watched_again(root: Path, truth: tuple[Path, Answer]) -> None:
    flip(folder_of(root) / "000000.safetensors", 5000)
    for path in root.glob("*.lock"):
        path.unlink()
    heard = Heard()
    with limited(root, 0o500):
        answer = ask(root, heard)
    assert (answer.usage.index, answer.text) == ("unsaved", truth[1].text)
    assert heard.watched


def test_a_cache_that_is_closed_to_us(root: Path, truth: tuple[Path, Answer]) -> None:
    heard = Heard()
    with limited(root, 0):
        answer = ask(root, heard)
    assert (answer.usage.index, answer.text) == ("unsaved", truth[1].text)
    assert heard.said("Permission denied")


def test_a_cache_that_can_be_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    heard = Heard()
    assert ask(tmp_path / "file" / "cache", heard).usage.index == "unsaved"
    assert heard.said("cannot make")


@pytest.mark.parametrize("settings", [{"memory": "window"}, {"kv": "int8"}])
def test_what_no_run_can_take_up_is_not_saved(tmp_path: Path, settings: dict[str, str]) -> None:
    heard = Heard()
    assert ask(tmp_path / "cache", heard, **settings).usage.index == "unsaved"
    assert heard.said("nothing is saved for later questions: ")
    assert stored(tmp_path / "cache") == {}
    with pytest.raises(UsageError, match="no index can be saved"):
        index(tmp_path / "cache", **settings)


def test_a_retrieve_index_is_used_by_retrieve_alone(root: Path) -> None:
    settings = {"memory": "retrieve", "window": "4"}
    first, heard = ask(root, **settings), Heard()
    assert first.usage.index == "saved"
    second = ask(root, heard, **settings)
    assert (second.usage.index, heard.watched) == ("used", [])
    assert said(second) == said(first)
    assert ask(root).usage.index == "used"


def test_files_are_for_their_owner_alone(root: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in folder_of(root).iterdir()}
    assert modes == {0o600}
    assert folder_of(root).stat().st_mode & 0o777 == 0o700


def test_a_writer_that_gets_no_further_is_not_waited_for_and_a_dead_one_not_at_all(
    root: Path, truth: tuple[Path, Answer]
) -> None:
    name = folder_of(root).name
    shutil.rmtree(folder_of(root))
    lock = root / f"{name}.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        heard = Heard()
        answer = ask(root, heard, patience=0.3)
        assert (answer.usage.index, answer.text) == ("unsaved", truth[1].text)
        assert heard.said("another qvl is watching this video: waiting")
        assert heard.said("got no further in 0.3 s")
        holder.kill()
    assert ask(root).usage.index == "saved"


def test_who_waits_gets_what_the_other_saved(tmp_path: Path) -> None:
    """A reader that comes while the first writes waits, and then watches nothing."""
    root, second = tmp_path / "cache", Heard()
    begun = threading.Event()

    class First(Heard):
        def progress(self, stage: str, done: float, total: float) -> None:
            super().progress(stage, done, total)
            begun.set()

    answers: list[Answer] = []
    writer = threading.Thread(target=lambda: answers.append(ask(root, First())))
    writer.start()
    assert begun.wait(120)
    answers.append(ask(root, second))
    writer.join()
    assert {answer.usage.index for answer in answers} == {"saved", "used"}
    assert second.watched == []
    assert said(answers[0]) == said(answers[1])


def test_locks_of_a_removed_index_are_not_shared_with_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    first = try_lock(path, exclusive=True)
    assert first is not None
    assert try_lock(path, exclusive=False) is None
    path.unlink()
    second = try_lock(path, exclusive=True)
    assert second is not None, "the removed file's lock is not in the way"
    second.close()
    with try_lock(path, exclusive=False) or pytest.fail("free") as one:
        other = try_lock(path, exclusive=False)
        assert other is not None
        assert try_lock(path, exclusive=True) is None
        other.close()
        assert one.path == path
    first.close()


def test_the_key_names_all_that_decides(tmp_path: Path) -> None:
    """It changes with every sampling field and with what is kept, and not with what changes no bit."""

    def name(task: str = "ask", **settings: object) -> str:
        one = request(tmp_path, task, "?", **settings)
        spec, _ = pipeline.choose_spec(one, Heard())
        subject = Subject.of("ab", spec, one.dtype, one.sampling, one.index)
        assert subject is not None
        return subject.key(replace(one.memory, policy=settings.get("memory", "full"))).name

    plain = name()
    others: list[dict[str, object]] = [
        {"fps": "1"}, {"max_frames": "8"}, {"max_tokens": "300"}, {"max_pixels": "9999"},
        {"dtype": "float16"}, {"memory": "retrieve"}, {"memory": "retrieve", "window": "60"},
    ]  # fmt: skip
    assert len({plain, *(name(**settings) for settings in others)}) == 8
    for settings in ({"chunk": "3"}, {"cache_cap": "1GiB"}, {"aligner": "text"}, {"window": "60"}):
        assert name("locate", **settings) == plain
