"""Times as models write them -> spans. Pure text; no model.

Checkpoints were taught several formats and mix them freely: `12.5 - 20.0`, `<12.5 seconds> to <20 seconds>`,
`00:12.5 --> 00:20`, `{"start": "00:12.50", "end": ...}`, `[[12.5, 20.0]]`, `from 1 min 5 s until 70 s`.
Numbers also count things (`2-3 people`, `a 4-1 win`, `scenes 3 to 5`): a number without a unit is a time only
where the words around it let it be one, and gives way to times that carry a unit, a clock's colon or a tag.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from qvl_cli.align.commas import with_points
from qvl_cli.align.denials import Denials, Place
from qvl_cli.align.notation import AND, BETWEEN, DASH, HOURS, MINUTES, SECONDS

# One time. A bare number has no unit; which one it means is settled by its surroundings (seconds).
_JOINED = rf"\s*,?\s*(?:(?:{AND})\s*)?"  # 1 min and 5 s
_TIME = (
    r"(?:"
    r"(?:(?P<{0}h>\d+):)?(?P<{0}m>\d+):(?P<{0}s>\d{{2}}(?:[.,]\d+)?)"  # 1:02:03,5 / 02:03
    rf"|(?:(?P<{{0}}hh>\d+(?:\.\d+)?)\s*{HOURS}{_JOINED})?"  # 1 h 1 min 5 s
    rf"(?P<{{0}}mm>\d+(?:\.\d+)?)\s*{MINUTES}(?:{_JOINED}(?P<{{0}}ms>\d+(?:\.\d+)?)\s*{SECONDS})?"
    rf"|(?P<{{0}}hc>\d+(?:\.\d+)?)\s*{HOURS}"
    rf"|(?P<{{0}}mc>\d+)m(?P<{{0}}sc>\d+(?:\.\d+)?){SECONDS}"  # 1m5s
    r"|(?P<{0}n>\d{{1,3}}(?:,\d{{3}})+\.\d+|\d+(?:\.\d+)?)"  # 1,234.5
    rf"(?:\s*{SECONDS})?"
    r")"
)
_OPEN, _CLOSE = r"[<\"'\[(*`]*\s*", r"\s*[>\"'\])*`]*"
_BETWEEN = rf"(?:{DASH}|\band\b)"
_LINE_ENDS = r"[^\S\n]*[>\"'\])*`]*[^\S\n]*\n"  # a dash on the next line is that one's bullet
_BARE_END = r"(?!\d|:\d|[.,]\d|\s*%)"
_NOT_BEFORE = r"(?<![\d.:])(?<!\d,)"


def _time(name: str) -> str:
    return _TIME.format(name)


_PAIR = re.compile(
    rf"{_NOT_BEFORE}{_time('a')}(?!{_LINE_ENDS}){_CLOSE}\s*(?:{DASH}|(?P<link>{AND}|\ba\b|[和与]))\s*"
    rf"(?:(?:end(?:s|ing)?\s+)?(?:at\s+|about\s+)|end(?:s|ing)?\s+)?{_OPEN}{_time('b')}{_BARE_END}",
    re.IGNORECASE,
)
_ARRAY = re.compile(
    rf"[\[(]\s*[\"']?{_time('a')}[\"']?\s*,\s*[\"']?{_time('b')}[\"']?\s*[\])]",
    re.IGNORECASE,
)
_START_KEY, _END_KEY = r"(?:start|begin|from)\w*(?: time)?", r"(?:end|stop|until|to)\w*(?: time)?"
_OBJECT = re.compile(
    rf"[\"']?{_START_KEY}[\"'*_]*\s*[:=]\s*{_OPEN}{_time('a')}(?![.,]?\d){_CLOSE}[^{{}}\n]*?(?:\n[^{{}}]*?)?"
    rf"[\"']?(?<![^\W_]){_END_KEY}[\"'*_]*\s*[:=]\s*{_OPEN}{_time('b')}(?![.,]?\d)",
    re.IGNORECASE,
)
# `enters at <12.5 seconds> and leaves at <20.0 seconds>`, but not `and again at`, nor in two sentences.
_TAGGED = re.compile(
    rf"<\s*{_time('a')}\s*>(?P<gap>(?:(?!\bagain\b|\balso\b|[.!?;]\s)[^<>\n]){{0,80}}?)<\s*{_time('b')}\s*>",
    re.IGNORECASE,
)
_SAYS = re.compile(r"\b(?!(?:and|or|then|at)\b)[^\W\d_]{2,}", re.IGNORECASE)  # more than a list of times does
_SPANNING = re.compile(rf"{BETWEEN}\s+(?:about\s+)?[<\"'\[(*`]*\s*$", re.IGNORECASE)
_SPANNING_A = re.compile(r"\b(?:de|da|dal|dalle|desde)\s+$", re.IGNORECASE)  # de 12 a 40 segundos
_SPANNED = re.compile(r"\s*之?间")  # 在5秒和9秒之间
# `to the end of the video`: its end is not written.
_FILM = r"(?:video|clip|footage|recording|film|movie|segment)"
_FILM_END = (
    rf"(?:the\s+)?(?:(?:very\s+)?end\b(?!\s*[:=]|\s*(?:at\s+)?[<\"'\[(*]*\d|\s+time|\s+of\b(?!\s+(?:(?:the|this)\s+)?{_FILM}))"
    rf"(?:\s+of\s+(?:(?:the|this)\s+)?{_FILM}\b)?|{_FILM}\s+(?:ends|stops|finishes|is\s+over)\b)"
)
_TO_END = re.compile(
    rf"{_NOT_BEFORE}{_time('a')}{_CLOSE}\s*"
    rf"(?:(?!\band\b){_BETWEEN}\s*[<\"'\[(*`]*(?P<open>{_FILM_END})|onwards?\b)",
    re.IGNORECASE,
)
# `starts at 5.0 seconds and ends at 12.0 seconds`: within a sentence, no other time between.
_NEAR = r"(?:(?:about|around|approximately|roughly|exactly|the|time|timestamp)\s+)*"
_ENDS = (
    r"(?:end(?:s|ed|ing)?|stop(?:s|ped|ping)?|finish(?:es|ed|ing)?|conclud(?:es|ed|ing)|leav(?:es?|ing)|left"
    r"|disappear(?:s|ed|ing)?|vanish(?:es|ed|ing)?|exit(?:s|ed|ing)?|fad(?:es|ed|ing)|last\s+seen)"
)
_OTHER_TIME = rf"\d[\d.]*\s*(?:{SECONDS}|{MINUTES}|{HOURS})|\d:\d|\bat\s+{_OPEN}\d"
_LASTING = re.compile(
    rf"\b(?:at|from|around|about|after|@)\s+{_NEAR}{_OPEN}{_time('a')}(?![.,]?\d){_CLOSE}"
    rf"(?:(?!\b(?:again|also)\b|[.!?](?:\s|$)|{_OTHER_TIME})[^<>\n]){{0,60}}?"
    rf"(?:(?:\b{_ENDS}\b(?:(?!\b(?:again|also)\b)[^.\d<>\n]){{0,30}}?\b(?:at|by|around|about|@)"
    rf"|\b(?:until|till|through))\s+{_NEAR}{_OPEN}{_time('b')}{_BARE_END}"
    rf"|\b(?:until|till|to|through)\s+(?P<open>{_FILM_END}))",
    re.IGNORECASE,
)
# One time alone is believed only where the words or the brackets say that it is one.
_SINGLE = re.compile(
    rf"(?:<\s*{_time('a')}\s*>|\b(?:at|around|about|@)\s+{_OPEN}{_time('b')}{_BARE_END}"
    rf"|^\s*(?:[-*•]\s+|\d+[.)]\s+)?{_time('c')}\s*\.?\s*$"
    rf"|{_NOT_BEFORE}{_time('d')}(?<=[a-zа-яё秒초])"
    rf"|(?:[,;&]|\band\b|\bor\b)\s*(?:at\s+)?{_OPEN}{_time('e')}(?:(?<=:\d\d)|(?<=:\d\d\.\d))(?!\d))",
    re.IGNORECASE | re.MULTILINE,
)

_MOST_DIGITS = 12  # of a number with its point: more are no time of any video

# What makes the number in front of it a time.
_MARK = re.compile(rf"\s*(?:{SECONDS}|{MINUTES}|>)", re.IGNORECASE)
_WORD_AFTER = re.compile(r"[*_`]*[ \t]*-?([^\W\d_]+)")
_WORD_BEFORE = re.compile(r"([^\W\d_]+)[ \t]*$")
_NUMBER_AFTER = re.compile(r"\s*(?:,|;|&|and\b|or\b)\s*(?:and\b\s*|from\b\s*)?\d", re.IGNORECASE)
# What is numbered or scored: `scenes 3 to 5`, `the score is 4-1`.
_LABEL_BEFORE = re.compile(
    r"\b(?:(?:frame|scene|shot|chapter|page|step|episode|level|round|row|lap|player|question|number|line|image"
    r"|picture|photo|slide|verse|item)s?\s+(?:from\s+)?|scor(?:e|es|ed|ing)\s+(?:is\s+|was\s+|of\s+)?)#?$",
    re.IGNORECASE,
)
_LINE_START = re.compile(r"(?:^|\n)[^\w\n]*(?:\d+[.)][^\w\n]+)?$")
# Words that go on with the sentence after a time; any other word there is what the number counts.
_GOING_ON = re.compile(
    r"and|or|then|but|so|when|while|as|where|which|who|in|on|at|during|with|within|without|after|before|until"
    r"|till|to|from|the|a|an|he|she|it|they|we|you|there|here|this|that|these|those|his|her|its|their|is|are"
    r"|was|were|has|have|if|for|by|into|through|respectively|only|again|also|both|inclusive|approximately"
    r"|no|nobody|nothing|not|never|roughly",
    re.IGNORECASE,
)
# Words that bring a time in.
_BRINGING = re.compile(
    r"from|between|during|at|in|around|about|within|and|or|then|also|again|approximately|roughly|until|till|to"
    r"|is|are|seconds?|times?|timestamps?|ranges?|intervals?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class WrittenSpan:
    """A range as read: seconds, and where in the text its numbers stand. end: None where it is the end of
    the video, of which the caller knows the time."""

    start: Fraction
    end: Fraction | None
    characters: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says of times.

    spans: every range in the order of the text; () where the text says `never`; None where it says neither.
    backwards: ranges left out because they end before they start; denied: because a denial takes them, which
    counts where no range is left. A single time gives a span of no length: the caller knows the steps.
    """

    spans: tuple[WrittenSpan, ...] | None
    backwards: tuple[WrittenSpan, ...] = ()
    denied: tuple[WrittenSpan, ...] = ()


