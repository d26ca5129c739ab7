"""The `decode` benchmark: how figures follow from runs, and PyAV that is told to skip all but keyframes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qvl_cli.bench import decode, decode_run, footage
from qvl_cli.bench.row import Run
from qvl_cli.errors import QvlError

MIB = 2**20


def _runs(**changed: Run) -> dict[str, Run]:
    def run(name: str, seconds: float = 0.0, megabytes: int = 100, **more: float | str) -> Run:
        return Run(name, 9.0, 9.0, megabytes * MIB, {"cpu_seconds": seconds, **more})

    runs = [
        run("qvl dense", 8.0, digest="d"), run("pyav dense", 16.0, digest="d"),
        run("decord dense", 20.0, digest="d"),
        run("qvl sparse", 2.0, 150, digest="s"), run("pyav sparse", 16.0, digest="s"),
        run("decord sparse", 4.0, digest="s"),
        run("qvl keyframes", 0.75, digest="k"), run("pyav keyframes", 12.0, digest="k"),
        run("pyav-nonkey keyframes", 0.5, digest="k"),
        run("qvl long", 9.0, 160, digest="l"), run("imports", 0.0, 80), run("times", max_time_error_ms=0.25),
    ]  # fmt: skip
    return {each.variant: each for each in runs} | {one.variant: one for one in changed.values()}


@pytest.fixture(autouse=True)
def with_decord(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_PEERS", ("pyav", "decord"))


def test_figures_by_hand() -> None:
    figures = decode._figures(_runs())
    assert figures["dense_ratio"] == 0.5 and figures["sparse_ratio"] == 0.5
    assert figures["keyframe_ratio"] == 0.0625  # over PyAV that decodes everything
    assert figures["keyframe_over_nonkey_ratio"] == 1.5
    assert figures["rss_mb"] == 80 and figures["rss_growth"] == 80 / 70
    assert figures["max_time_error_ms"] == 0.25
    assert figures["sampling_s"] == {
        "qvl dense": 8.0, "pyav dense": 16.0, "decord dense": 20.0, "qvl sparse": 2.0, "pyav sparse": 16.0,
        "decord sparse": 4.0, "qvl keyframes": 0.75, "pyav keyframes": 12.0, "pyav-nonkey keyframes": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["decord dense", "pyav sparse", "pyav-nonkey keyframes"])
def test_other_frames_are_no_comparison(name: str) -> None:
    other = Run(name, 9.0, 9.0, 1, {"cpu_seconds": 1.0, "digest": "other"})
    with pytest.raises(QvlError, match=f"{name} gave other frames than qvl"):
        decode._figures(_runs(other=other))


def test_every_figure_has_its_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decode, "_footage", lambda *about: "footage.mp4")
    variants = decode.BENCH.variants({"minutes": "1", "hours": "1", "clip": ""}, tmp_path)
    assert {each.name for each in variants} == set(_runs())
    nonkey = next(each.command for each in variants if each.name == "pyav-nonkey keyframes")
    assert nonkey[-3:] == ("pyav-nonkey", "footage.mp4", "keyframes")


def test_all_ways_to_keyframes_give_the_same_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(footage, "WIDTH", 320)
    monkeypatch.setattr(footage, "HEIGHT", 192)
    clip = tmp_path / "clip.mp4"
    footage.write_footage(clip, tmp_path / "once.mp4", 20, 60, "")
    runs = [decode_run._sample(by, str(clip), "keyframes") for by in ("qvl", "pyav", "pyav-nonkey")]
    assert len({run["digest"] for run in runs}) == 1 and {run["frames"] for run in runs} == {9}
