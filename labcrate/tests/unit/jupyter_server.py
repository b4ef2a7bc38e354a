"""A stand-in for JupyterLab's API on a real port, for the tests that ask it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class JupyterServer:
    """What it answers. token: the one that opens it. failing: paths that end with 500."""

    port: int
    token: str
    sessions: list[dict[str, Any]] = field(default_factory=list)
    kernels: list[dict[str, Any]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    def busy(self, path: str, ident: str = "k1") -> None:
        """There is a notebook whose kernel computes."""
        self.sessions.append({"path": path, "kernel": {"id": ident}})
        self.kernels.append({"id": ident, "execution_state": "busy"})

    def answer(self, path: str, token: str) -> tuple[int, Any]:
        if token != f"token {self.token}":
            return 403, {}
        if path in self.failing:
            return 500, {}
        return 200, {"/api/sessions": self.sessions, "/api/kernels": self.kernels}.get(path, {})


@pytest.fixture
def jupyter_server() -> Iterator[JupyterServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = made.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = JupyterServer(port=server.server_address[1], token="t" * 48)
    # Not the default 0.5 s between two looks whether it is to end.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()
