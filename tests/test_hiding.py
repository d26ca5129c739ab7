"""Captions of evaluation scripts hide no thing that may be asked about; nothing else of a script changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qvl_cli.tiny import scripts
from qvl_cli.tiny.draw import draw
from qvl_cli.tiny.hiding import BANDS, MOST_HIDDEN, hidden_share, unhide
from qvl_cli.tiny.lettering import caption_box
from qvl_cli.tiny.scripts import write_script
from qvl_cli.tiny.world import HEIGHT, TRAINING_SEEDS, WIDTH, Action, Actor, Caption, Scene, Script

BOXED = 3
SEEDS = range(TRAINING_SEEDS + 5_000, TRAINING_SEEDS + 5_120)


def scene(*actors: Actor, captions: tuple[Caption, ...] = ()) -> Script:
    return Script(1, 20.0, (Scene(0.0, "plain"),), actors, 0.0, captions)


def under(script: Script, index: int, time: float) -> float:
    """The share of an actor's pixels that captions change, from pictures with and without either."""
    others = tuple(actor for i, actor in enumerate(script.actors) if i != index)
    bare = replace(script, actors=others, captions=())
    without, shown, hidden = (
        draw(each, [time])[0].astype(int)
        for each in (bare, replace(script, captions=()), replace(script, actors=script.actors))
    )
    mine = abs(shown - without).max(-1) > 30
    return float((abs(hidden - shown).max(-1) > 12)[mine].mean()) if mine.any() else 0.0


@pytest.mark.parametrize("dx", [0.0, 20.0, 45.0, 80.0])
@pytest.mark.parametrize("style", [0, BOXED])
def test_the_hidden_share_is_what_pictures_show(dx: float, style: int) -> None:
    caption = Caption("north", 2.0, 9.0, 60.0, 48.0, 20.0, style)
    script = scene(Actor("square", "red", 0.0, 12.0, 60.0 + dx, 48.0, 14.0), captions=(caption,))
    assert hidden_share(script, caption) == pytest.approx(under(script, 0, 5.0), abs=0.08)
    later = replace(caption, start=12.0, end=15.0)
    assert hidden_share(script, later) == 0.0


def test_a_thing_counts_where_it_is_when_it_is_hidden_most() -> None:
    moves = Action("right", 2.0, 10.0, 80.0, "right")
    caption = Caption("stop", 4.0, 7.0, 80.0, 48.0, 24.0, BOXED)
    passing = scene(Actor("circle", "blue", 0.0, 12.0, 40.0, 48.0, 13.0, moves), captions=(caption,))
    most = max(under(passing, 0, time) for time in np.arange(4.0, 7.0, 0.5))
    assert hidden_share(passing, caption) == pytest.approx(most, abs=0.08) and most > 0.8


def test_a_caption_moves_only_where_it_hides_a_thing_and_then_where_it_hides_the_least() -> None:
    actor = Actor("circle", "red", 0.0, 12.0, 80.0, 48.0, 14.0)
    beside, over = (Caption("stop", 2.0, 9.0, 80.0, y, 24.0, BOXED) for y in (15.0, 48.0))
    untouched = scene(actor, captions=(beside,))
    assert unhide(untouched) == untouched
    (moved,) = unhide(scene(actor, captions=(over,))).captions
    assert hidden_share(untouched, moved) == 0.0 and (moved.y, moved.x) != (over.y, over.x)
    assert replace(moved, x=over.x, y=over.y) == over


def test_a_caption_that_would_hide_something_everywhere_is_left_out() -> None:
    crowd = [
        Actor("square", "red", 0.0, 12.0, x, y, 14.0) for x in range(0, WIDTH + 1, 20) for y in (*BANDS,)
    ]
    caption = Caption("closed", 2.0, 9.0, 80.0, 48.0, 26.0, BOXED)
    assert unhide(scene(*crowd, captions=(caption,))).captions == ()


def test_evaluation_scripts_hide_nothing_and_are_otherwise_as_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    clear = [write_script(seed, 60.0) for seed in SEEDS]
    monkeypatch.setattr(scripts, "unhide", lambda script: script)
    drawn = [write_script(seed, 60.0) for seed in SEEDS]
    worst = [max((hidden_share(s, c) for c in s.captions), default=0.0) for s in drawn]
    assert sum(share > MOST_HIDDEN for share in worst) >= 3
    for before, after, share in zip(drawn, clear, worst, strict=True):
        assert all(hidden_share(after, caption) <= MOST_HIDDEN for caption in after.captions)
        assert replace(before, captions=()) == replace(after, captions=())
        assert (before == after) == (share <= MOST_HIDDEN)
        for caption in after.captions:
            rows, columns, masks = caption_box(caption, scale=1)
            assert 0 <= rows.start < rows.stop <= HEIGHT and 0 <= columns.start < columns.stop <= WIDTH
            assert masks[0].shape[1] == columns.stop - columns.start


def test_training_scripts_are_what_the_weights_were_made_from() -> None:
    shares = [
        hidden_share(script, caption)
        for script in (write_script(seed, 60.0) for seed in range(40))
        for caption in script.captions
    ]
    assert sum(share > MOST_HIDDEN for share in shares) >= 3
