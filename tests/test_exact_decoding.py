"""Decoding only what is needed gives, bit for bit, what decoding everything gives."""

from __future__ import annotations

import random
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from qvl_cli.media import open_video, route, source
from qvl_cli.media.examine import examine
from qvl_cli.media.packets import PacketScan
from qvl_cli.media.route import Run, plan_route
from qvl_cli.media.runs import RunDecoder, RunFailed, walk
from tests.clips import write_clip, x264

STEADY = [40 * n for n in range(100)]
X265 = {"preset": "ultrafast", "x265-params": "bframes=3:b-pyramid=1:keyint=25:pools=1:log-level=none"}


def x265(extra: str) -> dict[str, object]:
    return {"codec": "libx265", "options": {**X265, "x265-params": X265["x265-params"] + extra}}


CODED: dict[str, dict[str, object]] = {
    "b-pyramid.mp4": {"options": x264(keyint=25, extra=":b-pyramid=normal:ref=3")},
    "b-pyramid-strict.mkv": {"options": x264(keyint=25, extra=":b-pyramid=strict:ref=3")},
    "flat-b.ts": {"options": x264(keyint=25, extra=":b-pyramid=none")},
    "many-b.mp4": {"options": x264(bframes=8, keyint=40, extra=":b-pyramid=normal")},
    "open-gop.mp4": {"options": x264(keyint=20, extra=":open-gop=1:b-pyramid=normal")},
    "open-gop.ts": {"options": x264(keyint=20, extra=":open-gop=1:b-pyramid=normal")},
    "one-keyframe.mp4": {"options": x264(keyint=999, extra=":b-pyramid=normal")},
    "slices.mp4": {"options": x264(keyint=25, extra=":slices=4")},
    "late.mkv": {"pts": [t + 5000 for t in STEADY], "options": x264(keyint=25)},
    "hevc.mp4": x265(""),
    "hevc.ts": x265(":open-gop=1"),
    "hevc-layers.mkv": x265(":temporal-layers=2:open-gop=0"),
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime", "g": "25"}},
    "mpeg2.mkv": {
        "pts": range(100),
        "time_base": Fraction(1, 25),
        "codec": "mpeg2video",
        "options": {"bf": "2"},
    },
}


@pytest.fixture(scope="module", params=CODED)
def coded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = dict(CODED[request.param])
    pts = options.pop("pts", STEADY)
    return write_clip(tmp_path_factory.mktemp("coded") / request.param, pts, **options)  # type: ignore[arg-type]


def decode_all(path: Path) -> dict[int, np.ndarray]:
    """pts -> pixels, by PyAV alone."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return {frame.pts: frame.to_ndarray(format="rgb24") for frame in frames if frame.pts is not None}


def wanted_sets(count: int, keys: list[int]) -> list[list[int]]:
    """Frame numbers to ask for: all, few, keyframes, the very last, and by chance."""
    chance = random.Random(count)
    some = [sorted(chance.sample(range(count), k)) for k in (1, 2, 5, 20)]
    return [list(range(count)), list(range(0, count, 9)), keys, [count - 1], *some]


def test_runs_give_what_decoding_everything_gives(coded: Path) -> None:
    truth, file = decode_all(coded), examine(coded)
    scan = file.packets
    keys = [scan.index(pts) for pts, _ in scan.keyframes]
    for threads in (1, 2):
        decoder = RunDecoder(coded, file.stream_index, scan, threads)
        for numbers in wanted_sets(
            len(scan.pts), keys
        ):  # the same decoder: it goes back, and on without a seek
            pts = [scan.pts[number] for number in numbers]
            way = plan_route(scan, pts, 10_000, cores=1)
            assert way is not None
            found = [item for run in way.runs for item in decoder.frames(run)]
            assert [at for at, _ in found] == pts
            for at, frame in found:
                np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), truth[at])
        decoder.close()


def test_what_nothing_refers_to_is_found_where_the_codec_tells(coded: Path) -> None:
    """x264 and x265 write every other or every third picture so; here B-frames stand at fixed places."""
    spare = sum(examine(coded).packets.spare)
    if coded.suffix == ".webm" or coded.stem == "mpeg2":
        assert spare == 0
    else:
        assert 25 <= spare <= 80


def test_several_decoders_give_the_same_in_order(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(300)], options=x264(keyint=10))
    truth, file = decode_all(path), examine(path)
    scan = file.packets
    for waiting in (2, 50):
        runs = [Run(run.first, run.stop, run.wanted) for run in _runs(scan, scan.pts[::3])]
        crew = [RunDecoder(path, file.stream_index, scan, 1) for _ in range(3)]
        found = [item for _, frames in walk(runs, crew, waiting) for item in frames]
        assert [pts for pts, _ in found] == list(scan.pts[::3])
        for pts, frame in found:
            np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), truth[pts])
        for decoder in crew:
            decoder.close()


def test_a_failed_run_fails_alone(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(300)], options=x264(keyint=10))
    file = examine(path)
    runs = list(_runs(file.packets, file.packets.pts[::7]))
    runs[5] = Run(runs[5].first + 1, runs[5].stop, runs[5].wanted)  # no keyframe: nothing to enter by
    crew = [RunDecoder(path, file.stream_index, file.packets, 1) for _ in range(2)]
    failed = []
    for number, (run, frames) in enumerate(walk(runs, crew, 4)):
        try:
            assert [pts for pts, _ in frames] == list(run.wanted)
        except RunFailed:
            failed.append(number)
    assert failed == [5]


def test_an_abandoned_walk_leaves_no_thread_and_the_next_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_cores", lambda: 3)
    monkeypatch.setattr(route, "_WAITING_ROOM", 0)  # two pictures: decoders wait for the reader
    path = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(400)], options=x264(keyint=10))
    truth = list(decode_all(path).values())
    with open_video(path) as video:
        every_fifth = video.info.frame_times[::5]
        abandoned = video.frames(every_fifth)
        next(abandoned)
        assert any(thread.name == "qvl-decode" for thread in threading.enumerate())
        for number, frame in enumerate(video.frames(every_fifth)):
            np.testing.assert_array_equal(frame.pixels, truth[5 * number])
        next(video.frames(every_fifth))
    assert not any(thread.name == "qvl-decode" for thread in threading.enumerate())


REAL = [
    "awkward/bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4",
    "awkward/corrupted.mp4",
    "awkward/flower-fragmented.mp4",
    "awkward/h265_10bits.mp4",
    "awkward/iibbibb_editlist_videoonly.mp4",
    "awkward/no_timescale.mp4",
    "awkward/sample.flv",
    "awkward/sample_h265.ts",
    "awkward/v300_multiple_segments.mp4",
    "content/bikes.mp4",
    "content/bipbop_timecode_60s.ts",
    "content/nasa_13013.mp4",
]


@pytest.mark.parametrize("name", REAL)
def test_real_clips_look_the_same_without_shortcuts(
    shared: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged ones too: the same frames, the same spans lost."""
    seen = []
    for shortcuts in (True, False):
        if not shortcuts:
            monkeypatch.setattr(source, "plan_route", lambda *_: None)
        with open_video(shared / "media" / name) as video:
            times = video.info.frame_times[:150]
            chance = random.Random(1).sample(list(times), 4)
            frames = [*video.frames(times[::7]), *video.frames(sorted(chance)), *video.frames(times[-1:])]
            seen.append(([(frame.time, frame.pixels.tobytes()) for frame in frames], list(video.lost)))
    assert seen[0] == seen[1]


