"""The whole path on a small random checkpoint: file in, Answer out. What it says is noise."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pysubs2
import pytest

from qvl_cli.answer import Answer
from qvl_cli.cli.app import main
from qvl_cli.model.world_gate import WorldGate
from qvl_cli.render import WRITERS
from tests.checkpoints import write_checkpoint
from tests.clips import write_clip, x264
from tests.test_cli import QVL, environment

END = 5.84


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that ends its answers soon: one token in six is an end token."""
    folder = write_checkpoint(tmp_path_factory.mktemp("model"))
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    # Digits and punctuation (the first ids) are spared: times are written with them.
    config["eos_token_id"] = sorted({*range(33, 260, 6)} | _ids(config["eos_token_id"]))
    path.write_text(json.dumps(config))
    return folder


def _ids(found: int | list[int]) -> set[int]:
    return {found} if isinstance(found, int) else set(found)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 frames a second; the last one is shown for 40 ms, so it ends at END."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, [200 * number for number in range(30)], options=x264())


class Run:
    """The command in this process, with a chosen model."""

    def __init__(self, checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self._model = ["--model", str(checkpoint), "--no-index"]  # each run shall watch
        self._capfd = capfd

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, *self._model])
        said = self._capfd.readouterr()
        return code, said.out, said.err

    def answer(self, *arguments: str) -> Answer:
        code, out, err = self(*arguments, "-f", "json")
        assert code == 0, err
        assert out.count("\n") == 1
        return Answer.from_dict(json.loads(out))


@pytest.fixture
def run(
    checkpoint: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return Run(checkpoint, capfd)


def _same(a: Answer, b: Answer) -> bool:
    """Equal but for how long it took."""
    documents: list[dict[str, Any]] = [a.to_dict(), b.to_dict()]
    for document in documents:
        del document["usage"]
    return documents[0] == documents[1]


def test_ask_fills_the_answer(run: Run, clip: Path) -> None:
    answer = run.answer("ask", str(clip), "How many <|video_pad|>?")
    assert (answer.task, answer.query) == ("ask", "How many <|video_pad|>?")
    assert answer.media.duration == END
    assert len(answer.media.sha256) == 64
    assert answer.model.aligner == "text"
    assert answer.sampling.steps == answer.sampling.considered == 6
    assert answer.sampling.fps == 2.0
    assert answer.coverage.seen == ((0.0, END),)
    assert answer.coverage.gaps == ()
    assert answer.usage.watch_s > 0
    assert answer.usage.peak_mb > 50
    assert answer.thinking is None
    for moment in answer.moments:
        assert 0 <= moment.start < moment.end <= END
        assert 0 <= moment.score <= 1
        assert moment.text in answer.text


def test_chunk_size_changes_nothing(run: Run, clip: Path) -> None:
    answers = [
        run.answer("locate", str(clip), "a block turns white", "--chunk", size) for size in ("1", "4", "99")
    ]
    assert _same(answers[0], answers[1])
    assert _same(answers[0], answers[2])


def test_locate_gives_ranges_or_says_not_found(run: Run, clip: Path) -> None:
    answer = run.answer("locate", str(clip), "a block turns white", "--from", "1", "--to", "5")
    assert answer.coverage.seen == ((1.0, 5.0),)
    assert answer.found == bool(answer.moments)
    scores = [moment.score for moment in answer.moments]
    assert scores == sorted(scores, reverse=True)
    assert all(1 <= moment.start < moment.end <= 5 for moment in answer.moments)
    if not answer.found:
        assert answer.text.startswith("Not found: ")
    code, _, _ = run("locate", str(clip), "a block turns white", "--fail-empty", "--from", "1", "--to", "5")
    assert code == (0 if answer.found else 10)


def test_summarize_tiles_the_video(run: Run, clip: Path) -> None:
    answer = run.answer("summarize", str(clip))
    assert answer.sections[0].start == 0.0
    assert answer.sections[-1].end == END
    assert all(a.end == b.start for a, b in zip(answer.sections, answer.sections[1:], strict=False))


def test_every_format_and_a_file(run: Run, clip: Path, tmp_path: Path) -> None:
    for name in WRITERS:
        code, out, err = run("summarize", str(clip), "-f", name, "-o", f"out.{name}")
        assert (code, out, err) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"out.{name}" for name in WRITERS)
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["type"] for record in records][-1] == "done"
    assert records[-1]["status"] == "ok"
    document = Answer.from_dict(json.loads((tmp_path / "out.json").read_text()))
    subs = pysubs2.load(str(tmp_path / "out.srt"))
    assert [(event.start, event.end) for event in subs] == [
        (round(section.start * 1000), round(section.end * 1000)) for section in document.sections
    ]


