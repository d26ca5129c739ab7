"""What a text denies: its `never`, and the ranges that only say where something is not.

A denial takes the ranges of its own clause, before it or behind it, and no others: `it is not visible at
first, then appears from 12.5 to 20.0`. Behind a range it counts only where the clause begins with that range
(`between 0 and 61 s no van stops`), for `a man walks from 5 to 12 s, no car is visible` denies nothing.

A `never` that is the first word and a sentence takes what follows, too: `Never. From 0 to 139 s it is dark.`

A `not` in front of any word may be what was asked about (`the van does not move`). In front of a word of the
event itself it is a denial (`a van stops`: `the van does not stop`), unless the event holds a `not`, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Place = tuple[int, int]  # [start, end) of characters

_CLAUSE_END = re.compile(
    r"[.!?](?=[\s\"')\]*]|$)|[;\n]|(?:\band\s+)?\bthen\b|(?<!\bnothing\s)\bbut\b"
    r"|\b(?:however|instead|whereas)\b",
    re.IGNORECASE,
)
_BESIDE = r"(?<!\bwith )(?<!\bin )(?<!\bby )(?<!\bto )(?<!\bfor )"  # `a man walks with no one near`
_NO = (
    rf"{_BESIDE}\bno"
    r"(?!\s+(?:\d|(?:longer|matter|doubt|sooner|later|earlier|more|less|other|further)\b))\s+"
)
_NOBODY = rf"{_BESIDE}\b(?:nobody|no[\s-]one|nothing)(?!\s+(?:but|else|other|more)\b)"
_NOT = r"\b(?:do|does|did|is|was|are|were|has|have|had)(?:\s+not|n['’]t)"
_CANNOT = r"\b(?:cannot|can\s+not|can['’]t|could\s+not|couldn['’]t|unable\s+to)"
_SEEN = r"(?:shown|visible|present|seen|found|detected)"
_APPEAR = (
    r"(?:happen|occur|appear|take\s+place|exist|show|contain|shown|visible|present|seen|found|detected"
    r"|in\s+the\s+video|there\b)\w*"
)
_APPEARS = (
    r"(?:(?:happen|occur|appear|exist|emerge|enter|leave|arrive|start|stop|begin|end|show)s?|takes?\s+place"
    rf"|comes?|{_SEEN})\b"
)
# `not visible at first`, `not seen again`: of other times than the range beside it.
_OTHERWISE = (
    r"(?!\s+(?:at\s+first|initially|(?:at|in)\s+the\s+(?:start|beginning)|again|any\s?more|yet|elsewhere"
    r"|otherwise|afterwards|outside|(?:at|in)\s+any\s+other|before(?!\s+\W*\d))\b)"
)
_FEW = r"(?:\w+\s+){0,2}?"
_DENIAL = re.compile(
    rf"(?:{_NOT}\s+{_FEW}{_APPEAR}{_OTHERWISE}|{_NOT}\s+any\b"
    rf"|{_CANNOT}\s+{_FEW}(?:{_SEEN}|find|see|detect|locate|identify)\b{_OTHERWISE}"
    rf"|\b(?:I|we)\s+(?:do|did)(?:\s+not|n['’]t)\s+{_FEW}(?:see|find|detect|notice)\b{_OTHERWISE}"
    rf"|\bthere(?:\s+(?:is|are|was|were)|['’]s)\s+{_NO}"
    rf"|(?:\b(?:video|clip|footage|recording|it|seconds?|secs?|s)|\d)[)\]>*]*\s+(?:shows?|contains?)\s+{_NO}"
    rf"|{_NOBODY}\s+\w|{_NO}[^,:]{{0,60}}?\b{_APPEARS}{_OTHERWISE}"
    rf"|(?:^|[,:])[\s\"'*_(-]*{_NO}(?:[^\W\d]+\s+){{2}}"
    rf"|\bnever\s+(?:\w+\s+)?{_APPEARS}{_OTHERWISE}"
    # These take no range in front of them.
    r"|(?P<before>\b(?:never(?!-|\s+mind\b)|(?:is|are|was|were|found)\s+none|none\s+of|not\s+found"
    r"|no(?:\s+such)?\s+(?:events?|moments?|ranges?|times?|matches|occurrences?)"
    rf"|not\s+(?:{_SEEN}|from|at|in|between|during))\b{_OTHERWISE}))",
    re.IGNORECASE,
)
# Of a whole line, or in place of times.
_NOTHING = re.compile(
    r"^\W*(?:never|none|null|no|n/a)\W*$|^\s*\[\s*\]\s*$"
    r"|\b(?:start|begin|from|end|stop|until|ranges?|times?|timestamps?|moments?|intervals?|answers?|results?)"
    r"[_ ]?\w*[\"'*_]*\s*[:=]\s*[\"'*\[(]*(?:none|null)\b",
    re.IGNORECASE | re.MULTILINE,
)
# The word that the prompt asks for: what follows says why, until it is taken back.
_VERDICT = re.compile(r"^\W*never\s*[\"'*`]*(?:[.,;:!\n–—]|\s-)", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"(?<!\bnothing )\bbut\b(?!\s+for)|\b(?:however|except|unless|wait|correction)\b", re.IGNORECASE
)
_LIFTED = re.compile(
    r"\b(?:except|only|other\s+than|apart\s+from|outside|until)\b"
    rf"|,\s*(?:it|he|she|they|the(?:\s+\w+){{1,2}})\s+(?:is|was|{_APPEARS})",
    re.IGNORECASE,
)
# Words that say no more than where in the video.
_FRAME = re.compile(
    r"the|a|this|that|in|of|at|on|to|from|between|during|for|until|and|or|video|clip|footage|recording|segment|interval"
    r"|range|period|time|whole|entire|full|long|seconds?|secs?|s|minutes?|mins?|m|h|hours?|answer|throughout|within",
    re.IGNORECASE,
)
_DENYING = re.compile(r"\b(?:no|not|never|nobody|nothing|none|without)\b|n['’]t\b", re.IGNORECASE)
_DOUBLED = re.compile(r"([^\W\d_])(?=\1$)", re.IGNORECASE)
_ENDING = re.compile(r"(?:ing|ed|es|s|e)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Clause:
    start: int
    text: str
    denials: tuple[re.Match[str], ...]


class Denials:
    """The denials of one text. event: what it was asked about; a `not` in there denies nothing."""

    def __init__(self, text: str, event: str = "") -> None:
        same = re.compile(rf"(?<!\w){re.escape(event)}(?!\w)", re.IGNORECASE)
        text = same.sub(_hidden, text) if event else text
        kinds = [_DENIAL, *_undoing(event)]
        self._nothing = _NOTHING.search(text) is not None
        self._never_until = _end_of_verdict(text)
        self._clauses: list[_Clause] = []
        start = 0
        for stop, following in [
            *((end.start(), end.end()) for end in _CLAUSE_END.finditer(text)),
            (len(text), 0),
        ]:
            part = text[start:stop]
            found = [denial for kind in kinds for denial in kind.finditer(part)]
            self._clauses.append(_Clause(start, part, tuple(found)))
            start = following

    def __bool__(self) -> bool:
        """Whether the text says anywhere that something is not there."""
        return self._nothing or any(clause.denials for clause in self._clauses)

    def deny(self, place: Place) -> bool:
        """Whether a denial takes the range at `place`, which stands in one clause or in several."""
        if place[0] < self._never_until:
            return True
        clause = max((each for each in self._clauses if each.start <= place[0]), key=lambda each: each.start)
        first, last = place[0] - clause.start, place[1] - clause.start
        return any(_takes(denial, clause.text, first, last) for denial in clause.denials)


def _end_of_verdict(text: str) -> int:
    """Up to which character a text that begins with `never` means just that."""
    if not (verdict := _VERDICT.match(text)):
        return 0
    back = _TAKEN_BACK.search(text, verdict.end())
    return back.start() if back else len(text)


def _takes(denial: re.Match[str], clause: str, first: int, last: int) -> bool:
    if denial.start() < first:
        return not _LIFTED.search(clause[denial.end() : first])
    if denial.groupdict().get("before") is not None or not _frames(clause[:first]):
        return False
    *parted, _ = re.split(r",|\band\b", clause[last : denial.start()])
    return all(map(_frames, parted))


def _undoing(event: str) -> list[re.Pattern[str]]:
    """What denies a word of the event, in any of its regular forms."""
    if _DENYING.search(event):
        return []
    words = [word for word in re.findall(r"[^\W\d_]+", event) if not _FRAME.fullmatch(word)]
    stems = [stem if len(stem := _ENDING.sub("", word)) > 1 else word for word in words]
    # `stopping` doubles its last letter, `stop` does not.
    forms = "|".join(f"{re.sub(_DOUBLED, '', stem)}{stem[-1]}?" for stem in stems)
    if not forms:
        return []
    denied = rf"{_NOT}\s+(?:(?:\w+ly|ever)\s+)?(?:{forms})(?:e|es|s|ed|ing)?\b{_OTHERWISE}"
    return [re.compile(denied, re.IGNORECASE)]


def _frames(text: str) -> bool:
    return all(_FRAME.fullmatch(word) for word in re.findall(r"[^\W\d_]+", text))


def _hidden(event: re.Match[str]) -> str:
    """Its words, but none that could be read."""
    return re.sub(r"\S", "x", event[0])
