"""A local stand-in of the hub: just the endpoints huggingface_hub uses, over a folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub_environment(url: str, home: Path) -> dict[str, str]:
    """This process' environment, with the hub at `url`, its cache in `home`, and nothing else said of it."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    return own | {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}


class HubServer:
    """Serves `folder` as the model `repo`. `requests` keeps what was asked; `cut` names files whose transfer
    breaks off in the middle, as many times as the number says. `pause`: seconds after each MiB of weights;
    `sent`: bytes of weights so far; `ranges`: where transfers of weights began; `claims`: names files said to
    be of another size."""

    def __init__(self, folder: Path, repo: str) -> None:
        self.folder, self.repo = folder, repo
        self.requests: list[str] = []
        self.cut: dict[str, int] = {}
        self.pause = 0.0
        self.sent = 0
        self.ranges: list[int] = []
        self.claims: dict[str, int] = {}
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
            siblings = [self._about(file) for file in sorted(self.folder.iterdir())]
            about = {"id": self.repo, "modelId": self.repo, "sha": COMMIT, "siblings": siblings}
            return self._json(handler, about)
        if found := re.fullmatch(rf"/{re.escape(self.repo)}/resolve/[^/]+/(.+)", path):
            file = self.folder / found[1]
            if file.is_file():
                return self._file(handler, file, body)
        handler.send_response(404)
        handler.send_header("X-Error-Code", "RepoNotFound")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return None

    def _about(self, file: Path) -> dict[str, object]:
        size, etag = self.claims.get(file.name, file.stat().st_size), self._etag(file)
        large = {"size": size, "sha256": etag, "pointerSize": 135} if file.suffix == ".safetensors" else None
        return {"rfilename": file.name, "size": size, "blobId": etag, "lfs": large}

    def _etag(self, file: Path) -> str:
        """As the hub has it: sha256 of large files, git's id of others."""
        data = file.read_bytes()
        if file.suffix == ".safetensors":
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

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
        if file.suffix != ".safetensors":
            handler.wfile.write(data[start:])
            return
        self.ranges.append(start)
        with suppress(OSError):  # whoever asked may leave in the middle
            for at in range(start, len(data), 1 << 20):
                self.sent += handler.wfile.write(data[at : at + (1 << 20)])
                time.sleep(self.pause)
