"""Captions that hide what else is on screen, and where to put them so that they do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from qvl_cli.tiny.draw import actor_coverage
from qvl_cli.tiny.lettering import caption_box
from qvl_cli.tiny.world import HEIGHT, WIDTH, Caption, Script

BANDS = (15.0, 48.0, 81.0)  # centres of captions, world units from the top
MOST_HIDDEN = 0.5  # of what a thing shows in the picture; with less of it left it is not sure what it is
_EVERY = 0.25  # seconds between looks; a thing that blinks is seen twice while it shows


def unhide(script: Script) -> Script:
    """The script with each caption that hides a thing moved to where it hides the least, or left out where
    there is no such place."""
    captions = (_moved(script, caption) for caption in script.captions)
    return replace(script, captions=tuple(caption for caption in captions if caption))


def hidden_share(script: Script, caption: Caption) -> float:
    """How much of any actor the caption covers at most, at any time: 0 to 1 of its pixels in the picture."""
    rows, columns, masks = caption_box(caption, scale=1)
    covered = np.zeros((HEIGHT, WIDTH), np.float32)
    covered[rows, columns] = np.maximum(*masks)
    most = 0.0
    for index, actor in enumerate(script.actors):
        for time in np.arange(max(actor.start, caption.start), min(actor.end, caption.end), _EVERY):
            if shown := actor_coverage(script, index, float(time), scale=1):
                *place, alpha = shown
                most = max(most, float((alpha * covered[tuple(place)]).sum() / max(alpha.sum(), 1e-9)))
    return most


def _moved(script: Script, caption: Caption) -> Caption | None:
    if hidden_share(script, caption) <= MOST_HIDDEN:
        return caption
    places = list(_elsewhere(caption))
    shares = [hidden_share(script, place) for place in places]
    clearest = int(np.argmin(shares))
    return places[clearest] if shares[clearest] <= MOST_HIDDEN else None


def _elsewhere(caption: Caption) -> Iterator[Caption]:
    """The caption at each height, where it was drawn and at the left, in the middle and at the right."""
    columns = caption_box(caption, scale=1)[1]
    half = (columns.stop - columns.start) / 2
    for y in BANDS:
        for x in (caption.x, half, WIDTH / 2, WIDTH - half):
            yield replace(caption, x=x, y=y)
