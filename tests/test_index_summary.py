"""A summary is written once for a saved index, and again where anything it depends on has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from qvl_cli.answer import Answer
from qvl_cli.cache.beside import SECTIONS
from qvl_cli.cache.library import Library, verify
from qvl_cli.errors import OutsideWorld
from qvl_cli.generate import DecodeSettings
from qvl_cli.prompts import Prompt
from qvl_cli.registry import Decoding
from qvl_cli.tasks.told import summary_key
from tests.clips import write_clip, x264
from tests.indexing import Heard, ask, index, request, run, said, stored


def summarize(root: Path, heard: Heard | None = None, **settings: object) -> Answer:
    return run(request(root, "summarize", **settings), heard)


@pytest.mark.parametrize("memory", ["full", "retrieve"])
def test_a_second_summary_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    root, heard = tmp_path / "cache", Heard()
    one = summarize(root, memory=memory)
    assert one.usage.index == "saved" and one.sections
    with monkeypatch.context() as patched:
        patched.delattr("qvl_cli.tasks.summarize.Sections.write")
        again = summarize(root, heard, memory=memory)
    assert said(again) == said(one)
    assert heard.watched == [] and heard.said("the sections were written before")
    plain = summarize(root, memory=memory, no_index=True)
    assert (plain.text, plain.sections) == (one.text, one.sections)


def test_a_summary_of_a_window_is_all_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, first, second = tmp_path / "cache", Heard(), Heard()
    flags = {"memory": "window", "window": "4"}
    one = summarize(root, first, **flags)
    assert first.said("only the summary will be saved") and first.watched == [8, 16, 18]
    assert one.usage.index == "saved" and len(one.sections) > 1
    (entry,) = Library(root).entries()
    assert entry.state == "complete" and verify(entry) == [] and not list(root.rglob("*.safetensors"))
    with monkeypatch.context() as patched:
        patched.delattr("qvl_cli.tasks.summarize.Sections.write")
        again = summarize(root, second, **flags)
    assert (again.usage.index, said(again)) == ("used", said(one)) and second.watched == []
    for other in ({"memory": "window", "window": "5"}, {"memory": "window", "window": "4", "fps": "1"}):
        assert summarize(root, **other).usage.index == "saved"
    heard = Heard()  # a question has to look for itself
    asked = ask(root, heard, **flags)
    assert (asked.usage.index, heard.watched) == ("unsaved", [8, 16, 18])
    (entry.folder / SECTIONS).write_text("{}")
    assert summarize(root, second, **flags).usage.index == "saved" and second.watched == [8, 16, 18]


def test_a_kept_summary_is_that_of_the_same_rotation_and_the_same_judge(tmp_path: Path) -> None:
    root, flags = tmp_path / "cache", {"memory": "window", "window": "4"}
    for expected in ("saved", "used"):
        assert summarize(root, rope_prune="0.15", **flags).usage.index == expected
    noise = tmp_path / "noise.mp4"
    write_clip(noise, [40 * number for number in range(100)], options=x264())
    for expected in ("saved", "used"):
        assert summarize(root, path=noise, **flags).usage.index == expected
    with pytest.raises(OutsideWorld):
        summarize(root, path=noise, **flags, model="auto")
    for expected in ("saved", "used"):
        assert summarize(root, **flags, model="auto").usage.index == expected


def test_an_index_or_a_question_writes_no_summary_and_keeps_one(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    index(root)
    ask(root)
    (entry,) = Library(root).entries()
    assert not (entry.folder / SECTIONS).exists()
    one = summarize(root)
    assert one.usage.index == "used"
    held = stored(root)
    assert (entry.folder / SECTIONS).exists()
    ask(root)
    index(root)
    assert stored(root) == held


def test_other_words_or_damage_mean_another_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "cache"
    one = summarize(root)
    (entry,) = Library(root).entries()
    path = entry.folder / SECTIONS
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"sections", b"sectiens", 1))
    heard = Heard()
    assert said(summarize(root, heard))["sections"] == said(one)["sections"]
    assert heard.said("it is made again") and path.read_bytes() == whole
    with monkeypatch.context() as patched:
        patched.setattr("qvl_cli.tasks.told.summary_key", lambda settings: "of other words")
        other = Heard()
        summarize(root, other)
        assert not other.said("the sections were written before")
    assert path.read_bytes() != whole


def test_the_key_names_words_and_choice_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    key = summary_key(DecodeSettings(64))
    assert key == summary_key(DecodeSettings(64))
    warm = DecodeSettings(64, Decoding(temperature=0.5))
    assert len({key, summary_key(DecodeSettings(65)), summary_key(warm)}) == 3
    monkeypatch.setattr("qvl_cli.tasks.told.overview_prompt", lambda: Prompt("", "And?"))
    assert summary_key(DecodeSettings(64)) != key


def test_a_summary_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    root, heard = tmp_path / "cache", Heard()
    index(root)
    (entry,) = Library(root).entries()
    with Library(root).lock(entry.folder.name, exclusive=False) or pytest.fail("no lock"):
        one = summarize(root, heard)
    assert one.sections and heard.said("sections.json is not kept for later: another qvl is using the index")
    assert not (entry.folder / SECTIONS).exists()
