"""http and https, and nothing else: no redirect leads to another protocol. Foreign errors -> MediaError."""

from __future__ import annotations

from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from qvl_cli import __version__
from qvl_cli.errors import MediaError
from qvl_cli.media.spool import Progress, Spool

_TIMEOUT = 30.0  # seconds without a byte
_RESUMES = 3
_PIECE = 1 << 18
_AGAIN = "check the connection and try again"


def is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def open_url(url: str, first: int = 0, last: int | None = None, version: str | None = None) -> HTTPResponse:
    """The answer to GET; the caller closes it. first, last: the range of bytes asked for, both inclusive.
    version: an ETag; where the content has changed since, all of it comes instead of the range.

    Raises MediaError.
    """
    headers = {"User-Agent": f"qvl/{__version__}", "Accept-Encoding": "identity"}
    if first or last is not None:
        headers["Range"] = f"bytes={first}-{'' if last is None else last}"
        if version is not None:
            headers["If-Range"] = version
    opener = OpenerDirector()  # build_opener would add file:, ftp: and data:
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    try:
        request = Request(quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers)
        return cast("HTTPResponse", opener.open(request, timeout=_TIMEOUT))
    except HTTPError as error:
        with error:
            said = " ".join(str(error.reason).split())
            raise MediaError(f"{url} answers {error.code} {said}", "check the address") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise MediaError(
            f"{url} cannot be reached: {reason}", "check the address and the connection"
        ) from error


def spool_url(url: str, spool: Spool, progress: Progress) -> str:
    """Copy what `url` holds; returns its address after redirects. A cut connection is resumed where the
    server can do that. Raises MediaError and OverBudget."""
    response, resumes = open_url(url), 0
    address, size, version = response.url, _length(response.headers), response.headers.get("ETag")
    while True:
        with response:
            spool.check(size or 0)
            reason = _copy(response, spool, size, progress)
        if reason is None and (size is None or spool.size == size):
            spool.finish()
            return address
        resumes += 1
        cut = f"the connection to {url} broke off after {spool.size:,} of {size or '?'} bytes"
        if resumes > _RESUMES:
            raise MediaError(cut, _AGAIN)
        response = open_url(address, first=spool.size, version=version)
        if response.status != 206:
            response.close()
            raise MediaError(f"{cut}, and the server cannot resume", _AGAIN)


def _copy(response: HTTPResponse, spool: Spool, size: int | None, progress: Progress) -> str | None:
    """Read up to the end, or to where it breaks off: then the reason."""
    while True:
        try:
            data = response.read1(_PIECE)
        except (OSError, HTTPException) as error:
            return str(error) or type(error).__name__
        if not data:
            return None
        spool.write(data)
        progress(f"downloading {spool.name}", spool.size, size or 0)


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


class WholeResponse:
    """A response as a file for PyAV; MediaError, not an early end, where it breaks off."""

    def __init__(self, url: str, response: HTTPResponse) -> None:
        self._url, self._response = url, response

    def read(self, size: int) -> bytes:
        try:
            data = self._response.read(size)
        except (OSError, HTTPException) as error:
            raise MediaError(f"the connection to {self._url} broke off", _AGAIN) from error
        if not data and self._response.length:
            raise MediaError(f"the connection to {self._url} broke off", _AGAIN)
        return data

    def close(self) -> None:
        self._response.close()