def test_coarsening_is_said_on_stderr_and_in_the_answer(run: Run, clip: Path) -> None:
    code, out, err = run("locate", str(clip), "x", "--max-frames", "4", "-f", "json")
    answer = Answer.from_dict(json.loads(out))
    assert code == 0
    assert answer.sampling.coarsened
    assert answer.sampling.steps == 2
    assert answer.warnings
    assert all(f"qvl: {warning}\n" in err for warning in answer.warnings)
    assert run("locate", str(clip), "x", "--max-frames", "4", "-q")[2] == ""


def test_senseless_ranges_are_refused_before_the_model_is_loaded(run: Run, clip: Path) -> None:
    for arguments, says in ((["--from", "9"], "past the end"), (["--from", "3", "--to", "2"], "--to")):
        code, out, err = run("locate", str(clip), "x", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert says in err


def test_what_does_not_fit_is_exit_5_with_a_remedy(
    run: Run, checkpoint: Path, clip: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for path in checkpoint.iterdir():
        (small / path.name).symlink_to(path)
    config = json.loads((checkpoint / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 120
    (small / "config.json").unlink()
    (small / "config.json").write_text(json.dumps(config))
    code = main(["locate", str(clip), "x", "--model", str(small), "--memory", "full"])
    assert code == 5


def test_the_video_is_never_overwritten(run: Run, clip: Path, tmp_path: Path) -> None:
    before = clip.read_bytes()
    (link := tmp_path / "link.srt").symlink_to(clip)
    for target in (clip, link):
        code, out, err = run("locate", str(clip), "x", "-f", "srt", "-o", str(target))
        assert (code, out) == (2, "") and "it is what is read" in err
    assert clip.read_bytes() == before


def test_subtitles_that_may_be_read_are_never_overwritten(run: Run, clip: Path, tmp_path: Path) -> None:
    (film := tmp_path / "talk.mp4").write_bytes(clip.read_bytes())
    for name in ("talk.srt", "talk.de.srt"):
        (mine := tmp_path / name).write_text("1\n00:00:01,000 --> 00:00:02,000\nmine\n")
        code, out, err = run("locate", str(film), "x", "-f", "srt", "-o", str(mine))
        assert (code, out, "mine" in mine.read_text()) == (2, "", True) and "holds subtitles of" in err
    code, _, err = run("locate", str(film), "x", "-f", "srt", "-o", str(mine), "--subs", "none")
    assert code == 0 and "mine" not in mine.read_text() and "the next run takes" not in err


def test_bytes_that_are_no_text_do_not_lose_the_answer(run: Run, clip: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"b\xff.mp4")
    odd.write_bytes(clip.read_bytes())
    out = tmp_path / "out.json"
    code, _, err = run("locate", str(odd), os.fsdecode(b"a \xff dog"), "-f", "json", "-o", str(out), "-q")
    assert code == 0, err
    assert json.loads(out.read_text())["query"] == "a ? dog"


def test_an_unknown_aligner_is_refused_at_once(run: Run, clip: Path) -> None:
    code, out, err = run("locate", str(clip), "x", "--aligner", "foo")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_one_frame_is_a_video(run: Run, tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.mp4", [0], time_base=Fraction(1, 25), options=x264())
    assert run.answer("summarize", str(one)).sampling.steps == 1


def test_thinking_is_kept_apart(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(tmp_path / "thinking", thinking=True)
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    config["eos_token_id"] = sorted({*range(1, 260, 4)} | _ids(config["eos_token_id"]))
    path.write_text(json.dumps(config))
    run = Run(folder, capfd)
    monkeypatch.chdir(tmp_path)
    hidden = run.answer("ask", str(clip), "what?", "-q")
    shown = run.answer("ask", str(clip), "what?", "-q", "--show-thinking")
    assert hidden.thinking is None
    assert shown.thinking
    assert hidden.text == shown.text
    assert shown.thinking not in hidden.text


def _on_a_terminal(arguments: Sequence[str], cwd: Path) -> tuple[int, str, str]:
    """Run the command with stdout and stderr on terminals of their own; exit code and what each showed."""
    out, out_end = pty.openpty()
    err, err_end = pty.openpty()
    with subprocess.Popen(
        [*QVL, *arguments],
        cwd=cwd,
        env=environment(cwd) | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=out_end,
        stderr=err_end,
    ) as process:
        os.close(out_end)
        os.close(err_end)
        shown = {out: b"", err: b""}
        while shown.keys() - (done := {fd for fd in shown if shown[fd].endswith(b"\0\0")}):
            ready, _, _ = select.select([fd for fd in shown if fd not in done], [], [], 120)
            assert ready, "the command has stopped talking"
            for fd in ready:
                try:
                    piece = os.read(fd, 65536)
                except OSError:  # the other end is closed
                    piece = b""
                shown[fd] += piece or b"\0\0"
        code = process.wait(60)
    os.close(out)
    os.close(err)
    texts = [
        shown[fd].removesuffix(b"\0\0").decode(errors="replace").replace("\r\n", "\n") for fd in (out, err)
    ]
    return code, texts[0], texts[1]


def test_a_terminal_sees_progress_and_the_text_as_it_comes(
    run: Run, checkpoint: Path, clip: Path, tmp_path: Path
) -> None:
    code, out, err = _on_a_terminal(["ask", str(clip), "what?", "--model", str(checkpoint)], tmp_path)
    assert code == 0
    assert "watching" in err
    assert "Traceback" not in err
    answer = run.answer("ask", str(clip), "what?")
    assert out.split("\n")[0].strip() == answer.text.split("\n")[0].strip()


def test_an_interrupt_is_one_line_and_130(checkpoint: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", [200 * n for n in range(600)], options=x264())
    flags = ["--model", str(checkpoint), "-o", "out.txt", "--max-frames", "200", "--no-index"]
    command = [*QVL, "ask", str(clip), "what?", *flags]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "200 frames" in process.stderr.readline()  # the plan's note: the video is about to be watched
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    lines = [line for line in err.splitlines() if not line.startswith("qvl: watching ")]
    assert (process.returncode, out, lines) == (130, "", ["qvl: interrupted"])
    assert not (tmp_path / "out.txt").exists()


@pytest.fixture
def gated(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The random model in the place of the embedded one, with a gate that lets nothing in; no other model."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).symlink_to(path)
    gate = WorldGate(256)
    gate.threshold.fill_(1e9)
    gate.save(folder)
    monkeypatch.setattr("qvl_cli.registry.hub.EMBEDDED", folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_embedded_model_refuses_what_it_does_not_know(
    gated: Path, clip: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(["ask", str(clip), "what?", "-o", "out.txt", "--no-index"])
    out, err = capfd.readouterr()
    note, refusal = err.splitlines()
    assert (code, out) == (4, "")
    assert "--model 2b" in note
    assert "drawn" in note
    assert "--model 2b" in refusal
    assert "--model tiny" in refusal
    assert not (tmp_path / "out.txt").exists()


def test_naming_the_embedded_model_insists(
    gated: Path, clip: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["ask", str(clip), "what?", "-f", "json", "--model", "tiny", "--no-index"]) == 0
    out, err = capfd.readouterr()
    document = json.loads(out)
    # Nothing about the choice of model: only what the answer itself has to say.
    assert err.splitlines() == [f"qvl: {warning}" for warning in document["warnings"]]
    assert "--model" not in err
    assert document["model"]["name"] == "tiny"
    # A model named in the settings is named, too.
    monkeypatch.setenv("QVL_MODEL", "tiny")
    assert main(["locate", str(clip), "x", "-f", "json"]) == 0


def test_a_gate_that_accepts_lets_auto_answer_with_one_note(
    gated: Path, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gate = WorldGate(256)
    gate.threshold.fill_(-1e9)
    gate.reach.fill_(1e9)
    gate.save(gated)
    assert main(["ask", str(clip), "what?", "-f", "json", "--no-index"]) == 0
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["model"]["name"] == "tiny"
    assert err.splitlines() == [f"qvl: {warning}" for warning in document["warnings"]]
    assert err.count("--model 2b") == 1
