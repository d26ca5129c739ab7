"""A video -> timed sections, each with a sentence, and one sentence for the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from qvl_cli.generate import DecodeSettings
from qvl_cli.sampling import Step
from qvl_cli.stream import StreamSession
from qvl_cli.tasks import Findings
from qvl_cli.tasks.sections import Sections

Floats = npt.NDArray[np.float64]


def summarize(
    session: StreamSession,
    settings: DecodeSettings,
    on_progress: Callable[[int, int], None],
    written: Sections | None = None,
    gapless: bool = False,
) -> Findings:
    """`on_progress(done, total)` hears of every sentence written. written: sections that were written while
    the video was watched, where the session has let it go since. gapless: see `Sections`."""
    steps = session.steps
    if written is None:
        written = Sections(settings, gapless)
        features = session.features[:, -1].cpu().double().numpy()
        cuts = section_starts(features, steps, written.forced(steps))
        for number, (first, last) in enumerate(zip(cuts, [*cuts[1:], len(steps)], strict=True)):
            on_progress(number, len(cuts) + 1)
            written.write(session, first, last)
    on_progress(len(written.sections), len(written.sections) + 1)
    text = written.overview(session)
    warnings: tuple[str, ...] = ()
    if written.cut_off:
        were = "sentence was" if written.cut_off == 1 else "sentences were"
        warnings = (f"{written.cut_off} {were} cut off after {settings.max_new_tokens} tokens",)
    return Findings(text, found=bool(written.sections), sections=tuple(written.sections), warnings=warnings)


def section_starts(features: Floats, steps: Sequence[Step], forced: Sequence[int] = ()) -> list[int]:
    """Where sections begin, as indices into `steps`; the first is 0. forced: others that are given. Pure and
    deterministic.

    features [n, d]: one vector per step. A boundary lies where the mean feature of the seconds behind differs
    most from that of the seconds ahead (TextTiling's valleys, by cosine on standardised features), strongest
    first, as long as both neighbours stay at least the shortest section away; then sections longer than the
    longest are cut at their strongest inner boundary. The lengths follow the duration: see `section_lengths`.
    """
    if not steps:
        return []
    begins = [step.interval.start for step in steps]
    ends = [step.interval.end for step in steps]
    shortest, longest = section_lengths(sum((step.interval.duration for step in steps), Fraction(0)))
    change = novelty(features, max(1, _steps_within(steps, shortest) // 2))
    order = sorted(range(1, len(steps)), key=lambda at: (-change[at], at))
    threshold = float(change[1:].mean() + change[1:].std()) if len(steps) > 1 else 0.0
    cuts = [0, *forced]

    def room(at: int) -> bool:
        return ends[-1] - begins[at] >= shortest and all(
            abs(begins[at] - begins[cut]) >= shortest for cut in cuts
        )

    # Strictly above: where nothing ever changes no place is better than another, and there is no boundary.
    for at in order:
        if change[at] > threshold and room(at):
            cuts.append(at)
    while True:
        cuts.sort()
        stops = [*cuts[1:], len(steps)]
        long = [(a, b) for a, b in zip(cuts, stops, strict=True) if ends[b - 1] - begins[a] > longest]
        inner = next(([at for at in order if a < at < b and room(at)] for a, b in long), None)
        if not inner:
            return cuts
        cuts.append(inner[0])


def section_lengths(duration: Fraction) -> tuple[Fraction, Fraction]:
    """(shortest, longest) section for a video: 1/16 and 1/4 of it, within 3 s to 3 min and 15 s to 15 min."""
    shortest = min(max(duration / 16, Fraction(3)), Fraction(180))
    return shortest, min(max(duration / 4, Fraction(15)), Fraction(900))


def novelty(features: Floats, width: int) -> Floats:
    """[n, d] -> [n]: cosine distance between the means of `width` steps before each step and from it on."""
    count = len(features)
    change = np.zeros(count)
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    total = np.vstack([np.zeros((1, features.shape[1])), scaled.cumsum(axis=0)])
    for at in range(1, count):
        before, after = max(0, at - width), min(count, at + width)
        left = (total[at] - total[before]) / (at - before)
        right = (total[after] - total[at]) / (after - at)
        size = float(np.linalg.norm(left) * np.linalg.norm(right))
        change[at] = 1 - float(left @ right) / size if size > 1e-12 else 0.0
    return change


def _steps_within(steps: Sequence[Step], seconds: Fraction) -> int:
    """How many steps a stretch of `seconds` has on average."""
    covered = sum((step.interval.duration for step in steps), Fraction(0))
    return int(seconds * len(steps) / covered) if covered else 1
