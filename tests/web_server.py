"""A loopback web server with the habits of real ones: ranges or none, redirects, cut connections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class WebServer:
    """files: path -> body. redirects: path -> address. ranges: whether Range is honoured. cuts: how often a
    body still breaks off half-way. requests: the paths that were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.ranges, self.cuts = False, 0
        self.requests: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                return

            def do_GET(self) -> None:
                web.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        if (target := self.redirects.get(handler.path)) is not None:
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.end_headers()
            return
        body = self.files.get(handler.path)
        if body is None:
            handler.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        if asked and self.ranges:
            handler.send_response(206)
            body = body[int(asked[1]) : int(asked[2]) + 1 if asked[2] else None]
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.cuts:
            self.cuts -= 1
            body = body[: len(body) // 2]
        handler.wfile.write(body)


@contextmanager
def serving() -> Iterator[WebServer]:
    web = WebServer()
    try:
        yield web
    finally:
        web.close()
