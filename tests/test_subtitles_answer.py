"""Subtitles through the real command, on a small random checkpoint: used, left out, refused; always said."""

import json
from pathlib import Path
from typing import Any

import pytest

from qvl_cli.cli.app import main
from qvl_cli.model.world_gate import WorldGate
from tests.checkpoints import write_checkpoint
from tests.clips import write_clip, x264

SRT = "1\n00:00:00,500 --> 00:00:02,000\nHello <|video_pad|>\n\n2\n00:00:09,000 --> 00:00:10,000\nLater.\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that ends its answers soon: one token in six is an end token."""
    folder = write_checkpoint(tmp_path_factory.mktemp("model"))
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": list(range(33, 264, 6))}))
    return folder


class Run:
    """`qvl ask` on a clip of 4 seconds, in this process."""

    def __init__(self, checkpoint: Path, clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.model, self.clip, self._capfd = checkpoint, clip, capfd

    def __call__(self, *arguments: str) -> tuple[int, str, list[str]]:
        code = main(["ask", str(self.clip), "what?", "-f", "json", "--model", str(self.model), *arguments])
        said = self._capfd.readouterr()
        return code, said.out, said.err.splitlines()

    def answer(self, *arguments: str) -> tuple[dict[str, Any], list[str]]:
        code, out, err = self(*arguments)
        assert code == 0, err
        document = json.loads(out)
        del document["usage"]
        return document, err


@pytest.fixture
def run(
    checkpoint: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    clip = write_clip(tmp_path / "talk.mp4", [200 * number for number in range(20)], options=x264())
    return Run(checkpoint, clip, capfd)


def test_what_was_used_is_said_and_none_leaves_it_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, err = run.answer()
    assert silent["subtitles"] is None
    assert not [line for line in err if "subtitle" in line]
    beside = run.clip.with_name("talk.en.srt")
    beside.write_text(SRT)
    read, err = run.answer()
    assert read["subtitles"] == {"source": "talk.en.srt", "cues": 1}
    assert "qvl: subtitles: 1 of 2 cues of talk.en.srt lie in what is watched" in err
    assert any("the subtitles take" in warning for warning in read["warnings"])
    assert read["coverage"] == silent["coverage"]
    assert read["text"] != silent["text"]
    assert run.answer("--chunk", "1")[0] == read
    assert run.answer("--subs", "none")[0] == silent
    monkeypatch.setenv("QVL_SUBS", "none")
    assert run.answer()[0] == silent
    named, _ = run.answer("--subs", "talk.en.srt")
    assert named == read


def test_a_named_file_must_give_cues_and_a_found_one_may_not(run: Run) -> None:
    code, out, err = run("--subs", "gone.srt")
    assert (code, out) == (3, "")
    assert [line for line in err if "gone.srt" in line] == err[-1:]
    assert "--subs none" in err[-1]
    run.clip.with_suffix(".srt").write_text("1\n00:00:xx,000 --> 00:00:02,000\nx\n")
    document, err = run.answer()
    assert document["subtitles"] is None
    assert any(w.startswith("no subtitles are used: no cue in talk.srt") for w in document["warnings"])
    code, _, err = run("--subs", "talk.srt")
    assert code == 3
    assert "line 2 has no times" in err[-1]


def test_a_damaged_cue_is_left_out_and_counted(run: Run) -> None:
    run.clip.with_suffix(".srt").write_text(SRT + "\n3\n00:00:xx,000 --> 00:00:02,000\nx\n")
    document, err = run.answer()
    assert document["subtitles"] == {"source": "talk.srt", "cues": 1}
    (warning,) = [w for w in document["warnings"] if "left out" in w]
    assert warning.startswith("talk.srt: 1 cue cannot be read and left out: line 10 has no times")
    assert f"qvl: {warning}" in err


def test_a_model_with_a_world_of_its_own_reads_none_unless_told(run: Run, tmp_path: Path) -> None:
    gated = tmp_path / "gated"
    gated.mkdir()
    for path in run.model.iterdir():
        (gated / path.name).symlink_to(path)
    WorldGate(256).save(gated)
    run.model = gated
    bare, _ = run.answer()
    run.clip.with_suffix(".srt").write_text(SRT)
    document, err = run.answer()
    assert document["subtitles"] is None
    (warning,) = [w for w in document["warnings"] if "talk.srt" in w]
    assert warning.startswith("the subtitles in talk.srt are left out")
    assert warning.endswith("gated was not trained to read any; --subs FILE insists")
    assert err.count(f"qvl: {warning}") == 1
    assert document["text"] == bare["text"]
    assert run.answer("--subs", "talk.srt")[0]["subtitles"] == {"source": "talk.srt", "cues": 1}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("talk.srt", True),
        ("talk.en.vtt", True),
        ("talk.json", False),
        ("other.srt", False),
        ("x/talk.srt", False),
    ],
)
def test_an_answer_that_would_pass_for_subtitles_is_told(run: Run, name: str, told: bool) -> None:
    Path("x").mkdir()
    code, _, err = run("-f", "srt", "-o", name)
    assert code == 0 and Path(name).is_file()
    line = f"qvl: the next run takes {name} for the subtitles of {run.clip}: --subs none then"
    assert (line in err) == told
