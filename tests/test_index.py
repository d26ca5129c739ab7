"""The saved index through the pipeline: used, shared, bound to its key, resumed bit for bit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest

from qvl_cli import fitting, pipeline
from qvl_cli.answer import SubtitleUse
from qvl_cli.cache.manifest import IndexKey
from qvl_cli.config import load_config
from qvl_cli.errors import OutsideWorld, OverBudget
from qvl_cli.index import IndexSettings, opened
from qvl_cli.index.index import Index
from qvl_cli.media.subtitles.cue import Cue
from qvl_cli.registry import EMBEDDED
from qvl_cli.sampling import SamplePlan, Step
from qvl_cli.stream import StreamSession
from qvl_cli.timeline import TimeSpan
from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.scripts import write_script
from tests import indexing
from tests.clips import write_clip, x264
from tests.indexing import CLIP, SAMPLES, Heard, Stop, ask, index, locate, said, stored


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the complete index of the sample; tests copy it."""
    root = tmp_path_factory.mktemp("whole") / "cache"
    assert index(root).state == "saved"
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy of that cache."""
    return shutil.copytree(whole, tmp_path / "cache")


def test_the_second_question_watches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Heard(), Heard()
    one = ask(tmp_path / "cache", first)
    assert one.usage.index == "saved"
    assert first.watched == [8, 16, 18]
    assert first.said("saving an index of at most")
    monkeypatch.delattr("qvl_cli.pipeline.plan_samples")  # nor does it plan, which may mean a scan
    again = ask(tmp_path / "cache", second)
    assert again.usage.index == "used"
    assert second.watched == []
    assert second.said("using the saved index")
    assert said(again) == said(one)


def test_an_indexed_answer_is_the_answer(root: Path) -> None:
    held = stored(root)
    for task in (ask, locate):
        used, plain = task(root), task(root, no_index=True)
        assert (used.usage.index, plain.usage.index) == ("used", "off")
        assert used.text == plain.text
        assert used.moments == pytest.approx(plain.moments, abs=1e-3) or said(used) == said(plain)
        assert used.coverage == plain.coverage
        assert used.sampling == plain.sampling
    assert stored(root) == held, "questions changed what is saved"


def test_the_model_loads_beside_the_disk_where_all_is_saved_and_only_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere what is not saved must first be sure of its room, and its turn."""
    order: list[str] = []

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def told(*arguments: Any, **others: Any) -> Any:
            order.append(name)
            return call(*arguments, **others)

        return told

    for module, name in ((indexing, "_load"), (pipeline, "open_index"), (opened, "read_ahead")):
        monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
    ask(root)
    assert order == ["read_ahead", "_load", "open_index"]
    for others in ({"memory": "window"}, {"memory": "retrieve"}, {"kv": "int8"}, {"no_index": True}):
        order.clear()
        ask(root, **others)
        assert order == ["open_index", "_load"], others
    order.clear()
    with pytest.raises(Stop):
        ask(tmp_path / "other", Heard(stop_at=16))
    ask(tmp_path / "other")  # what is there of it is not all
    assert order == ["open_index", "_load"] * 2


def test_no_index_leaves_nothing(tmp_path: Path) -> None:
    ask(tmp_path / "cache", no_index=True)
    assert not (tmp_path / "cache").exists()


def test_other_settings_and_other_videos_never_share(root: Path) -> None:
    """What else is part of the key: `test_the_key_names_all_that_decides`."""
    for settings in ({"fps": "1"}, {"path": SAMPLES / "shapes-60s.mp4"}):
        heard = Heard()
        assert ask(root, heard, **settings).usage.index == "saved"
        assert heard.watched
    assert len({path.split("/")[0] for path in stored(root)}) == 3


