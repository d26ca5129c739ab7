"""The results file of a run: what it keeps, and what it refuses."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from qvl_cli import __version__
from qvl_cli.errors import UsageError
from qvl_cli.evals.journal import Journal, default_path
from tests.indexing import disk_full_beyond

SETTINGS = {"suite": "drawn", "model": "tiny", "sampling": {"fps": "2"}}


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    first = Journal(path, SETTINGS, keep=True)
    first.add({"video": "a", "said": [1.5]})
    first.close()
    again = Journal(path, SETTINGS, keep=True)
    assert again.records == {"a": {"video": "a", "said": [1.5]}}
    again.add({"video": "b"})
    again.close()
    last = Journal(path, SETTINGS, keep=True)
    last.close()
    assert [*last.records] == ["a", "b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("device", ["/dev/null", "/dev/full", "/dev/zero"])
def test_a_device_keeps_nothing(device: str) -> None:
    with pytest.raises(UsageError, match="no file that keeps results"):
        Journal(Path(device), SETTINGS, keep=True)


def test_what_does_not_fit_is_told_with_the_file_and_what_fitted_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    journal = Journal(path, SETTINGS, keep=True)
    journal.add({"video": "a"})
    with disk_full_beyond(path.stat().st_size + 100):
        with pytest.raises(UsageError, match=rf"cannot write {path}: File too large"):
            journal.add({"video": "b", "said": [0.5] * 5_000})
        journal.close()
    again = Journal(path, SETTINGS, keep=True)
    again.close()
    assert list(again.records) == ["a"]


@pytest.mark.parametrize("kept", [0, 5, 30, -1, -8])
def test_a_line_cut_off_by_a_kill_is_done_again(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "run.jsonl"
    journal = Journal(path, SETTINGS, keep=True)
    journal.add({"video": "a"})
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    again = Journal(path, SETTINGS, keep=True)
    assert again.records == {}
    again.add({"video": "a"})
    again.close()
    assert path.read_bytes() == whole


def test_a_run_of_its_own_settings_leaves_nothing_behind_when_it_ends(tmp_path: Path) -> None:
    path = default_path("drawn", SETTINGS, {"XDG_CACHE_HOME": str(tmp_path)})
    assert path != default_path("drawn", {**SETTINGS, "model": "2b"}, {"XDG_CACHE_HOME": str(tmp_path)})
    journal = Journal(path, SETTINGS, keep=False)
    journal.close()
    assert path.is_file()
    journal.discard()
    assert not path.exists()
    kept = Journal(path, SETTINGS, keep=True)
    kept.close()
    kept.discard()
    assert path.is_file()


def test_another_version_and_another_file_of_the_same_name_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, places = tmp_path / "run.jsonl", {"XDG_CACHE_HOME": str(tmp_path)}
    journal = Journal(path, SETTINGS, keep=True)
    journal.add({"video": "a", "of": [100, 1], "said": 1})
    journal.close()
    journal = Journal(path, SETTINGS, keep=True)
    assert journal.get("a", [100, 1]) == {"video": "a", "of": [100, 1], "said": 1}
    assert journal.get("a", [100, 2]) is None and journal.get("b", [100, 1]) is None
    journal.close()
    before = default_path("drawn", SETTINGS, places)
    monkeypatch.setattr("qvl_cli.evals.journal.__version__", "99")
    assert default_path("drawn", SETTINGS, places) != before
    with pytest.raises(UsageError, match=rf"other settings \(qvl '{__version__}', now '99'\)"):
        Journal(path, SETTINGS, keep=True)


def test_other_settings_are_refused_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    Journal(path, SETTINGS, keep=True).close()
    whole = path.read_bytes()
    with pytest.raises(UsageError, match=r"other settings \(model 'tiny', now '2b'\)"):
        Journal(path, {**SETTINGS, "model": "2b"}, keep=True)
    assert path.read_bytes() == whole
    Journal(path, SETTINGS, keep=True).close()  # and is free again


@pytest.mark.parametrize("content", [b"notes of mine", b'{"form": "other"}\n', b"\x00\xff\n", b"[1]\n"])
def test_a_foreign_file_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="no results file of qvl"):
        Journal(path, SETTINGS, keep=True)
    assert path.read_bytes() == content


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    Journal(path, SETTINGS, keep=True).close()
    with path.open("ab") as file:
        file.write(b'{"video": "a"}\nrubbish\n{"video": "b"}\n')
    with pytest.raises(UsageError, match="damaged in line 3"):
        Journal(path, SETTINGS, keep=True)


def test_two_runs_never_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    first = Journal(path, SETTINGS, keep=True)
    with pytest.raises(UsageError, match="in use by another run"):
        Journal(path, SETTINGS, keep=True)
    first.close()


def test_a_folder_is_no_results_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        Journal(tmp_path, SETTINGS, keep=True)
