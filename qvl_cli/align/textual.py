"""Times in words, for checkpoints without a head: the model writes ranges and they are read tolerantly.

The score of a span is the product of the probabilities of the tokens that spell its numbers: the chance that
greedy decoding's words would be drawn at all. It is not calibrated, only ordered.

Where the free answer is neither a range nor a `never`, the model must choose: decoding starts over, allowed
to write nothing but `never` or `A - B` with A and B among the times of the watched steps. That is one more
prefill and two numbers' worth of tokens at most.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from qvl_cli.align import Aligned, ScoredSpan, Sentence
from qvl_cli.align.written import WrittenSpan, read_spans
from qvl_cli.generate import DecodeSettings, TokenStep, answer_settings
from qvl_cli.memory import stretches
from qvl_cli.prompts import locate_prompt
from qvl_cli.sampling import Step
from qvl_cli.timeline import TimeSpan, merge, prompt_seconds, subtract

if TYPE_CHECKING:
    from qvl_cli.model.load import LoadedModel
    from qvl_cli.stream import StreamSession


class TextualAligner:
    """Asks the checkpoint itself."""

    name = "text"

    def locate(self, session: StreamSession, event: str) -> Aligned:
        """Where the session cannot show every step at once, or the checkpoint says of itself that it finds
        times among so many steps and no more, the model is asked about one view after the other."""
        found = self._find(session, event)
        return replace(found, again=lambda other: self._find(other, event))

    def _find(self, session: StreamSession, event: str) -> Aligned:
        if not session.steps:
            return Aligned()
        views, steps = asked_at_once(session), len(session.steps)
        if views == [range(steps)]:
            return self._locate(session.fork(), session.steps, event)
        found: list[ScoredSpan] = []
        seen: set[Step] = set()
        troubles: Counter[str] = Counter()
        for view in views:
            shown = session.shown_with(view)
            seen.update(shown)
            part = self._locate(session.focus(view.start, view.stop), shown, event)
            found += part.spans
            troubles.update(part.warnings)
        warnings = [f"{trouble} (in {count} of {len(views)} views)" for trouble, count in troubles.items()]
        if unseen := steps - len(seen):
            warnings.append(f"{unseen} of {steps} steps have left the memory: no time was looked for in them")
        return Aligned(tuple(_joined(found)), tuple(warnings))

    def _locate(self, fork: StreamSession, steps: Sequence[Step], event: str) -> Aligned:
        """Times among `steps`, which `fork` sees; it is released."""
        warnings: list[str] = []
        try:
            settings = answer_settings(fork.model.spec)
            tokens = list(fork.ask(locate_prompt(event), settings))
            if len(tokens) >= settings.max_new_tokens:
                cut = f"cut off after {settings.max_new_tokens} tokens"
                warnings.append(f"the times the model wrote were {cut}")
            said = [step for step in tokens if not step.thinking]
            reading = read_spans("".join(step.text for step in said), event)
            warnings += _dropped("ends before it starts", reading.backwards)
            warnings += _dropped("stands behind a denial", reading.denied)
            if reading.spans is None:
                warnings.append("the model wrote no readable time: it was made to choose one range or none")
                choice = TimeChoice(fork.model, [prompt_seconds(step.t0, step.t1) for step in steps])
                forced = DecodeSettings(choice.longest, allowed=choice.allowed)
                said = [step for step in fork.ask(locate_prompt(event), forced) if not step.thinking]
                reading = read_spans("".join(step.text for step in said), event)
        finally:
            fork.release()
        written, times = reading.spans or (), WatchedTimes(steps)
        warnings += _unwatched(written, times)
        spans = to_steps([(span, probability(span, said)) for span in written], times)
        return Aligned(tuple(spans), tuple(warnings))

    def evidence(self, session: StreamSession, question: str, sentences: Sequence[Sentence]) -> list[Aligned]:
        return [self.locate(session, sentence.text) for sentence in sentences]


def asked_at_once(session: StreamSession) -> list[range]:
    """The steps that the model is asked about at once: what the session can show, or no more than the
    checkpoint's own `text_steps`, each but the outermost twice, so that what one view cuts the next one has
    whole."""
    most, shown = session.model.spec.text_steps, session.views
    if most is None or all(len(view) <= most for view in shown):
        return shown
    return stretches(range(shown[0].start, shown[-1].stop), most, max(most // 2, 1))


def _dropped(why: str, spans: Sequence[WrittenSpan]) -> list[str]:
    return [f"{_wrote(span)}, which {why}: left out" for span in spans]


def _unwatched(spans: Sequence[WrittenSpan], times: WatchedTimes) -> list[str]:
    told = []
    for span in spans:
        if not times.parts(span):
            told += _dropped("lies outside what was watched", [span])
        elif holes := times.holes(span):
            gaps = ", ".join(f"{float(hole.start):.1f} - {float(hole.end):.1f}" for hole in holes)
            told.append(f"{_wrote(span)}, of which {gaps} was not watched: left out")
    return told


def _wrote(span: WrittenSpan) -> str:
    return f"the model wrote {float(span.start):.1f} - {_end_text(span)}"


def _end_text(span: WrittenSpan) -> str:
    return "the end" if span.end is None else f"{float(span.end):.1f}"


def probability(span: WrittenSpan, tokens: Sequence[TokenStep]) -> float:
    """Product of the probabilities of the tokens that spell the numbers of `span`."""
    total, place = 0.0, 0
    for token in tokens:
        end = place + len(token.text)
        if any(place < last and first < end for first, last in span.characters):
            total += token.logprob
        place = end
    return math.exp(min(total, 0.0))


class WatchedTimes:
    """Written times -> spans of what was watched.

    A time that is printed in the prompt names its step: as a start it is the start of the step's interval, as
    an end the interval's end. Other times stand as written; an open end is the end of the last step.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = [step.interval for step in steps]
        self._starts = [each.start for each in self._steps]
        self._named = {Fraction(prompt_seconds(step.t0, step.t1)): step.interval for step in steps}
        self._areas = merge(self._steps)
        self._whole = TimeSpan(self._steps[0].start, self._steps[-1].end)

    def parts(self, written: WrittenSpan) -> list[TimeSpan]:
        """What of it was watched."""
        whole = self._range(written)
        return [part for area in self._areas if (part := whole.intersection(area))]

    def holes(self, written: WrittenSpan) -> list[TimeSpan]:
        """What of it lies between two watched steps and was not watched."""
        inside = self._range(written).intersection(self._whole)
        return subtract(inside, self._areas) if inside else []

    def _range(self, written: WrittenSpan) -> TimeSpan:
        start = self._named[written.start].start if written.start in self._named else written.start
        if written.end is None:
            end = max(start, self._whole.end)
        else:
            end = self._named[written.end].end if written.end in self._named else written.end
        if end <= start:  # one moment of an unprinted time: the step that was on screen
            at = self._steps[max(bisect_right(self._starts, start) - 1, 0)]
            start, end = (at.start, at.end) if start in at else (start, start)
        return TimeSpan(start, max(start, end))


