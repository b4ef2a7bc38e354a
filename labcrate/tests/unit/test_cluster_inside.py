"""The scripts of labcrate/cluster/inside, run here, with a stand-in of Ray."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from labcrate.cluster.node import HEAD_SCRIPT
from labcrate.cluster.probing import SCRIPT


def probe(**asked: Any) -> dict[str, Any]:
    whole = {"ports": [], "write": "", "read": "", "remove": "", **asked}
    command = [sys.executable, "-", json.dumps(whole)]
    with SCRIPT.open() as script:
        done = subprocess.run(command, stdin=script, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_probe_finds_cards_clock_and_ports() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        port = one.getsockname()[1]
        found = probe(ports=[port])
    assert found["taken"] == [port]
    assert probe(ports=[port])["taken"] == []
    assert found["cards"]["lo"] == "127.0.0.1"
    assert abs(found["time"] - time.time()) < 30


def test_the_probe_says_why_it_cannot_write() -> None:
    """Here is no /lab/runs."""
    found = probe(write="x", read="y")
    assert "No such file or directory" in found["wrong"]
    assert found["seen"] is False


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The head's script, with a dashboard that answers to the token `abc` alone."""
    spec = importlib.util.spec_from_file_location("head", HEAD_SCRIPT)
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == "Bearer abc"
            self.send_response(200 if allowed else 403)
            self.end_headers()
            text = f"{self.command} {self.path}" if allowed else "Invalid authentication token"
            self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(script, "DASHBOARD", f"http://127.0.0.1:{server.server_port}")
    (tmp_path / "token").write_text("abc\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    yield script
    server.shutdown()
    server.server_close()


class Client:
    """Ray's client: its head has an agent at the third question."""

    said: tuple[str, ...] = ("No available agent to submit job", "No available agent", "")
    asked: list[dict[str, Any]]

    def __init__(self, _: str) -> None:
        Client.asked = []

    def submit_job(self, **what: Any) -> None:
        self.asked.append(what)
        if why := self.said[min(len(self.asked), len(self.said)) - 1]:
            raise RuntimeError(why)

    async def tail_job_logs(self, _: str) -> AsyncIterator[str]:
        yield "one\n"
        yield "two\n"


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    made = ModuleType("ray.job_submission")
    made.JobSubmissionClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setitem(sys.modules, "ray.job_submission", made)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return Client


def test_the_dashboard_is_asked_with_the_token(
    head: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    head.ask("/api/jobs/")
    head.stop("job-1")
    assert capsys.readouterr().out == "GET /api/jobs/\nPOST /api/jobs/job-1/stop\n"


def test_a_wrong_token_is_said(head: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("abd")
    with pytest.raises(SystemExit, match="403 Invalid authentication token"):
        head.ask("/api/jobs/")
    monkeypatch.setattr(head, "DASHBOARD", "http://127.0.0.1:9")
    with pytest.raises(SystemExit, match="refused"):
        head.ask("/api/jobs/")


def test_a_head_that_has_just_started_gets_time(
    head: Any, ray: type[Client], capsys: pytest.CaptureFixture[str]
) -> None:
    head.run("job-1", "/tmp/job-1", "python", "x.py", "a b")
    assert len(ray.asked) == 3
    assert ray.asked[-1] == {
        "entrypoint": "python x.py 'a b'",
        "submission_id": "job-1",
        "runtime_env": {"working_dir": "/tmp/job-1"},
    }
    assert capsys.readouterr().out == "one\ntwo\n"


def test_another_refusal_is_said_at_once(
    head: Any, ray: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "said", ("Package size 600 MiB exceeds the limit",))
    with pytest.raises(SystemExit, match="exceeds the limit"):
        head.run("job-1", "/tmp/job-1", "true")
    assert len(ray.asked) == 1
