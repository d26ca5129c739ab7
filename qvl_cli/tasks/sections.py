"""A sentence for each section of a video: at its end, or while it is watched, and one for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from qvl_cli.answer import Section
from qvl_cli.generate import DecodeSettings
from qvl_cli.prompts import Prompt, overview_prompt, reduce_prompt, section_prompt
from qvl_cli.sampling import Step
from qvl_cli.stream import StreamSession

_AT_ONCE = 20  # sentences that one sentence is made of


class Sections:
    """The sections written so far; cut_off: sentences that the model did not bring to their end.

    gapless: whether a section goes on over what no step stands for: over pages that were left out, but not
    over a hole in a video.
    """

    def __init__(self, settings: DecodeSettings, gapless: bool = False) -> None:
        self.sections: list[Section] = []
        self.cut_off = 0
        self._settings = settings
        self._gapless = gapless
        self._begun = 0  # the first step of the section that `watched` has not written yet

    def write(self, session: StreamSession, first: int, last: int) -> None:
        """A sentence about steps [first, last)."""
        steps = session.steps
        prompt = section_prompt(_shown(steps[first]), _shown(steps[last - 1]))
        span = (float(steps[first].interval.start), float(steps[last - 1].interval.end))
        focus = session.focus(first, last)
        try:
            self.sections.append(Section(*span, self._say(focus, prompt)))
        finally:
            focus.release()

    def coming(self, session: StreamSession, block: Sequence[Step], window: Fraction) -> None:
        """Called before a block is watched: writes the section that would no longer fit into the `window`
        seconds with it, or that ends where a hole begins."""
        pending = session.steps[self._begun :]
        if pending:
            grown = block[-1].interval.end - pending[0].interval.start
            if grown > window or self.forced([pending[-1], block[0]]):
                self.rest(session)

    def watched(self, session: StreamSession) -> None:
        """Called after every block: writes what a hole ends in its midst."""
        for cut in self.forced(session.steps):
            if cut > self._begun:
                self.write(session, self._begun, cut)
                self._begun = cut

    def rest(self, session: StreamSession) -> None:
        """All that is left as one section."""
        if self._begun < len(session.steps):
            self.write(session, self._begun, len(session.steps))
            self._begun = len(session.steps)

    def forced(self, steps: Sequence[Step]) -> list[int]:
        """Where a section has to begin, as indices into `steps`."""
        if self._gapless:
            return []
        ends = enumerate(pairwise(steps), start=1)
        return [at for at, (before, after) in ends if before.interval.end < after.interval.start]

    def overview(self, session: StreamSession) -> str:
        """One sentence for the whole: from the video where the session sees all of it, else from the
        sections."""
        if session.sees_all or not self.sections:
            return self._say(session, overview_prompt())
        if session.model.spec.has_world_gate:  # a model of a small world reads no sentences: they stand as is
            return " ".join(dict.fromkeys(each.text for each in self.sections))
        said = [f"{each.start:.1f}-{each.end:.1f} s: {each.text}" for each in self.sections]
        while True:
            groups = [said[i : i + _AT_ONCE] for i in range(0, len(said), _AT_ONCE)]
            said = [self._say(session, reduce_prompt(group)) for group in groups]
            if len(said) == 1:
                return said[0]

    def _say(self, session: StreamSession, prompt: Prompt) -> str:
        """The sentence; thoughts count among its tokens."""
        tokens = list(session.ask(prompt, self._settings))
        self.cut_off += len(tokens) >= self._settings.max_new_tokens
        return " ".join("".join(token.text for token in tokens if not token.thinking).split())


def _shown(step: Step) -> float:
    """The time the model has read in front of this step."""
    return float((step.t0 + step.t1) / 2)