def test_other_subtitles_never_share(root: Path, tmp_path: Path) -> None:
    """Nor does none with some; what counts is what they say and when, not the file it stands in."""
    one, same, other = (tmp_path / f"{name}.srt" for name in ("one", "same", "other"))
    for path, text in ((one, "a cross"), (same, "a cross"), (other, "a disc")):
        path.write_text(f"1\n00:00:03,000 --> 00:00:05,000\n{text}\n")
    plain, heard = ask(root, subs="none"), Heard()
    assert (plain.usage.index, plain.subtitles) == ("used", None)
    read = ask(root, heard, subs=str(one))
    assert (read.usage.index, heard.watched) == ("saved", [8, 16, 18])
    assert read.subtitles == SubtitleUse("one.srt", 1)
    again = ask(root, subs=str(same))
    assert (again.usage.index, again.subtitles) == ("used", SubtitleUse("same.srt", 1))
    assert (again.text, again.sampling) == (read.text, read.sampling)
    assert ask(root, subs=str(other)).usage.index == "saved"
    assert said(ask(root, subs="none")) == said(plain)
    assert len({path.split("/")[0] for path in stored(root)}) == 3
    plans = [data for path, data in stored(root).items() if path.endswith("plan.json")]
    assert sorted((b"a cross" in data) + 2 * (b"a disc" in data) for data in plans) == [0, 1, 2]


def test_a_run_stopped_behind_a_hole_goes_on_with_its_subtitles(tmp_path: Path) -> None:
    """The last step that is saved carries the cues of lost ones, and so is no longer the plan's own."""
    steps = tuple(Step(Fraction(n), Fraction(n), TimeSpan(Fraction(n), Fraction(n + 1))) for n in range(4))
    said = [replace(step, cues=(Cue(step.interval, str(step.t0)),)) for step in steps]
    plan = SamplePlan(tuple(said), TimeSpan(Fraction(0), Fraction(4)), 64, 64, 4, Fraction(1), 4, False)
    settings = IndexSettings.of(load_config({}, {"QVL_CACHE_DIR": str(tmp_path)}, tmp_path), insist=False)
    assert settings is not None
    key = IndexKey("v", "w", "s", "m", "float32", "subtitles")
    with Index(key, plan, settings, Heard().note) as held:
        watched = SimpleNamespace(steps=(said[0], replace(said[2], cues=said[1].cues + said[2].cues)))
        assert held.remaining(cast("StreamSession", watched)) == (said[3],)


