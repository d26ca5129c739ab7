"""Subtitles through the real command, on a small random checkpoint: used, left out, refused; always said."""

import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import ffmpeg
import pytest
from PIL import Image

from qvl_cli.answer import Moment
from qvl_cli.cli.app import main
from qvl_cli.media import probe
from qvl_cli.media.ffmpeg import find_ffmpeg
from qvl_cli.media.known import InfoRecord
from qvl_cli.media.subtitles.choice import find_subtitles, read_subtitles
from qvl_cli.model.world_gate import WorldGate
from qvl_cli.render.srt import write_srt
from tests.checkpoints import write_checkpoint
from tests.clips import write_clip, x264
from tests.test_answer import ANSWER

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


def test_pages_take_no_subtitles_and_a_name_that_is_wrong_is_told_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "talk.srt").write_text(SRT)
    pages = tmp_path / "pages.pdf"
    Image.new("RGB", (200, 100)).save(pages)
    code = main(["ask", str(pages), "what?", "--model", str(run.model), "--subs", str(tmp_path / "talk.srt")])
    assert code == 2
    code, out, err = run("--subs", "nope.srt", "--model", "no/such-model")
    assert (code, out) == (3, "") and err[-1].startswith(
        "qvl: subtitles nope.srt cannot be read: No such file"
    )


def test_a_file_beside_counts_from_where_the_sound_begins(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The picture begins a second after the sound; players count from the sound on."""
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * 8000 * 6))
    film = tmp_path / "film.mkv"
    late = ffmpeg.input(str(run.clip), itsoffset=1)
    both = ffmpeg.output(ffmpeg.input(str(tmp_path / "sound.wav")), late, str(film), vcodec="copy")
    both.run(cmd=find_ffmpeg(), quiet=True)
    info = probe(film)
    assert float(info.lead) == pytest.approx(1, abs=0.03)
    (tmp_path / "film.srt").write_text("1\n00:00:03,000 --> 00:00:04,000\nhere\n")
    source, _ = find_subtitles(film, info, "auto")
    assert source is not None
    (cue,) = read_subtitles(source, info).cues
    assert cue.span.start == 3 - info.lead and cue.text == "here"
    assert InfoRecord.of(info).info(film) == info
    found = replace(ANSWER, media=replace(ANSWER.media, lead=1.0), moments=(Moment(2.0, 3.0, 0.9, "here"),))
    assert "00:00:03,000 --> 00:00:04,000" in write_srt(found, 0)
