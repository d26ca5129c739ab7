"""Where to look again, and what looks agree on: a boundary is planted and must come back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from qvl_cli.align import ScoredSpan
from qvl_cli.align.looks import (
    APART,
    CLOSE_LOOKS,
    CLOSE_REACH,
    CLOSE_SPREAD,
    LOOKS,
    REACH,
    SPREAD,
    WIDEST,
    Boundary,
    agreed,
    boundaries,
    close_steps,
    first_frame,
    moved_spans,
    open_still,
    shifted_steps,
    vote,
    windows,
)
from qvl_cli.media.info import MediaInfo
from qvl_cli.sampling import Step
from qvl_cli.timeline import TimeSpan, prompt_seconds

FPS = Fraction(2)
HALF = 1 / FPS


def media(times: Sequence[Fraction], duration: Fraction) -> MediaInfo:
    return MediaInfo(
        path=Path("planted.mp4"),
        container="mp4",
        codec="h264",
        pixel_format="yuv420p",
        coded_width=160,
        coded_height=96,
        width=160,
        height=96,
        rotation=0,
        sample_aspect_ratio=Fraction(1),
        start=Fraction(0),
        duration=duration,
        average_rate=len(times) / duration,
        variable_rate=False,
        frame_times=list(times),
        keyframes=(times[0],),
        audio=(),
        subtitles=(),
    )


def even(rate: Fraction, seconds: int = 30) -> MediaInfo:
    return media([n / rate for n in range(int(seconds * rate))], Fraction(seconds))


def uneven() -> MediaInfo:
    """Gaps of 20 to 90 ms in turn."""
    times = [Fraction(0)]
    while times[-1] < 30:
        times.append(times[-1] + Fraction(20 + 7 * (len(times) % 11), 1000))
    return media(times[:-1], Fraction(30))


def seen_by(steps: Sequence[Step], event: TimeSpan) -> list[TimeSpan]:
    """What a perfect aligner says from the frames of `steps` alone: the event begins half-way between the
    last frame that does not show it and the first that does, and ends likewise."""
    frames = sorted({time for step in steps for time in (step.t0, step.t1)})
    showing = [time for time in frames if time in event]
    if not showing:
        return []
    before = max((time for time in frames if time < showing[0]), default=None)
    after = min((time for time in frames if time > showing[-1]), default=None)
    start = steps[0].interval.start if before is None else (before + showing[0]) / 2
    end = steps[-1].interval.end if after is None else (showing[-1] + after) / 2
    return [TimeSpan(start, end)]


def found_again(
    info: MediaInfo, event: TimeSpan, coarse: TimeSpan, close: bool = False
) -> list[Fraction | None]:
    whole = TimeSpan(Fraction(0), info.duration)
    steps = shifted_steps(info, whole, FPS, 1)[0]
    times: list[Fraction | None] = []
    for each in boundaries([ScoredSpan(coarse, 1.0)], steps, FPS):
        ((window, _),) = windows([each], CLOSE_REACH if close else REACH / FPS, SPREAD / FPS, whole)
        make, looks = (close_steps, CLOSE_LOOKS) if close else (shifted_steps, LOOKS)
        grids = make(info, window, FPS, looks)
        time = agreed([vote(each, grid, seen_by(grid, event)) for grid in grids], APART / FPS)
        times.append(None if time is None else first_frame(info, time))
    return times


@pytest.mark.parametrize("media", [even(Fraction(10)), even(Fraction(25)), even(Fraction(30000, 1001))])
def test_close_looks_find_a_planted_frame_exactly(media: MediaInfo) -> None:
    for frame in range(200, 220):
        event = TimeSpan(media.frame_times[frame], media.frame_times[frame + 60])
        for coarse in (Fraction(-4, 10), Fraction(0), Fraction(1, 4)):
            moved = TimeSpan(event.start + coarse, event.end - coarse)
            assert found_again(media, event, moved, close=True) == [event.start, event.end]


@pytest.mark.parametrize("rate", [Fraction(10), Fraction(25), Fraction(30000, 1001)])
@pytest.mark.parametrize("frame", [0, 1, 3, 4, 7])
def test_shifted_looks_come_near_a_planted_frame(rate: Fraction, frame: int) -> None:
    info = even(rate)
    start, end = info.frame_times[int(8 * rate) + frame], info.frame_times[int(19 * rate) + frame]
    rough = TimeSpan(start - Fraction(1, 3), end + Fraction(2, 5))
    # Five grids part half a second at tenths of a second, and their mean lies in the middle of a tenth.
    limit = Fraction(1, 10)
    for found, true in zip(found_again(info, TimeSpan(start, end), rough), (start, end), strict=True):
        assert found in info.frame_times
        assert found is not None and abs(found - true) <= limit


def test_ten_frames_a_second_come_back_exactly() -> None:
    """There every frame is in one of the looks."""
    info = even(Fraction(10))
    for frame in range(80, 95):
        event = TimeSpan(info.frame_times[frame], info.frame_times[frame + 60])
        for coarse in (Fraction(-3, 10), Fraction(0), Fraction(1, 4)):
            moved = TimeSpan(event.start + coarse, event.end - coarse)
            assert found_again(info, event, moved) == [event.start, event.end]


def test_uneven_frames() -> None:
    info = uneven()
    event = TimeSpan(info.frame_times[200], info.frame_times[400])
    rough = TimeSpan(event.start + Fraction(1, 4), event.end - Fraction(1, 4))
    for close in (True, False):
        for found, true in zip(found_again(info, event, rough, close), (event.start, event.end), strict=True):
            assert found in info.frame_times
            assert found is not None and abs(found - true) <= Fraction(1, 10)


def test_looks_are_honest_grids() -> None:
    for info in (even(Fraction(25)), uneven(), even(Fraction(4)), even(Fraction(1))):
        window = TimeSpan(Fraction(5), Fraction(13))
        shifted, close = (make(info, window, FPS, LOOKS) for make in (shifted_steps, close_steps))
        assert len({grid[0].t0 for grid in shifted}) == len(shifted) <= LOOKS
        assert len(set(close)) == len(close) <= LOOKS
        for grid in (*shifted, *close):
            assert all(step.t0 in info.frame_times and step.t1 in info.frame_times for step in grid)
            assert all(step.t0 <= step.t1 <= step.t0 + HALF for step in grid)
            assert all(a.interval.end == b.interval.start for a, b in pairwise(grid))
            assert window.start <= grid[0].interval.start and grid[-1].interval.end == window.end
            written = [prompt_seconds(step.t0, step.t1) for step in grid]
            assert len(set(written)) == len(written)


def test_windows_stay_in_the_media_and_become_one_where_they_meet() -> None:
    bounds = TimeSpan(Fraction(0), Fraction(30))
    steps = shifted_steps(even(Fraction(10)), bounds, FPS, 1)[0]
    long, short = TimeSpan(Fraction(2), Fraction(16)), TimeSpan(Fraction(24), Fraction(28))
    found = boundaries([ScoredSpan(long, 0.9), ScoredSpan(short, 0.8)], steps, FPS)
    apart = TimeSpan(Fraction(0), Fraction(6)), found[:1]
    assert windows(found, REACH / FPS, SPREAD / FPS, bounds) == [
        apart,
        (TimeSpan(Fraction(12), Fraction(30)), found[1:]),
    ]
    assert windows(found, REACH / FPS, Fraction(10), bounds) == [
        apart,
        (TimeSpan(Fraction(12), Fraction(28)), found[1:3]),
        (TimeSpan(Fraction(24), Fraction(30)), found[3:]),
    ]


@pytest.mark.parametrize(
    ("reach", "spread", "stretches"),
    [
        (REACH / FPS, SPREAD / FPS, [(6, 44), (37, 58)]),
        (CLOSE_REACH, CLOSE_SPREAD, [(9 + at, 15 + at) for at in range(0, 45, 5)]),
        (WIDEST / FPS / 2, SPREAD / FPS, [(0, 55), (26, 60)]),
    ],
)
def test_a_look_at_many_boundaries_stays_short(
    reach: Fraction, spread: Fraction, stretches: list[tuple[int, int]]
) -> None:
    bounds = TimeSpan(Fraction(0), Fraction(60))
    many = [Boundary(at, True, Fraction(10 + at), Fraction(1)) for at in range(45)]
    random.Random(3).shuffle(many)
    found = windows(many, reach, spread, bounds)
    assert [(window.start, window.end) for window, _ in found] == stretches
    assert sorted(each.time for _, own in found for each in own) == [10 + at for at in range(45)]
    for window, own in found:
        assert own[-1].time - own[0].time <= spread
        assert all(window.intersection(TimeSpan(each.time - reach, each.time + reach)) for each in own)


def test_a_span_cut_by_the_edge_of_a_look_is_no_boundary() -> None:
    """At the edges of the media nobody can tell when something began that was there from the first frame."""
    info = even(Fraction(10))
    event = TimeSpan(Fraction(0), info.duration)
    assert found_again(info, event, TimeSpan(Fraction(1, 2), info.duration - Fraction(1, 2))) == [None, None]


def test_another_event_nearby_is_not_taken_for_this_one() -> None:
    start = Boundary(0, True, Fraction(10), Fraction(1))
    (grid,) = shifted_steps(even(Fraction(10)), TimeSpan(Fraction(6), Fraction(14)), FPS, 1)
    second = TimeSpan(Fraction(23, 2), Fraction(13))
    assert vote(start, grid, [second]) is None
    assert vote(start, grid, [second, TimeSpan(Fraction(10), Fraction(11))]) == 10
    # Ends are no starts.
    assert vote(start, grid, [TimeSpan(Fraction(8), Fraction(10))]) is None


@pytest.mark.parametrize(
    ("votes", "time"),
    [
        ([None] * 5, None),
        ([Fraction(3), None, None, None, Fraction(3)], None),
        ([Fraction(3), Fraction(4), None, None, Fraction(3)], Fraction(10, 3)),
        ([Fraction(3), Fraction(3), Fraction(9), Fraction(3), Fraction(1)], Fraction(3)),
        ([Fraction(1), Fraction(1), Fraction(3), Fraction(5), Fraction(5)], None),
        ([Fraction(7)], Fraction(7)),
        ([], None),
    ],
)
def test_most_looks_must_agree(votes: list[Fraction | None], time: Fraction | None) -> None:
    assert agreed(votes, Fraction(1)) == time
    # A run of looks is given up where no majority is left.
    assert not votes or open_still(votes, len(votes)) == (2 * len([v for v in votes if v]) > len(votes))
    assert open_still([None], 5) and not open_still([None], 2) and not open_still([None] * 3, 5)


def test_moved_spans_never_cross() -> None:
    a, b = (ScoredSpan(TimeSpan(Fraction(s), Fraction(e)), 0.5) for s, e in ((0, 4), (5, 9)))
    moved = moved_spans((a, b), {(0, False): Fraction(9, 2), (1, True): Fraction(9, 2)})
    assert [(each.span.end, each.span.start, each.refined) for each in moved] == [
        (Fraction(9, 2), 0, True),
        (9, Fraction(9, 2), True),
    ]
    crossing = moved_spans((a, b), {(0, False): Fraction(19, 4), (1, True): Fraction(9, 2)})
    assert crossing == (replace(moved[0], span=TimeSpan(Fraction(0), Fraction(19, 4))), b)
    assert moved_spans((a, b), {(0, True): Fraction(4), (1, False): Fraction(5)}) == (a, b)
    assert moved_spans((a, b), {}) == (a, b)