def to_steps(written: Iterable[tuple[WrittenSpan, float]], times: WatchedTimes) -> list[ScoredSpan]:
    """Spans of what was watched, best first; those that touch become one, with the better score."""
    return _joined([ScoredSpan(part, score) for span, score in written for part in times.parts(span)])


def _joined(scored: Sequence[ScoredSpan]) -> list[ScoredSpan]:
    """Spans that touch as one, with the better score; best first."""
    joined = [
        ScoredSpan(span, max(each.score for each in scored if each.span.intersection(span)))
        for span in merge(each.span for each in scored)
    ]
    return sorted(joined, key=lambda each: (-each.score, each.span))


class TimeChoice:
    """The constraint `never | A - B`: which token may follow what has been written.

    Token tries over whole texts; `A - ` ends in its dash and `B` in an end token, so no text is a prefix of
    another. longest: the most tokens it can take.
    """

    def __init__(self, model: LoadedModel, times: Sequence[str]) -> None:
        encode: Callable[[str], list[int]] = model.codec.encode_text
        end = min(model.eos_ids)
        # A model that would think first is told that it has: its choice is wanted, not its reasons.
        opening = (model.think_close,) if model.opens_thinking and model.think_close is not None else ()
        self._opening = opening
        self._starts = {tuple(encode(f"{time} - ")): index for index, time in enumerate(times)}
        self._never = (*encode("never"), end)
        self._ends = [(*encode(time), end) for time in times]
        longest_start = max(map(len, (*self._starts, self._never)))
        self.longest = len(opening) + longest_start + max(map(len, self._ends))

    def allowed(self, written: Sequence[int]) -> Collection[int]:
        """The tokens that may follow `written`; never empty until an end token was written."""
        done = len(self._opening)
        if len(written) < done:
            return {self._opening[len(written)]}
        rest = tuple(written[done:])
        for start, index in self._starts.items():
            if rest[: len(start)] == start:
                return _next(rest[len(start) :], self._ends[index:])
        return _next(rest, [*self._starts, self._never])


def _next(written: tuple[int, ...], texts: Iterable[tuple[int, ...]]) -> set[int]:
    count = len(written)
    return {text[count] for text in texts if len(text) > count and text[:count] == written}