def _runs(scan: PacketScan, wanted: object) -> tuple[Run, ...]:
    found = plan_route(scan, wanted, 10_000, cores=4)  # type: ignore[arg-type]
    assert found is not None
    return found.runs


def _steady_scan(gops: int, length: int) -> PacketScan:
    """Closed GOPs without reordering; every third picture is spare."""
    pts = range(gops * length)
    keys = tuple((key, key) for key in pts[::length])
    return PacketScan(
        Fraction(1, 25), pts, keys, len(pts), 1, (), order=pts, spare=bytes(n % 3 == 2 for n in pts)
    )


def test_a_run_ends_with_the_last_packet_that_is_wanted() -> None:
    scan = _steady_scan(4, 100)
    assert _runs(scan, [0, 5, 130, 299]) == (Run(0, 6, (0, 5)), Run(100, 131, (130,)), Run(200, 300, (299,)))
    assert _runs(scan, [0, 100, 200, 300]) == tuple(Run(n, n + 1, (n,)) for n in (0, 100, 200, 300))


def test_pictures_shown_before_their_keyframe_are_entered_one_keyframe_earlier() -> None:
    order = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]  # 6 is a keyframe, 4 and 5 lean on both sides of it
    scan = PacketScan(
        Fraction(1, 25), sorted(order), ((0, 0), (6, 6)), 10, 1, (), order=order, spare=bytes(10)
    )
    assert _runs(scan, [4]) == (Run(0, 6, (4,)),)
    assert _runs(scan, [6, 7]) == (Run(4, 9, (6, 7)),)
    assert _runs(scan, [5, 6]) == (Run(0, 7, (5, 6)),)


def test_decoders_are_shared_out_by_cores_memory_and_work() -> None:
    scan = _steady_scan(40, 100)

    def cost(wanted: range, side: int, cores: int) -> tuple[int, int]:
        way = plan_route(scan, wanted, side * side * 3 // 2, cores)
        assert way is not None
        return way.decoders, way.threads

    sparse = range(50, 4000, 50)
    assert cost(sparse, 256, 1) == (1, 1)
    assert cost(sparse, 256, 2) == (2, 1)
    assert cost(sparse, 256, 16) == (4, 1)
    assert cost(sparse, 1440, 16) == (2, 1)  # as many pixels as 1080p
    assert cost(sparse, 2880, 16) == (1, 8)  # 4K: one decoder, its frame threads instead
    hours = _steady_scan(2000, 100)
    way = plan_route(hours, range(50, 200_000, 50), 1440 * 1440 * 3 // 2, 2)
    assert way is not None and (way.decoders, way.threads) == (1, 2)  # an index of hours is large, too
    assert cost(range(4000), 1440, 4) == (1, 4)  # every frame: no decoder could run ahead
    assert cost(range(50, 52), 256, 16) == (1, 1)  # done before a second one has opened the file
    small, large = (plan_route(scan, sparse, size, 2) for size in (10_000, 8 << 20))
    assert small is not None and large is not None
    assert (small.waiting, large.waiting) == (256, 4)


def test_no_way_is_planned_where_packets_cannot_be_told_apart() -> None:
    scan = PacketScan(Fraction(1, 25), range(10), (), 10, 1, (), counted=True)
    assert plan_route(scan, [3], 100, 2) is None
