"""`invoke tunnel` over a real sshd on this machine's loopback, to a lab and to what is none."""

from __future__ import annotations

import http.server
import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import Lab, said
from selenium import webdriver
from sshd import Laptop, Server, laptop, server
from test_browser import browser, find
from web import Client, get

from labcrate.clone.ports import port_is_free
from labcrate.errors import Code

__all__ = ["browser", "laptop", "server"]
"""Fixtures."""

pytestmark = pytest.mark.sshd

AWKWARD = """it's "my" $HOME; lab (1)"""
"""A folder that both shells on the way would read in another way than it is meant."""

FAKE = """#!/bin/sh
if [ "$3" = up ]; then echo 'building what is needed'; touch up; exit 0; fi
[ -f up ] && up=true || up=false
printf '{"project": "x", "up": %s, "links": {"page": "http://127.0.0.1:'"$(cat port)"'/"}}' $up
"""
"""The tools of a clone over there: its `url --json`, and its `up`."""


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["Host"].encode())

    def log_message(self, *_: object) -> None:
        """Nothing: pytest would show it."""


@pytest.fixture
def clone_there(tmp_path: Path) -> Iterator[Path]:
    """A clone over there, down, whose one service answers with the name that it was asked by."""
    page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    root = tmp_path / AWKWARD
    for name in ("compose", ".venv/bin"):
        (root / name).mkdir(parents=True)
    (root / "compose" / "compose.yaml").touch()
    (root / "port").write_text(str(page.server_port))
    (root / ".venv" / "bin" / "python").write_text(FAKE)
    (root / ".venv" / "bin" / "python").chmod(0o755)
    yield root
    page.shutdown()
    page.server_close()


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("stranger", Code.TUNNEL, "does not know that one's key yet"),
        ("changed", Code.TUNNEL, "ssh-keygen -R '[127.0.0.1]:"),
        ("nobody", Code.TUNNEL, "refuses the login"),
        ("away", Code.TUNNEL, "no sshd answers there"),
    ],
)
def test_a_way_that_is_closed(laptop: Laptop, name: str, code: Code, words: str) -> None:
    done = laptop.tunnel(name)
    assert (done.returncode, words in done.stderr) == (code, True), said(done)
    assert "Traceback" not in said(done)


def test_a_folder_that_is_not_there_and_a_lab_that_is_down(
    laptop: Laptop, clone_there: Path
) -> None:
    done = laptop.tunnel(f"box:{clone_there}/none")
    assert (done.returncode, "there is no folder" in done.stderr) == (Code.FOLDER, True), said(done)
    done = laptop.tunnel(f"box:{clone_there}")
    assert (done.returncode, "--up" in done.stderr) == (Code.NOT_UP, True), said(done)


def test_up_starts_it_there_and_a_cut_connection_is_no_ordinary_end(
    laptop: Laptop, clone_there: Path, server: Server
) -> None:
    with laptop.open_tunnel(f"box:{clone_there}", "--up") as opened:
        assert "building what is needed" in opened.said
        link = opened.links["page"]
        # The page's own port is taken: the server is this machine.
        assert not link.endswith(f":{(clone_there / 'port').read_text()}/")
        assert get(link) == (200, link.split("/")[2].encode())
        server.cut()
        assert opened.end() == Code.TUNNEL
        assert "the tunnel to box was cut" in opened.said
    assert get_refused(link)


def test_a_server_that_forbids_forwarding_says_so(laptop: Laptop, clone_there: Path) -> None:
    (clone_there / "up").touch()
    with laptop.open_tunnel(f"closed:{clone_there}") as opened:
        opened.read_until("AllowTcpForwarding")


def get_refused(link: str) -> bool:
    """Whether nobody listens here any more."""
    return port_is_free("127.0.0.1", int(link.split(":")[2].split("/", maxsplit=1)[0]))


@pytest.fixture
def tools_there(up_lab: Lab) -> Iterator[Lab]:
    """The session's lab, with the tools where the README's first command puts them."""
    venv = up_lab.root / ".venv"
    if venv.exists():  # made by the bootstrap of another test
        yield up_lab
        return
    venv.symlink_to(sys.prefix)
    yield up_lab
    venv.unlink()


def test_a_notebook_computes_through_the_tunnel(tools_there: Lab, laptop: Laptop) -> None:
    """Both services answer, a kernel runs a cell, and no process has the token in its words."""
    token = tools_there.env["JUPYTER_TOKEN"]
    with laptop.open_tunnel(f"box:{tools_there.root}") as opened:
        address, _, query = opened.links["jupyter"].partition("/lab?")
        assert query == f"token={token}"
        assert not address.endswith(f":{tools_there.env['JUPYTER_PORT']}")
        assert get(f"{opened.links['tensorboard']}data/plugin/scalars/tags")[0] == 200
        kernel = Client(address, token).kernel()
        assert kernel.run("print(6 * 7)") == "42\n"
        kernel.close()
        assert holders(token) == []
        assert opened.end(signal.SIGINT) == Code.INTERRUPTED
        assert "the lab over there runs on" in opened.said
    assert get_refused(address + "/")
    assert json.loads(tools_there.invoke("url", "--json").stdout)["up"]


@pytest.mark.browser
def test_a_browser_shows_jupyterlab_through_the_tunnel(
    tools_there: Lab, laptop: Laptop, browser: webdriver.Chrome
) -> None:
    with laptop.open_tunnel(f"box:{tools_there.root}") as opened:
        browser.get(opened.links["jupyter"])
        # Not the launcher: tabs that another test left open come back in its place.
        find(browser, "#jp-main-dock-panel", timeout=60)
        find(browser, ".jp-DirListing-item", timeout=60)


def holders(token: str) -> list[str]:
    """The processes of this machine that have the token in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if token.encode() in words:
            found.append(words.decode().replace("\0", " "))
    return found
