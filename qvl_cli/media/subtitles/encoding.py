"""Bytes of a subtitle file -> text. Only a guess is uncertain, and a guess is told."""

from __future__ import annotations

import codecs

from qvl_cli.errors import MediaError

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# chardet's own confidence: a wrong guess was seen at 0.075, right ones from 0.096 (three lines) on.
_SURE = 0.1
_LOOKED_AT = 1 << 16  # bytes: a detector needs no more
_REMEDY = "save it as UTF-8 (iconv -f ENCODING -t UTF-8)"


def decode(data: bytes, name: str) -> tuple[str, str | None]:
    """Text, and the encoding where it had to be guessed. `name` is what errors call the file.

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
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    if b"\0" in data:
        raise MediaError(f"{name} is not a text file", "name an SRT, WebVTT or ASS file")
    import chardet  # not at the top: its models take a while to load

    # Numbers and times say nothing about the encoding and would lower the confidence.
    telling = b"\n".join(line for line in data.splitlines() if not line.isascii())
    guess = chardet.detect(telling[:_LOOKED_AT])
    guessed, confidence = guess["encoding"], guess["confidence"] or 0.0
    try:
        if guessed is None or confidence < _SURE:
            raise LookupError
        return data.decode(guessed), guessed
    except (LookupError, UnicodeDecodeError):
        raise MediaError(f"{name} is not UTF-8, and its encoding cannot be told", _REMEDY) from None
