"""Bytes of a subtitle file -> text. Only a guess is uncertain, and a guess is told."""

from __future__ import annotations

import codecs
import re

from qvl_cli.errors import MediaError

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The same quotes, dashes and signs in Windows-1250 to 1257, but for the euro in 1251.
_PUNCTUATION = re.compile(rb"[\x80\x85\x91-\x97\x99\xa0\xa7\xa9\xab\xae\xb0\xb6\xb7\xbb]")
_RARE = 200  # ASCII letters to another one; English and Dutch have more, other languages far fewer
_SURE = 0.07  # chardet's own confidence; what it costs is in docs/log.md
_WHOLE = 10  # characters beyond ASCII that are whole, to a damaged one
_LOOKED_AT = 1 << 16  # bytes: a detector needs no more
DAMAGED, REPLACED = "UTF-8", "\ufffd"
_REMEDY = "save it as UTF-8 (iconv -f ENCODING -t UTF-8)"


def decode(data: bytes, name: str) -> tuple[str, str | None]:
    """Text, and the encoding where it had to be guessed: DAMAGED where it is UTF-8 but for some bytes, which
    are REPLACED. `name` is what errors call the file.

    Raises MediaError where the bytes are no text, or nobody can say in which encoding.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding), None
            except UnicodeDecodeError as error:
                raise MediaError(
                    f"{name} is marked as {encoding} and is not ({error.reason} at byte {error.start})",
                    _REMEDY,
                ) from error
    nulls = data.count(0)
    if nulls * 4 > len(data):
        raise MediaError(f"{name} is UTF-16 or UTF-32 without the mark that says so", _REMEDY)
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        text, whole = data.decode("utf-8", "replace"), _beyond_ascii(data)
        if whole >= text.count(REPLACED) * _WHOLE or (whole and error.reason == "unexpected end of data"):
            return text, DAMAGED
    if nulls:
        raise MediaError(f"{name} is not a text file", "name an SRT, WebVTT or ASS file")
    guessed, confidence = ("Windows-1252", 1.0) if _western(data) else _detected(data)
    try:
        if guessed is None or confidence < _SURE:
            raise LookupError
        return data.decode(guessed), guessed
    except (LookupError, UnicodeDecodeError):
        raise MediaError(f"{name} is not UTF-8, and its encoding cannot be told", _REMEDY) from None


def _beyond_ascii(data: bytes) -> int:
    """How many characters beyond ASCII are whole in UTF-8, which other encodings hardly ever look like."""
    return sum(not character.isascii() for character in data.decode("utf-8", "ignore"))


def _western(data: bytes) -> bool:
    """Whether all beyond ASCII is punctuation and, here and there in much text, one letter by itself."""
    rest = _PUNCTUATION.sub(b" ", data)
    others = re.findall(rb"[\x80-\xff]+", rest)
    letters = len(re.findall(rb"[A-Za-z]", rest))
    return len(others) * _RARE <= letters and all(len(run) == 1 for run in others)


def _detected(data: bytes) -> tuple[str | None, float]:
    """chardet's guess and its confidence, 0 to 1, among the pages in which subtitles are written.

    It takes lines with curly quotes for pages of old Macs and of DOS, which are left out. ISO pages have no
    letters in 0x80 to 0x9F; the Windows pages they resemble do.
    """
    import chardet  # not at the top: its models take a while to load

    era = chardet.EncodingEra.MODERN_WEB
    if not re.search(rb"[\x80-\x9f]", data):
        era |= chardet.EncodingEra.LEGACY_ISO
    # Numbers, times and punctuation say nothing about the encoding and would lower the confidence.
    telling = b"\n".join(line for line in data.splitlines() if not _PUNCTUATION.sub(b"", line).isascii())
    guess = chardet.detect(telling[:_LOOKED_AT], encoding_era=era)
    return guess["encoding"], guess["confidence"] or 0.0
