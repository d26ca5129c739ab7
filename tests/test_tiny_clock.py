"""When the steps of training clips are, against what `qvl` itself does on the encoded video."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from qvl_cli.media import open_video
from qvl_cli.registry import read_spec, resolve
from qvl_cli.sampling import SamplingSettings, plan_samples
from qvl_cli.scan import scan
from qvl_cli.tiny import recipe
from qvl_cli.tiny.clips import make_clip
from qvl_cli.tiny.clock import GAPS, changes, planned_frames, small_frames, uneven_starts
from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.film import film
from qvl_cli.tiny.scripts import write_script


def test_uneven_steps_keep_every_change_and_skip_stillness() -> None:
    longest, late = [], []
    for seed in range(40):
        script = write_script(seed, 60.0)
        starts = uneven_starts(script, 2.0, 58.0, 22, 25.0, GAPS[seed % 4 :])
        gaps = np.diff(starts)
        longest.append(gaps.max())
        assert len(starts) == 22 and gaps.min() >= 0.49 and gaps.max() <= 11.0
        assert np.allclose(starts * 25, np.round(starts * 25))
        for instant in changes(script)[0]:
            if starts[0] + 1 < instant < starts[-1]:
                late.append(starts[np.searchsorted(starts, instant - 1e-9)] - instant)
    # to the frame, but where another change came less than half a second before
    assert max(longest) > 4.0 and np.mean(np.array(late) <= 0.041) > 0.85 and max(late) < 1.6
    clip = make_clip(5, 12, recipe.Mix(uneven=1.0))
    assert clip.durations.max() > 2.6 and len(clip.ends) == 12


@pytest.mark.parametrize("seed", (3, 8, 21))
def test_planned_steps_are_those_of_the_video(seed: int, tmp_path: Path) -> None:
    script = write_script(seed, 60.0, density=0.5)
    path = tmp_path / "clip.mp4"
    film(script, path)
    with open_video(path) as video:
        spec = read_spec(resolve("tiny"), "tiny")
        steps = plan_samples(video.info, SamplingSettings(mode="adaptive"), spec, scan(video)).steps
    planned = planned_frames(script, 0.0, 60.0, 20, 10.0, GAPS)
    kept = np.array([float(step.t0) for step in steps][:20])
    # An encoder shows slow motion a frame earlier or later.
    apart = np.abs(planned[:, :1] - kept[None])
    assert np.mean(apart.min(0) < 0.11) >= 0.8 and np.mean(apart.min(1) < 0.11) >= 0.8
    assert (planned[:, 0] <= planned[:, 1]).all() and (planned[1:, 0] > planned[:-1, 1]).all()


@pytest.mark.parametrize("seed", (1, 4))
def test_frames_that_are_not_drawn_are_those_that_stay_the_same(seed: int) -> None:
    script = replace(write_script(seed, 40.0), noise=0.0)
    times = [Fraction(n, 12) for n in range(30, 12 * 36)]
    small = list(small_frames(script, times))
    assert [each.time for each in small] == times
    drawn = draw(script, [float(time) for time in times]).astype(float)
    cells = drawn.reshape(len(times), 24, 4, 40, 4, 3).mean((2, 4))
    brightness = cells @ (0.299, 0.587, 0.114)
    assert np.abs(np.stack([each.planes[0] for each in small]) - brightness).max() <= 1