def test_a_single_changed_number_in_the_weights_is_another_model(root: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(EMBEDDED, tmp_path / "tiny")
    assert ask(root, model=str(twin)).usage.index == "used"
    weights = bytearray((twin / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (twin / "model.safetensors").write_bytes(weights)
    assert ask(root, model=str(twin)).usage.index == "saved"


def test_a_renamed_video_is_the_same_one_and_a_changed_one_is_not(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other.mp4"
    shutil.copy(CLIP, copy)
    used = ask(root, path=copy)
    assert (used.usage.index, used.media.path) == ("used", str(copy))
    with copy.open("ab") as file:
        file.write(b"\0" * 8)
    assert ask(root, path=copy).usage.index == "saved"


@pytest.mark.parametrize(
    ("chunk", "stop_at"), [(None, 16), ("4", 12), ("3", 9), ("5", 12), ("16", 16), ("12", 16)]
)
def test_a_stopped_run_goes_on_and_ends_in_the_same_bits(
    tmp_path: Path, chunk: str | None, stop_at: int
) -> None:
    with pytest.raises(Stop):
        index(tmp_path / "stopped", Heard(stop_at), chunk=chunk)
    heard = Heard()
    report = index(tmp_path / "stopped", heard, chunk=chunk)
    index(tmp_path / "never", chunk=chunk)
    kept = 0 if chunk == "16" else 8
    assert heard.watched[0] > kept
    assert report.state == ("resumed" if kept else "saved")
    assert heard.said("going on after 8 steps") == (kept == 8)
    assert stored(tmp_path / "stopped") == stored(tmp_path / "never")


def test_the_first_answer_and_a_resumed_one_are_the_indexed_one(tmp_path: Path) -> None:
    one = ask(tmp_path / "cache")
    with pytest.raises(Stop):
        ask(tmp_path / "stopped", Heard(16))
    resumed = ask(tmp_path / "stopped")
    assert resumed.usage.index == "resumed"
    assert said(resumed) == said(one)
    assert said(ask(tmp_path / "stopped")) == said(one)


def test_lost_frames_are_remembered(tmp_path: Path) -> None:
    """A hole in the middle: the indexed answer has the same gaps, and nothing is decoded for it."""
    clip = write_clip(tmp_path / "hole.mp4", [100 * n for n in range(200)], options=x264(bframes=0))
    data = bytearray(clip.read_bytes())
    start = len(data) // 2
    data[start : start + 1500] = os.urandom(1500)
    clip.write_bytes(data)
    plain = ask(tmp_path / "cache", path=clip, no_index=True)
    first, heard = ask(tmp_path / "cache", path=clip), Heard()
    second = ask(tmp_path / "cache", heard, path=clip)
    assert plain.coverage.gaps
    assert first.coverage == second.coverage == plain.coverage
    assert heard.watched == []


def test_the_gate_judges_saved_videos_too(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "numbers.mp4", [100 * n for n in range(200)], options=x264())
    with pytest.raises(OutsideWorld):
        ask(tmp_path / "cache", path=clip, model="auto")
    assert stored(tmp_path / "cache") == {}, "a refused video is not saved"
    assert ask(tmp_path / "cache", path=clip).usage.index == "saved"
    with pytest.raises(OutsideWorld):
        ask(tmp_path / "cache", path=clip, model="auto")


def test_the_gate_judges_a_saved_video_block_by_block(tmp_path: Path) -> None:
    """What begins with something else is refused then, whether it is watched or was before."""
    drawn = draw(write_script(1_000_003, 60.0), [n / 10 for n in range(600)], 2)
    drawn[:90] = np.random.default_rng(0).integers(0, 255, (90, *drawn.shape[1:]), np.uint8)
    path = tmp_path / "mixed.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for picture in drawn:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    for insisted in ("saved", "used"):
        with pytest.raises(OutsideWorld):
            ask(tmp_path / "cache", path=path, model="auto")
        assert ask(tmp_path / "cache", path=path).usage.index == insisted


def test_a_cap_of_nothing_saves_nothing(tmp_path: Path) -> None:
    heard = Heard()
    assert ask(tmp_path / "cache", heard, cache_cap="0").usage.index == "unsaved"
    assert heard.said("is over the cache cap (0 MiB): nothing is saved for later questions")
    assert stored(tmp_path / "cache") == {}


def test_an_index_that_is_asked_for_and_does_not_fit_is_refused_before_watching(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(OverBudget, match="cache cap is 1 MiB -- give --cache-cap"):
        index(tmp_path / "cache", heard, cache_cap="1MiB")
    assert heard.watched == []
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_saved_needs_no_room_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"memory": "retrieve"}
    index(root, **flags)
    fitted, full = fitting.fit, SimpleNamespace(total=1 << 40, used=1 << 40, free=0)
    monkeypatch.setattr(pipeline, "fit", lambda *of: replace(fitted(*of), spilled=1))
    monkeypatch.setattr("qvl_cli.cache.scratch.shutil", SimpleNamespace(disk_usage=lambda _: full))
    assert ask(root, **flags).usage.index == "used"
    with pytest.raises(OverBudget, match="the blocks take"):
        ask(root, **flags, no_index=True)


def test_chunks_longer_than_the_window_are_saved_all_the_same(tmp_path: Path) -> None:
    flags = {"memory": "retrieve", "window": "4"}
    one, other = (ask(tmp_path / size, chunk=size, **flags) for size in ("1", "24"))
    assert one.usage.index == other.usage.index == "saved"
    assert said(one) == said(other)


def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    for fps in ("2", "1"):
        index(root, fps=fps)
    older = Path(ask(root, fps="2").media.path)  # used now: the other one is the older
    assert older == CLIP
    heard = Heard()
    index(root, heard, fps="3", cache_cap="6MiB")
    assert heard.said("to make room in the cache")
    assert ask(root, fps="1").usage.index == "saved"
