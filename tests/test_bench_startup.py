"""The `startup` benchmark: how figures follow from runs, and what is asked until the first word."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from qvl_cli.bench import startup, startup_run
from qvl_cli.bench.first_word import FirstWord
from qvl_cli.bench.row import Run
from qvl_cli.config import load_config
from qvl_cli.errors import QvlError
from qvl_cli.request import Request, make_request


def test_figures_by_hand() -> None:
    runs = [
        Run("python", 0.25, 9.0, 1),
        Run("help", 0.5, 9.0, 1),
        Run("version", 0.75, 9.0, 1),
        Run("ask", 9.0, 9.0, 1, {"first_token_at": 1004.5, "first_token_cpu_s": 3.5}, began=1000.0),
    ]
    assert startup._figures({each.variant: each for each in runs}) == {
        "help_s": 0.5, "version_s": 0.75, "first_token_s": 4.5, "first_token_cpu_s": 3.5,
    }  # fmt: skip


@pytest.mark.parametrize("state", ["saved", "off"])
def test_it_asks_as_the_command_does_in_an_empty_cache(
    state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests: list[Request] = []

    def answer(request: Request, listener: FirstWord) -> SimpleNamespace:
        requests.append(request)
        assert request.index is not None and not request.index.root.exists()
        listener.text("A circle.")
        return SimpleNamespace(usage=SimpleNamespace(index=state), text="A circle.")

    monkeypatch.setattr("qvl_cli.pipeline.run", answer)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qvl.toml").write_text("fps = 1")
    monkeypatch.setenv("QVL_NO_INDEX", "1")
    if state == "off":
        with pytest.raises(QvlError, match="its index was off"):
            startup_run.ask("clip.mp4")
        return
    startup_run.ask("clip.mp4")
    assert set(json.loads(capsys.readouterr().out)) == {"first_token_at", "first_token_cpu_s"}
    (request,) = requests
    assert request.index is not None and not request.index.root.parent.exists()
    flags = {"model": "tiny", "device": "cpu", "cache_dir": str(request.index.root)}
    bare = load_config(flags, {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path / "none")
    assert request == make_request("ask", "clip.mp4", "What appears?", bare)


def test_the_first_word_of_the_embedded_model_is_timed(capfd: pytest.CaptureFixture[str]) -> None:
    clip = Path(__file__).resolve().parents[1] / "sample_media" / "shapes-30s.mp4"
    startup_run.ask(str(clip))
    figures = json.loads(capfd.readouterr().out)
    assert set(figures) == {"first_token_at", "first_token_cpu_s"} and min(figures.values()) > 0
