"""The drawn world: what the script says is what the frames show, and training never sees evaluation seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qvl_cli.media import open_video
from qvl_cli.tiny.calibrate import CLIPS, FIRST_SEED
from qvl_cli.tiny.clips import make_clip
from qvl_cli.tiny.draw import distance_table, draw
from qvl_cli.tiny.film import film
from qvl_cli.tiny.gate import inside_window, outside_window
from qvl_cli.tiny.perception import crowd, perception_batch, step_labels
from qvl_cli.tiny.recipe import GATE, LESSONS, PERCEPTION
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import (
    ACTIONS,
    COLOUR_NAMES,
    COLOURS,
    HEIGHT,
    PASSAGES,
    SHAPES,
    TRAINING_SEEDS,
    WIDTH,
    WORDS,
    Action,
    Actor,
    Caption,
    Scene,
    Script,
)

PLAIN = (Scene(0.0, "plain"),)


def still(actor: Actor) -> Script:
    return Script(1, 20.0, PLAIN, (actor,), 0.0)


def test_same_seed_same_video_other_seed_other_video() -> None:
    times = [1.0, 7.5]
    assert write_script(5, 40.0) == write_script(5, 40.0)
    assert write_script(5, 40.0) != write_script(6, 40.0)
    assert np.array_equal(draw(write_script(5, 40.0), times), draw(write_script(5, 40.0), times))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_fills_a_part_of_its_circle(shape: str) -> None:
    inside = (distance_table(shape) < 0).mean()
    assert 0.15 < inside < 0.55


@pytest.mark.parametrize("colour", COLOURS)
def test_an_actor_is_on_screen_exactly_while_the_script_says(colour: str) -> None:
    script = still(Actor("circle", colour, 3.0, 8.0, 80.0, 48.0, 15.0))
    before, first, last, after = draw(script, [2.99, 3.0, 7.99, 8.0])[:, 48, 80].astype(int)
    wanted = np.array(COLOURS[colour])
    assert abs(first - wanted).max() <= 13 and abs(last - wanted).max() <= 13
    assert np.array_equal(before, after) and abs(before - wanted).max() > 30


def test_motion_growth_and_blinking_follow_the_script() -> None:
    move = Actor("square", "red", 0.0, 9.0, 40.0, 48.0, 12.0, Action("right", 2.0, 6.0, 60.0, "right"))
    assert [move.at(t) for t in (1.0, 4.0, 7.0)] == [(40, 48, 12), (70, 48, 12), (100, 48, 12)]
    grow = replace(move, action=Action("grows", 2.0, 6.0))
    radii = [place[2] for t in (1.0, 4.0, 8.0) if (place := grow.at(t))]
    assert radii == sorted(radii) and radii[2] / radii[0] == pytest.approx(1.8)
    blink = replace(move, action=Action("blinks", 2.0, 6.0))
    assert [blink.at(t) is None for t in (2.2, 2.7, 3.2, 3.7, 6.7)] == [False, True, False, True, False]


def test_a_turn_makes_two_things_of_one() -> None:
    turn = Actor("ring", "red", 1.0, 15.0, 80.0, 48.0, 15.0, Action("turns", 4.0, 8.0, colour="blue"))
    assert [round(turn.turned(t), 2) for t in (3.0, 5.0, 6.0, 9.0)] == [0.0, 0.25, 0.5, 1.0]
    red, blue = still(turn).shown
    assert (red.kind, red.start, red.end) == (("red", "ring"), 1.0, 6.0)
    assert (blue.kind, blue.start, blue.end, blue.action) == (("blue", "ring"), 6.0, 15.0, None)
    cut = still(turn).window(5.0, 20.0)
    assert [a.start for a in cut.shown] == [5.0, 6.0] and cut.shown[0].action == Action(
        "turns", 5.0, 8.0, colour="blue"
    )
    x = 80 + round(0.78 * 15)
    pixels = draw(still(turn), [3.0, 6.0, 9.0])[:, 48, x].astype(int)
    for pixel, share in zip(pixels, (0.0, 0.5, 1.0), strict=True):
        wanted = (1 - share) * np.array(COLOURS["red"]) + share * np.array(COLOURS["blue"])
        assert abs(pixel - wanted).max() <= 14


def test_passages_go_over_the_edge() -> None:
    found = dict.fromkeys(PASSAGES, 0)
    for seed in range(120):
        for actor in write_script(seed, 40.0).actors:
            if actor.action and actor.action.kind in PASSAGES:
                kind = actor.action.kind
                found[kind] += 1
                begin, end = actor.at(actor.start), actor.at(np.nextafter(actor.end, 0.0))
                assert begin and end
                outside = [not actor.radius <= place[0] <= WIDTH - actor.radius for place in (begin, end)]
                assert (
                    outside
                    == {"enters": [True, False], "leaves": [False, True], "crosses": [True, True]}[kind]
                )
                assert -actor.radius < min(begin[0], end[0]) and max(begin[0], end[0]) < WIDTH + actor.radius
    assert min(found.values()) > 20


def test_a_cut_changes_the_backdrop_and_a_caption_stands_while_it_should() -> None:
    scenes = Scene(0.0, "plain"), Scene(5.0, "stripes", 1)
    script = Script(4, 20.0, scenes, (), 0.0, (Caption("goal", 8.0, 12.0, 80.0, 48.0, 24.0, 0),))
    frames = draw(script, [1.0, 4.99, 5.0, 7.99, 8.0, 11.99, 12.0]).astype(int)
    assert np.array_equal(frames[0], frames[1]) and np.array_equal(frames[2], frames[3])
    assert abs(frames[1] - frames[2]).max() > 8
    assert np.array_equal(frames[4], frames[5]) and np.array_equal(frames[3], frames[6])
    changed = np.argwhere(abs(frames[3] - frames[4]).max(-1) > 60)
    assert changed.min(0)[0] > 30 and changed.max(0)[0] < 66 and np.ptp(changed[:, 1]) > 50
    labels = [step_labels(script, (t, t + 0.5)).reshape(3, 5, 5) for t in (7.0, 9.0)]
    assert not labels[0].any() and labels[1][1, 2].tolist() == [0, 0, 0, 0, 1 + WORDS.index("goal")]


def test_every_word_looks_like_no_other() -> None:
    pictures = [
        draw(Script(4, 9.0, PLAIN, (), 0.0, (Caption(word, 0.0, 9.0, 80.0, 48.0, 22.0, 0),)), [1.0])[0]
        for word in WORDS
    ]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert (abs(one.astype(int) - other).max(-1) > 60).sum() > 150


def test_labels_name_what_covers_a_cell() -> None:
    action = Action("left", 0.0, 5.0, 10.0, "left")
    script = still(Actor("star", "blue", 0.0, 9.0, 80.0, 48.0, 16.0, action))
    labels = step_labels(script, (1.0, 1.5)).reshape(3, 5, 5)
    shape, colour = 1 + SHAPES.index("star"), 1 + COLOUR_NAMES.index("blue")
    assert labels[1, 2].tolist() == [shape, colour, 1, 2, 0]
    assert not labels[0].any() and not labels[2].any()


def test_a_crowd_is_where_it_should_be_at_time_zero() -> None:
    for seed in range(20):
        for actor in crowd(seed).actors:
            place = actor.at(0.0)
            if place and not (actor.action and actor.action.kind in PASSAGES):
                assert -12 < place[0] < 172 and -12 < place[1] < 108 and 10 < place[2] < 21


def test_a_crowd_is_in_the_midst_of_all_actions() -> None:
    doing = dict.fromkeys(ACTIONS, 0)
    for seed in range(150):
        for actor in crowd(seed).actors:
            if actor.action:
                doing[actor.action.kind] += actor.action.start <= 0.0 < actor.action.end
                place = actor.at(0.0)
                if place and actor.action.kind in PASSAGES:
                    assert -actor.radius < place[0] < WIDTH + actor.radius and 0 < place[1] < HEIGHT
    assert min(doing.values()) > 15


@pytest.mark.parametrize("make", [lambda s: make_clip(s, 12), inside_window, outside_window])
def test_training_refuses_evaluation_seeds(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="kept for evaluation"):
        make(TRAINING_SEEDS)


def test_no_stage_can_reach_an_evaluation_seed_or_another_stage() -> None:
    stages = (PERCEPTION, *LESSONS)
    ends = [stage.first_seed + stage.updates * stage.batch for stage in stages]
    assert all(end <= later.first_seed for end, later in zip(ends, stages[1:], strict=False))
    assert ends[-1] <= FIRST_SEED
    assert FIRST_SEED + CLIPS <= GATE.first_seed < TRAINING_SEEDS
    assert perception_batch(0, 2).frames.shape == (2, 2, 96, 160, 3)


def test_a_filmed_script_reads_back_as_drawn(tmp_path: Path) -> None:
    script = Script(
        3, 4.0, (Scene(0.0, "clouds"),), (Actor("heart", "pink", 1.0, 3.0, 60.0, 50.0, 16.0),), 0.0
    )
    film(script, tmp_path / "x.mp4", rate=10, crf=18)
    with open_video(tmp_path / "x.mp4") as video:
        assert (video.info.width, video.info.height, len(video.info.frame_times)) == (320, 192, 40)
        assert video.info.duration == 4
        for frame in video.frames(video.info.frame_times[::7]):
            drawn = draw(script, [float(frame.time)], scale=2)[0]
            assert np.abs(drawn.astype(int) - frame.pixels).mean() < 3
