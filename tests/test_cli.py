"""The real command, in a process of its own, where no model is needed: help, errors, streams."""

import json
import os
import resource
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from qvl_cli.cli.app import main
from tests.clips import write_clip, x264

QVL = [sys.executable, "-c", "import sys; from qvl_cli.cli.entry import main; sys.exit(main())"]


def environment(folder: Path) -> dict[str, str]:
    """No settings of the machine's own reach a test, and no network."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("QVL_")}
    root = str(Path(__file__).resolve().parents[1])
    return kept | {"XDG_CONFIG_HOME": str(folder / "xdg"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": root}


def qvl(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QVL, *arguments],
        cwd=cwd,
        env=environment(cwd),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at 5 frames a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, [200 * number for number in range(20)], options=x264())


def _processor_seconds() -> float:
    """Of all finished children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_fast_and_starts_nothing_heavy(tmp_path: Path) -> None:
    spent = []
    for _ in range(3):
        before = _processor_seconds()
        result = qvl("--help", cwd=tmp_path)
        spent.append(_processor_seconds() - before)
        assert result.returncode == 0
    # Processor time: what other processes take from this machine is not the command's doing.
    assert min(spent) < 0.3
    assert "locate" in result.stdout
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", *QVL[1:], "ask", "--help"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--max-tokens" in traced.stdout
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in traced.stderr.splitlines()}
    assert "qvl_cli" in loaded
    assert not loaded & {"torch", "transformers", "av", "numpy", "rich", "huggingface_hub", "pysrt"}


@pytest.mark.parametrize(
    ("name", "given", "left"),
    [("", "", "100000"), ("GOMP_SPINCOUNT", "7", "7"), ("OMP_WAIT_POLICY", "passive", None)],
)
def test_torch_leaves_idle_cores_to_others_unless_told(
    name: str, given: str, left: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(each, "")  # so that what is set meanwhile is undone
        monkeypatch.delenv(each)
    if name:
        monkeypatch.setenv(name, given)
    assert main(["--version"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == left


@pytest.mark.parametrize("command", [["ask", "", "what?"], ["probe", ""], ["index", ""]])
def test_no_name_is_not_the_folder_one_stands_in(tmp_path: Path, command: list[str]) -> None:
    ended = qvl(*command, cwd=tmp_path)
    assert ended.returncode == 2 and "no file is named" in ended.stderr


def test_a_wrong_flag_is_told_with_the_commands_own_help(tmp_path: Path) -> None:
    ended = qvl("ask", "clip.mp4", "what?", "--json", cwd=tmp_path)
    assert ended.returncode == 2 and ended.stderr.rstrip().endswith("see `qvl ask --help`")
    ended = qvl("head", cwd=tmp_path)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and len(ended.stderr) < 120


def test_results_are_utf8_whatever_the_locale() -> None:
    script = "from qvl_cli.cli import app; app._speak_utf8(); print('“красный”')"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert shown.stdout.decode() == "“красный”\n"


def test_all_video_commands_share_their_flags(tmp_path: Path) -> None:
    flags = ["--fps", "--max-frames", "--max-tokens", "--max-pixels", "--from", "--to", "--detail", "--chunk"]
    flags += [
        "--model",
        "--device",
        "--dtype",
        "--aligner",
        "--format",
        "-f",
        "--output",
        "-o",
        "--quiet",
        "-q",
    ]
    flags += ["--fail-empty", "--debug", "--no-index", "--cache-cap"]
    for command in ("ask", "locate", "summarize"):
        shown = qvl(command, "--help", cwd=tmp_path).stdout
        assert [flag for flag in flags if f"{flag} " not in shown and f"{flag}," not in shown] == []
        assert ("--show-thinking" in shown) == (command == "ask")  # the others show no words of the model


def _nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


def _sound(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))


def _headers_only(path: Path) -> None:
    """A clip cut after its headers: the index is there, the pictures are not."""
    whole = write_clip(path.with_suffix(".tmp.mp4"), [0, 100], options=x264(), mux={"movflags": "faststart"})
    data = whole.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])
    whole.unlink()


def _no_frames(path: Path) -> None:
    write_clip(path, [], options=x264())


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "missing": _nothing,
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("This is not a film.\n" * 100),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 64),
    "audio only": _sound,
    "a folder": lambda path: path.mkdir(),
    "zero duration": _no_frames,
    "headers only": _headers_only,
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_line_and_exit_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    BAD_FILES[kind](tmp_path / "film.mp4")
    before = sorted(tmp_path.iterdir())
    for command in (["probe", "film.mp4"], ["locate", "film.mp4", "a dog"], ["summarize", "film.mp4"]):
        assert main([*command, "-o", "out.txt"]) == 3
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1, said.err
        assert "film.mp4" in said.err
        assert sorted(tmp_path.iterdir()) == before


def test_a_bad_file_says_no_more_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("This is not a film.")
    _assert_one_line(qvl("ask", "film.mp4", "what?", "-f", "json", cwd=tmp_path), 3)