def read_spans(text: str, event: str = "") -> Reading:
    """Read what a model wrote, in whatever format, prose included. event: what it was asked about; a `not` in
    there denies nothing."""
    denials = Denials(text, event)
    text = with_points(text)
    taken: list[Place] = []
    found: list[WrittenSpan] = []
    doubtful: list[WrittenSpan] = []  # stand only where nothing better does
    backwards: list[WrittenSpan] = []
    for pattern in (_OBJECT, _ARRAY, _PAIR, _TAGGED, _LASTING, _TO_END, _SINGLE):
        if pattern is _SINGLE and not all(denials.deny(_place(span)) for span in found):
            break  # beside whole ranges, a lone time is a remark
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            if pattern is _PAIR and match["link"] and not _spans(match):
                continue
            if pattern is _TAGGED and not _SAYS.search(match["gap"]):
                continue
            open_end = pattern is _TO_END or (pattern is _LASTING and match["open"] is not None)
            names = "a" if open_end else "ab"
            written = _single(match) if pattern is _SINGLE else [_read(match, name) for name in names]
            if not written or None in written:
                continue
            parts = [part for part in written if part]
            start, end = _same_unit(match, parts[0], parts[-1]) if len(parts) == 2 else (parts[0], parts[0])
            loose = pattern in (_PAIR, _LASTING, _TO_END, _SINGLE)
            if loose and _counts(match, start[1], end[1]):
                continue
            kept = doubtful if loose and _may_count(match, start[1], end[1]) else found
            taken.append(match.span())
            places = tuple(dict.fromkeys((start[1], end[1])))
            span = WrittenSpan(start[0], None if open_end else end[0], places)
            (backwards if end[0] < start[0] else kept).append(span)
    found = found or doubtful
    found.sort(key=lambda span: span.characters)
    denied = tuple(span for span in found if denials.deny(_place(span)))
    left = tuple(span for span in found if span not in denied)
    return Reading(left or (() if denied or denials else None), tuple(backwards), denied)


