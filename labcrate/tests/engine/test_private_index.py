"""A package index that wants a login, which this host has in a netrc file alone."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from broken_index import wheel
from clone import Lab, said
from web import client

from labcrate.errors import Code

USER, PASSWORD = "me", "s3cret/of:the@index"
NAME = "labcrate-private"


@dataclass
class Index:
    """netrc: the file that has its login. refused: requests that came without it."""

    address: str
    netrc: Path
    refused: list[str] = field(default_factory=list)

    def environ(self, netrc: Path) -> dict[str, Any]:
        return {"PIP_EXTRA_INDEX_URL": self.address, "NETRC": str(netrc)}


@pytest.fixture
def index(up_lab: Lab, tmp_path: Path) -> Iterator[Index]:
    template = "{{(index .IPAM.Config 0).Gateway}}"
    gateway = up_lab.docker("network", "inspect", "bridge", "--format", template).stdout.strip()
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != f"Basic {login}":
                made.refused.append(self.path)
                self.answer(401)
            elif f"/{NAME}/" not in self.path:
                self.answer(404)
            elif self.path.endswith(".whl"):
                self.answer(200, wheel(NAME))
            else:
                file = f"{NAME.replace('-', '_')}-1.0-py3-none-any.whl"
                self.answer(200, f'<a href="{file}">{file}</a>'.encode())

        # An installer asks for ranges first; without them it reads the whole wheel.
        do_HEAD = do_GET

        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Index(address=f"http://{gateway}:{server.server_port}/simple", netrc=tmp_path / "netrc")
    made.netrc.write_text(f"machine {gateway} login {USER} password {PASSWORD}\n")
    made.netrc.chmod(0o600)
    try:
        yield made
    finally:
        server.shutdown()
        up_lab.invoke("setup", "--yes")


def test_a_login_of_netrc_reaches_builds_and_the_lab_and_shows_nowhere(
    up_lab: Lab, index: Index, tmp_path: Path
) -> None:
    up_lab.invoke("setup", "--yes", **index.environ(tmp_path / "none"))
    done = up_lab.invoke("add-package", NAME, check=False, **index.environ(tmp_path / "none"))
    assert done.returncode == Code.INDEX_LOGIN, said(done)
    assert f"{index.address} wants a login" in said(done)
    up_lab.invoke("setup", "--yes", **index.environ(index.netrc))
    index.refused.clear()
    try:
        done = up_lab.invoke("add-package", NAME, **index.environ(index.netrc))
        assert index.refused == []
        assert up_lab.exec("python", "-c", "import labcrate_private").returncode == 0
        shown = {
            "screen": said(done),
            "lock": (up_lab.root / "docker" / "packages.lock").read_text(),
            "log": (up_lab.root / ".labcrate" / "build.log").read_text(),
            "history": up_lab.docker("history", "--no-trunc", f"{up_lab.project}/jupyter").stdout,
            "image": up_lab.docker("inspect", f"{up_lab.project}/jupyter").stdout,
            "container": up_lab.docker("inspect", up_lab.container()).stdout,
            "environment": up_lab.exec("env").stdout,
        }
        for place, text in shown.items():
            assert text, place
            assert "s3cret" not in text, place
        assert "s3cret" in up_lab.exec("cat", "/run/secrets/uv.toml").stdout
    finally:
        up_lab.invoke("remove-package", NAME, check=False, **index.environ(index.netrc))


def test_a_proxys_password_is_in_the_lab_and_in_no_inspection(up_lab: Lab) -> None:
    proxies: dict[str, Any] = {
        "HTTPS_PROXY": "http://u:s3cret@proxy.invalid:3128",
        "NO_PROXY": "localhost",
    }
    try:
        up_lab.invoke("setup", "--yes", **proxies)
        up_lab.invoke("down", **proxies)
        up_lab.invoke("up", **proxies)
        assert "s3cret" not in up_lab.docker("inspect", up_lab.container()).stdout
        asked = "import os; print(os.environ['HTTPS_PROXY'], os.environ['NO_PROXY'])"
        wanted = f"{proxies['HTTPS_PROXY']} localhost"
        kernel = client(up_lab).kernel()
        assert kernel.run(asked).strip() == wanted
        kernel.close()
        assert up_lab.invoke("run", "--", "python", "-c", asked).stdout.splitlines()[-1] == wanted
        shell = up_lab.exec("bash", "-ic", "echo $HTTPS_PROXY").stdout
        assert shell.strip() == proxies["HTTPS_PROXY"]
        assert "s3cret" in up_lab.exec("cat", "/run/secrets/uv.toml").stdout
    finally:
        up_lab.invoke("setup", "--yes")
        up_lab.invoke("down")
        up_lab.invoke("up")
