"""Settings from files and the environment, in the commands that give no Answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from qvl_cli.bench.row import Bench, Variant
from qvl_cli.bench.table import BENCHES
from qvl_cli.cli.app import main
from qvl_cli.config import load_config
from qvl_cli.request import make_request
from tests.clips import write_clip, x264
from tests.indexing import limited


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a clip, whose settings and saved indexes are its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("QVL_CACHE_DIR", str(tmp_path / "cache"))
    write_clip(tmp_path / "clip.mkv", [200 * number for number in range(10)], options=x264())
    return tmp_path


def test_a_format_holds_wherever_there_is_such_a_one(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = (["probe", "clip.mkv"], ["index", "clip.mkv", "--model", "tiny", "-q"], ["cache", "ls"])

    def shown(*more: str) -> list[str]:
        printed = []
        for command in commands:
            assert main([*command, *more]) == 0
            printed.append(capsys.readouterr().out)
        return printed

    def is_json(text: str) -> bool:
        return text.startswith("{") and bool(json.loads(text))

    plain = [is_json(text) for text in shown()]
    (here / "qvl.toml").write_text('format = "json"\n')
    in_file = [is_json(text) for text in shown()]
    by_flag = [is_json(text) for text in shown("-f", "txt")]
    monkeypatch.setenv("QVL_FORMAT", "srt")  # of Answers alone
    other = [is_json(text) for text in shown()]
    assert (plain, in_file, by_flag, other) == ([False] * 3, [True] * 3, [False] * 3, [False] * 3)
    for format, says in (("srt", "no format is called 'srt' here"), ("bogus", "'bogus'")):
        assert main(["probe", "clip.mkv", "-f", format]) == 2
        assert says in capsys.readouterr().err
    monkeypatch.setenv("QVL_FORMAT", "bogus")
    assert main(["probe", "clip.mkv"]) == 2 and "unknown format" in capsys.readouterr().err


def test_quiet_can_be_set_for_every_command(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = {"qid": 1, "vid": "a", "query": "x", "relevant_windows": [[0, 2]], "duration": 4}
    mine = {"qid": 1, "pred_relevant_windows": [[0, 2, 1.0]]}
    (here / "truth.jsonl").write_text(json.dumps(truth) + "\n")
    (here / "mine.jsonl").write_text(json.dumps(mine) + "\n" + json.dumps({**mine, "qid": 2}) + "\n")
    suite = ["eval", "qvhighlights", "--annotations", "truth.jsonl", "--predictions", "mine.jsonl"]
    nothing = Variant("nothing", (sys.executable, "-P", "-c", "print('{}')"))
    row = Bench("nothing", "", lambda settings, folder: [nothing], lambda runs: {"one": 1.0}, repeats=1)
    monkeypatch.setitem(BENCHES, "nothing", row)
    for command in (suite, ["cache", "rm", "--all"], ["cache", "prune"], ["bench", "nothing"]):
        monkeypatch.delenv("QVL_QUIET", raising=False)
        code = main(command)
        assert code in (0, 6) and capsys.readouterr().err
        monkeypatch.setenv("QVL_QUIET", "1")
        assert (main(command), capsys.readouterr().err) == (code, "")


def test_a_settings_folder_that_may_not_be_entered_stops_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "xdg").mkdir()
    ask = ["ask", "clip.mkv", "What shape is red?", "--model", "tiny", "-f", "json"]
    with limited(here / "xdg", 0o600):
        assert main(["cache", "ls"]) == 0
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "may not be entered" in err
        assert main(ask) == 0
        out, err = capsys.readouterr()
        assert sum("may not be entered" in line for line in err.splitlines()) == 1
        assert sum("may not be entered" in warning for warning in json.loads(out)["warnings"]) == 1


def test_a_format_of_subtitles_is_nothing_to_an_index_of_pages(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64), "red").save(here / "pages.pdf")
    monkeypatch.setenv("QVL_FORMAT", "srt")
    assert main(["index", "pages.pdf", "--model", "tiny", "-q"]) == 0
    assert main(["locate", "pages.pdf", "a red circle", "--model", "tiny", "-q"]) == 2


def test_flags_that_say_nothing_to_predictions_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = ["eval", "qvhighlights", "--annotations", "truth.jsonl", "--predictions", "mine.jsonl"]
    for flag in (["--model", "4b"], ["--detail", "max"], ["--fps", "5"], ["--refine"], ["--aligner", "text"]):
        assert main([*suite, *flag]) == 2
        assert f"{flag[0]} says nothing to the suite qvhighlights --predictions" in capsys.readouterr().err


def test_only_a_flag_makes_pictures_a_film(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QVL_FPS", "4")
    assert make_request("ask", "x", "", load_config({})).inputs.picture_rate is None
    assert make_request("ask", "x", "", load_config({"fps": "4"})).inputs.picture_rate == 4