def _spans(match: re.Match[str]) -> bool:
    """Whether the words around two times make a range of them where what is between does not."""
    before, link = match.string[: match.start()], match["link"].lower()
    if link in "和与":
        return _SPANNED.match(match.string, match.end()) is not None
    return (_SPANNING_A if link == "a" else _SPANNING).search(before) is not None


def _place(span: WrittenSpan) -> Place:
    return span.characters[0][0], span.characters[-1][1]


def _same_unit(
    match: re.Match[str], start: tuple[Fraction, Place], end: tuple[Fraction, Place]
) -> tuple[tuple[Fraction, Place], tuple[Fraction, Place]]:
    """`5-10 minutes` means minutes twice, and so with hours; `30 to 2 min 10 s` does not."""
    if match["an"] and _bare(match.string, start[1]):
        if match["bmm"] and not match["bms"] and not match["bhh"]:
            return (start[0] * 60, start[1]), end
        if match["bhc"]:
            return (start[0] * 3600, start[1]), end
    return start, end


def _bare(text: str, place: Place) -> bool:
    """A number that neither a unit nor a colon nor a tag calls a time."""
    number = text[slice(*place)].replace(",", "").replace(".", "", 1)
    return number.isdecimal() and not _MARK.match(text, place[1])


def _counts(match: re.Match[str], start: Place, end: Place) -> bool:
    """Whether the numbers number or count something that the words around them name."""
    text = match.string
    if not _bare(text, end):
        return False
    whole = "." not in text[slice(*start)]
    if _bare(text, start) and whole and _LABEL_BEFORE.search(text[: start[0]]):
        return True
    # `12.5 - 20.0 red circle`: a list's line that begins with such a range describes it.
    if not whole and _LINE_START.search(text[: match.start()]):
        return False
    after = _WORD_AFTER.match(text, match.end())
    # A capital begins a name or a description, not a counted noun.
    return after is not None and not after[1][0].isupper() and not _GOING_ON.fullmatch(after[1])