def test_an_encrypted_film_is_refused(tmp_path: Path, shared: Path) -> None:
    result = qvl("ask", str(shared / "media" / "awkward" / "cbcs.mp4"), "what?", cwd=tmp_path)
    _assert_one_line(result, 3)
    assert "encrypted" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "soon"], "soon"),
        (["--to", "1:99"], "1:99"),
        (["--fps", "0"], "--fps"),
        (["--fps", "many"], "--fps"),
        (["--max-frames", "0"], "--max-frames"),
        (["--max-tokens", "-5"], "--max-tokens"),
        (["--max-pixels", "2.5"], "--max-pixels"),
        (["--chunk", "0"], "--chunk"),
        (["--detail", "extreme"], "extreme"),
        (["-f", "docx"], "docx"),
        (["-o", "no/such/folder/x.txt"], "no/such/folder"),
        (["--frobnicate"], "--frobnicate"),
        (["more", "words"], "words"),
    ],
)
def test_a_senseless_request_is_one_line_and_exit_2(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    code = main(["locate", str(clip), "a dog", "--model", "tiny", *arguments])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_an_empty_question_is_refused(tmp_path: Path, clip: Path) -> None:
    _assert_one_line(qvl("ask", str(clip), "  ", cwd=tmp_path), 2)


def test_a_missing_model_is_exit_4_with_a_remedy(tmp_path: Path, clip: Path) -> None:
    result = qvl("ask", str(clip), "what?", "--model", "no-such-model", cwd=tmp_path)
    _assert_one_line(result, 4)
    assert " -- " in result.stderr
    (tmp_path / "hub").mkdir()
    offline = subprocess.run(
        [*QVL, "ask", str(clip), "what?", "--model", "2b"],
        env=environment(tmp_path) | {"HF_HOME": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
        check=False,
    )
    _assert_one_line(offline, 4)


def test_a_senseless_range_is_told_before_a_model_is_fetched(tmp_path: Path, clip: Path) -> None:
    result = qvl("locate", str(clip), "x", "--model", "2b", "--from", "99", cwd=tmp_path)
    assert result.returncode == 2 and "past the end" in result.stderr


def test_settings_of_files_and_environment_reach_the_command(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "qvl.toml").write_text('detial = "low"\n')
    result = qvl("ask", str(clip), "what?", cwd=tmp_path)
    _assert_one_line(result, 2)
    assert "'detail'" in result.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = qvl("probe", "missing.mp4", "--debug", cwd=tmp_path)
    assert result.returncode == 3
    assert "Traceback" in result.stderr


def test_a_name_with_a_dash_is_a_file(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "-x.mp4").write_bytes(clip.read_bytes())
    for name in (["./-x.mp4"], ["--", "-x.mp4"]):
        result = qvl("probe", "-f", "json", *name, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["frames"] == 20
    # After `--` everything is an argument, whatever it looks like.
    result = qvl("probe", "--", "--debug", cwd=tmp_path)
    _assert_one_line(result, 3)


def test_probe_prints_what_was_written(tmp_path: Path, clip: Path) -> None:
    document = json.loads(qvl("probe", str(clip), "-f", "json", cwd=tmp_path).stdout)
    assert (document["codec"], document["frames"], document["variable_rate"]) == ("h264", 20, False)
    assert Fraction(document["duration_exact"]) == 4
    text = qvl("probe", str(clip), "-o", "out.txt", cwd=tmp_path)
    assert text.stdout == ""
    assert "h264" in (tmp_path / "out.txt").read_text()


def test_odd_bytes_in_a_name_and_markup_in_a_message_are_printed(tmp_path: Path) -> None:
    result = qvl("probe", "[bold]no[/bold]\udcff.mp4", cwd=tmp_path)
    _assert_one_line(result, 3)
    assert "[bold]no[/bold]" in result.stderr


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path, clip: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [*QVL, "probe", str(clip)], env=environment(tmp_path), stdout=write, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write)
        _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (0, "")


def test_closed_streams_are_no_error(tmp_path: Path, clip: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" <&- >&-', "sh", *QVL, "probe", str(clip)]
    result = subprocess.run(shell, env=environment(tmp_path), stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    shell[2] = 'exec "$@" <&- >&- 2>&-'
    assert subprocess.run(shell, env=environment(tmp_path), check=False).returncode == 0


def test_a_full_disk_is_one_line(tmp_path: Path, clip: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*QVL, "probe", str(clip)],
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_models_and_version_need_no_network(tmp_path: Path) -> None:
    listed = qvl("models", cwd=tmp_path)
    assert listed.returncode == 0
    assert "Qwen/Qwen3-VL-4B-Thinking" in listed.stdout
    shown = qvl("version", cwd=tmp_path)
    assert shown.stdout.startswith("qvl ")
    assert qvl("--version", cwd=tmp_path).stdout == shown.stdout.splitlines(keepends=True)[0]


def _assert_one_line(result: subprocess.CompletedProcess[str], code: int) -> None:
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("qvl: ")


def test_ctrl_c_while_modules_load_ends_it_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import sys, time\nprint(flush=True)\ntime.sleep(60)\n")
    search = os.pathsep.join([str(tmp_path), environment(tmp_path)["PYTHONPATH"]])
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; from qvl_cli.cli.entry import main; sys.exit(main())"],
        env=environment(tmp_path) | {"PYTHONPATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
        assert process.stderr.read() == ""
