"""A local stand-in of the hub: just the endpoints huggingface_hub uses, over a folder."""

from __future__ import annotations

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves `folder` as the model `repo`. `requests` keeps what was asked; `cut` names files whose transfer
    breaks off in the middle, as many times as the number says."""

    def __init__(self, folder: Path, repo: str) -> None:
        self.folder, self.repo = folder, repo
        self.requests: list[str] = []
        self.cut: dict[str, int] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                return

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler, body: bool) -> None:
        path = handler.path.split("?")[0]
        self.requests.append(f"{handler.command} {path}")
        if path in (f"/api/models/{self.repo}", f"/api/models/{self.repo}/revision/main"):
            return self._json(handler, {"id": self.repo, "modelId": self.repo, "sha": COMMIT, "siblings": []})
        if path.startswith(f"/api/models/{self.repo}/tree/"):
            return self._json(
                handler,
                [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": self._etag(file)}
                    for file in sorted(self.folder.iterdir())
                ],
            )
        if found := re.fullmatch(rf"/{re.escape(self.repo)}/resolve/[^/]+/(.+)", path):
            file = self.folder / found[1]
            if file.is_file():
                return self._file(handler, file, body)
        handler.send_response(404)
        handler.send_header("X-Error-Code", "RepoNotFound")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return None

    def _etag(self, file: Path) -> str:
        return hashlib.sha1(file.read_bytes()).hexdigest()

    def _json(self, handler: BaseHTTPRequestHandler, value: object) -> None:
        data = json.dumps(value).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _file(self, handler: BaseHTTPRequestHandler, file: Path, body: bool) -> None:
        data = file.read_bytes()
        start = 0
        if wanted := re.match(r"bytes=(\d+)-", handler.headers.get("Range", "")):
            start = int(wanted[1])
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", f'"{self._etag(file)}"')
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("Accept-Ranges", "bytes")
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        if not body:
            return
        if self.cut.get(file.name, 0) > 0:
            self.cut[file.name] -= 1
            handler.wfile.write(data[start : start + (len(data) - start) // 2])
            handler.close_connection = True
            return
        handler.wfile.write(data[start:])