def _may_count(match: re.Match[str], start: Place, end: Place) -> bool:
    """Whether whole numbers stand in running words that do not bring a time in: `they lead 4-1`."""
    text = match.string
    if not (_bare(text, start) and _bare(text, end)) or "." in text[start[0] : end[1]]:
        return False
    if _NUMBER_AFTER.match(text, match.end()):
        return False  # the first of several: the unit may stand behind the last
    before = _WORD_BEFORE.search(text[: start[0]])
    after = _WORD_AFTER.match(text, match.end())
    return (before is not None and not _BRINGING.fullmatch(before[1])) or (
        after is not None and not _GOING_ON.fullmatch(after[1])
    )


def _single(match: re.Match[str]) -> Sequence[tuple[Fraction, Place] | None]:
    return [part for name in "abcde" if (part := _read(match, name))][:1]


def _read(match: re.Match[str], name: str) -> tuple[Fraction, Place] | None:
    """The time in the groups of `name`, and its place; None where they are empty or name no clock time."""
    groups = {
        key[1:]: match.span(key) for key, value in match.groupdict().items() if key[0] == name and value
    }
    if not groups or any(b - a > _MOST_DIGITS for a, b in groups.values()):
        return None
    number = {key: _number(match.string[a:b]) for key, (a, b) in groups.items()}
    place = (min(a for a, _ in groups.values()), max(b for _, b in groups.values()))
    if "n" in number:
        return number["n"], place
    if "s" in number:
        if number["s"] >= 60:
            return None
        return number.get("h", Fraction(0)) * 3600 + number["m"] * 60 + number["s"], place
    hours = number.get("hh", number.get("hc", Fraction(0)))
    minutes = number.get("mm", number.get("mc", Fraction(0)))
    return hours * 3600 + minutes * 60 + number.get("ms", number.get("sc", Fraction(0))), place


def _number(text: str) -> Fraction:
    """A comma is a point (`02:03,5`) unless a point follows (`1,234.5`)."""
    return Fraction(text.replace(",", "") if "." in text else text.replace(",", "."))
