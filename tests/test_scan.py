"""The scan: planted changes come back at their own frames; noise, keyframes and cursors do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qvl_cli.media import InputSettings, open_video
from qvl_cli.media.thumbnails import Thumbnail, thumbnails
from qvl_cli.scan import Change, ScanSettings, find_changes, scan
from tests.clips import damage, numbered, write_clip, x264

ROWS, COLUMNS, RATE = 22, 40, 25
Planes = npt.NDArray[np.float64]


def found(
    frames: int, change: Callable[[int, Planes], None], noise: float = 0.0, seed: int = 0
) -> list[Change]:
    """The changes of a still picture that `change(number, planes)` draws on, under normal noise."""
    rng = np.random.default_rng(seed)
    still = rng.uniform(60, 190, (3, ROWS, COLUMNS))

    def draw(number: int) -> Thumbnail:
        planes = still.copy()
        change(number, planes)
        planes += noise * rng.standard_normal(planes.shape)
        return Thumbnail(Fraction(number, RATE), np.clip(planes.round(), 0, 255).astype(np.uint8))

    return list(find_changes((draw(number) for number in range(frames)), ScanSettings()))


def numbers(changes: Sequence[Change]) -> list[int]:
    return [int(change.time * RATE) for change in changes]


@settings(deadline=None, max_examples=15)
@given(
    at=st.lists(st.integers(3, 290), min_size=1, max_size=6, unique=True).map(sorted),
    noise=st.sampled_from([0.0, 0.8, 1.5]),
    plane=st.integers(0, 2),
    seed=st.integers(0, 999),
)
def test_planted_changes_come_back_at_their_own_frames(
    at: list[int], noise: float, plane: int, seed: int
) -> None:
    """Two cells each, in luma or in colour alone."""
    at = [number for number, before in zip(at, [-9, *at], strict=False) if number - before > 1]

    def change(number: int, planes: Planes) -> None:
        for n, when in enumerate(at):
            planes[plane, 3 * n, 5:7] += 40 * (number >= when)

    changes = found(300, change, noise, seed)
    assert numbers(changes) == at
    assert all(change.area == pytest.approx(2 / (ROWS * COLUMNS)) for change in changes)


@pytest.mark.parametrize("noise", [0.0, 1.0, 2.5, 4.0])
def test_noise_is_no_change(noise: float) -> None:
    assert found(500, lambda number, planes: None, noise) == []


def test_keyframes_are_no_change() -> None:
    pulse = np.random.default_rng(1).uniform(-6, 6, (3, ROWS, COLUMNS))

    def change(number: int, planes: Planes) -> None:
        planes += pulse * 0.8 ** (number % 50)  # worst at the keyframe, mended by the frames after it

    assert found(500, change) == []


def test_a_click_of_one_frame_is_noise_and_a_flash_is_a_change() -> None:
    def change(number: int, planes: Planes) -> None:
        planes[0, 4, 4] += 60 * (number == 20)
        planes[0] += 60 * (number == 70)

    assert numbers(found(100, change)) == [70, 71]


def test_a_fade_adds_up() -> None:
    changes = numbers(found(300, lambda number, planes: planes.__isub__(0.4 * min(number, 150))))
    assert changes[0] <= 30 and 4 <= len(changes) <= 8
    assert all(after - before <= 30 for before, after in pairwise(changes))
    assert 150 - 30 <= changes[-1] <= 151


def test_a_cursor_is_seen_and_then_left_alone_and_what_else_happens_is_not() -> None:
    def change(number: int, planes: Planes) -> None:
        planes[0, 10, 10] += 80 * (number >= 100 and (number - 100) // 13 % 2 == 0)
        planes[0, 15, 20:24] += 50 * (number >= 900)

    changes = numbers(found(1500, change))
    assert changes[0] == 100
    assert 900 in changes
    assert len(changes) <= 8


def test_large_motion_is_never_left_alone() -> None:
    def change(number: int, planes: Planes) -> None:
        planes[0, :, :20] += 60 * (number // 10 % 2)

    assert numbers(found(500, change)) == list(range(10, 500, 10))


def test_nothing_and_one_frame() -> None:
    assert list(find_changes(iter(()), ScanSettings())) == []
    assert found(1, lambda number, planes: None) == []
    assert numbers(found(2, lambda number, planes: planes.__iadd__(40 * number))) == [1]


def test_frames_of_a_file_come_once_and_at_their_times(tmp_path: Path) -> None:
    """Reordered pictures, uneven times, a start that is not zero; every frame differs from the one before."""
    pts = [700 + 40 * number + 13 * (number % 3) for number in range(30)]
    path = write_clip(tmp_path / "clip.mp4", pts, options=x264())
    with open_video(path) as video:
        times = video.info.frame_times
        activity = scan(video)
        assert [change.time for change in activity.changes] == list(times[1:])
        assert activity.frames == len(times) == 30
        assert (activity.span.start, activity.span.end) == (0, video.info.duration)
        part = scan(video, ScanSettings(times[10] + Fraction(1, 1000), times[20]))
        assert [change.time for change in part.changes] == list(times[11:20])
        small = list(thumbnails(video, Fraction(0), Fraction(1, 50)))
        assert [each.planes.shape for each in small] == [(3, 8, 20)]
        assert next(video.frames([times[3]])).time == times[3]  # a scan leaves the source as it was


def test_cells_are_means_of_what_is_stored(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", [40 * number for number in range(8)], options=x264())
    with av.open(str(path)) as container:
        full = [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(video=0)]
    with open_video(path) as video:
        small = list(thumbnails(video, Fraction(0), video.info.duration))
    for picture, each in zip(full, small, strict=True):
        means = picture.reshape(8, 8, 20, 8).mean((1, 3))
        limited = means * 219 / 255 + 16  # gray covers 0..255, stored luma 16..235
        assert np.abs(limited - each.planes[0]).max() < 2


@pytest.mark.parametrize("name", ["corrupted.mp4", "test_non_zero_start.mp4", "h265_10bits.mp4"])
def test_a_scan_sees_the_frames_that_can_be_watched(shared: Path, name: str) -> None:
    with open_video(shared / "media/awkward" / name) as video:
        watched = [frame.time for frame in video.frames(video.info.frame_times)]
        scanned = [each.time for each in thumbnails(video, Fraction(0), video.info.duration)]
    assert scanned == watched


def test_what_a_scan_cannot_see_is_lost(tmp_path: Path) -> None:
    path = damage(
        write_clip(tmp_path / "damaged.mp4", [40 * number for number in range(100)], options=x264())
    )
    with open_video(path) as video:
        list(video.frames(video.info.frame_times))
        lost = video.lost
    with open_video(path) as video:
        scan(video)
        assert video.lost == lost != []


def test_pictures_of_a_folder_are_scanned_like_a_film(tmp_path: Path) -> None:
    for number in range(8):
        Image.fromarray(numbered(number // 4)).save(tmp_path / f"{number}.png")
    with open_video(tmp_path, settings=InputSettings(picture_rate=Fraction(2))) as video:
        assert [change.time for change in scan(video).changes] == [2]
        part = list(thumbnails(video, Fraction(9, 4), Fraction(3)))
    assert [each.time for each in part] == [2, Fraction(5, 2)]


@pytest.mark.parametrize(("name", "time"), [("scene-change.mov", 12), ("black.mp4", 20)])
def test_a_real_slide_changes_at_its_own_frame_and_at_no_other(shared: Path, name: str, time: int) -> None:
    with open_video(shared / "media/content" / name) as video:
        assert [change.time for change in scan(video).changes] == [time]
