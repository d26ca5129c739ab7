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
from qvl_cli.timeline import TimeSpan, merge, prompt_seconds

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
        written = reading.spans or ()
        areas = merge(step.interval for step in steps)
        outside = [span for span in written if not any(_reaches(span, area) for area in areas)]
        warnings += _dropped("lies outside what was watched", outside)
        spans = to_steps([(span, probability(span, said)) for span in written], steps)
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
    return [
        f"the model wrote {float(span.start):.1f} - {_end_text(span)}, which {why}: left out"
        for span in spans
    ]


def _reaches(span: WrittenSpan, area: TimeSpan) -> bool:
    return span.start < area.end and (span.end is None or span.end >= area.start)


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


def to_steps(written: Iterable[tuple[WrittenSpan, float]], steps: Sequence[Step]) -> list[ScoredSpan]:
    """Written times -> spans of what was watched, best first.

    A time that is printed in the prompt names its step: as a start it is the start of the step's interval, as
    an end the interval's end. Other times stand as written; an open end is the end of the last step. Spans
    are cut to the watched steps, and those that touch become one, with the better score.
    """
    named = {Fraction(prompt_seconds(step.t0, step.t1)): step.interval for step in steps}
    watched = merge(step.interval for step in steps)
    starts = [step.interval.start for step in steps]
    scored: list[ScoredSpan] = []
    for span, score in written:
        start = named[span.start].start if span.start in named else span.start
        if span.end is None:
            end = max(start, steps[-1].interval.end)
        else:
            end = named[span.end].end if span.end in named else span.end
        if end <= start:  # one moment of an unprinted time: the step that was on screen
            at = steps[max(bisect_right(starts, start) - 1, 0)].interval
            start, end = (at.start, at.end) if start in at else (start, start)
        whole = TimeSpan(start, max(start, end))
        scored += [ScoredSpan(part, score) for area in watched if (part := whole.intersection(area))]
    return _joined(scored)


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
