"""Attacks on the running lab's doors: routes, tokens, websockets, pages of other hosts."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from clone import Lab, said
from faultlog import Happened
from web import client, get

ROUTES = Path(__file__).with_name("routes.py")
SAMPLES = (
    (r"(?P<mode>lab|doc)", "lab"),
    (r"(?P<action>restart|interrupt)", "restart"),
    (r"(?P<kernel_id>\w+-\w+-\w+-\w+-\w+)", "0-0-0-0-0"),
    (r"(?P<session_id>\w+-\w+-\w+-\w+-\w+)", "0-0-0-0-0"),
    (r"(?P<path>(?:(?:/[^/]+)+|/?))", "/notebooks/01-quickstart.ipynb"),
    (r"(robots\.txt|favicon\.ico)", "favicon.ico"),
    (r"(favicon\.ico)", "favicon.ico"),
    (r"(robots\.txt)", "robots.txt"),
    (r"([^/:@]+)", "localhost"),
    (r"(\d+)", "8888"),
    (r"(/.*|)", "/api/status"),
)
"""An address that each variable part of a route matches."""

OPEN = {
    "APIVersionHandler": "the health route: a version, nothing else",
    "LoginFormHandler": "the form that asks for the token",
    "LogoutHandler": "forgets a login, says so",
    "FileFindHandler": "JupyterLab's own program files, the same for everyone",
    "PublicStaticFileHandler": "the icon",
    "ThemesHandler": "JupyterLab's own colours and icons",
    "RedirectWithParams": "/ leads to /lab, which is closed",
    "NotebooksRedirectHandler": "leads to /api/contents, which is closed",
    "TrailingSlashHandler": "leads to the same address without the slash",
    "Template404": "there is no such page",
    "NotFoundHandler": "there is no such page",
}
"""The handlers that answer without a token, and why they may."""

SILENT = "LicensesHandler"
"""JupyterLab's own handler of the list of licences fails as it refuses, and never answers."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def send(
    lab: Lab, path: str, method: str = "GET", body: str = "", patience: float = 10, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request, redirects not followed; header names with _ for -; status 0: no answer."""
    netloc = urllib.parse.urlsplit(lab.jupyter).netloc
    connection = http.client.HTTPConnection(netloc, timeout=patience)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body=body or None, headers=named)
        answer = connection.getresponse()
        joined = {k.lower(): ", ".join(answer.headers.get_all(k) or ()) for k in answer.headers}
        return answer.status, joined, answer.read()
    except TimeoutError:
        return 0, {}, b""
    finally:
        connection.close()


def sample(pattern: str) -> str:
    """A path that a route's pattern matches."""
    path = pattern.removesuffix("$")
    for part, value in SAMPLES:
        path = path.replace(part, value)
    path = re.sub(r"\(\?P<\w+>[^()]*\)\?", "", path)
    path = re.sub(r"\((?:\?P<\w+>)?[^()]*\)", "x", path).replace("/?", "/")
    path = path.replace("\\", "").replace("/.*", "/x")
    path = path if path.startswith("/") else f"/{path}"
    assert re.fullmatch(pattern.removesuffix("$"), path), (pattern, path)
    return path


@pytest.fixture(scope="module")
def routes(lab: Lab) -> list[tuple[str, str]]:
    done = subprocess.run(
        ["docker", "exec", "--interactive", lab.container(), "python", "-"],
        input=ROUTES.read_text(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r"^ROUTES(.*)$", done.stdout, re.MULTILINE)
    assert found, said(done)
    return [(pattern, handler) for pattern, handler in json.loads(found[1])]


@pytest.mark.attack("every route of JupyterLab without a token, by every method")
def test_every_route_needs_the_token(
    up_lab: Lab, routes: list[tuple[str, str]], happened: Happened
) -> None:
    assert len(routes) > 50, "the walk found too few routes to be all of them"
    open_, tries = set(), 0
    for pattern, handler in routes:
        for method in METHODS:
            path = sample(pattern)
            patience = 1 if handler == SILENT else 10
            status, headers, body = send(up_lab, path, method, patience=patience)
            tries += 1
            login = status == 302 and "/login" in headers.get("location", "")
            if not (status in (403, 405) or login or (status == 0 and handler == SILENT)):
                open_.add(handler)
                assert handler in OPEN, f"{method} {path} ({handler}) answers {status} to anyone"
            assert up_lab.env["JUPYTER_TOKEN"].encode() not in body
    assert "APIVersionHandler" in open_
    happened(
        f"{len(routes)} routes; without a token only the health route, the login form, "
        "JupyterLab's program files, and pages that do not exist answer",
        tries,
    )


WRONG = "0123456789abcdef0123456789abcdef0123456789abcdef"


@pytest.mark.attack("a wrong or empty token, as header, in the address, as cookie, in the form")
def test_wrong_tokens_are_refused(up_lab: Lab, happened: Happened) -> None:
    token = up_lab.env["JUPYTER_TOKEN"]
    assert send(up_lab, "/api/status", Authorization=f"token {token}")[0] == 200
    port = up_lab.env["JUPYTER_PORT"]
    guesses = ("", " ", WRONG, token[:-1], token + "0", token.upper(), "null", "*", "%00", "[]")
    tries = 0
    for guess in guesses:
        forms: list[tuple[str, dict[str, Any]]] = [
            ("/api/status", {"Authorization": f"token {guess}"}),
            ("/api/status", {"Authorization": f"Bearer {guess}"}),
            ("/api/status", {"Authorization": f"Basic {guess}"}),
            (f"/api/status?token={urllib.parse.quote(guess)}", {}),
            ("/api/status", {"Cookie": f"username-127-0-0-1-{port}={urllib.parse.quote(guess)}"}),
            ("/api/status", {"Cookie": f"username-127-0-0-1-{port}={token}"}),
            ("/api/status", {"X_XSRFToken": guess, "Cookie": f"_xsrf={guess}"}),
        ]
        for path, headers in forms:
            tries += 1
            assert send(up_lab, path, **headers)[0] in (302, 403), (path, headers)
        tries += 1
        assert form_login(up_lab, guess) != 302, f"the login form took {guess!r}"
    assert form_login(up_lab, token) == 302
    happened("403, every one; the right token passes", tries)


def form_login(lab: Lab, token: str) -> int:
    """The login form with its anti-forgery cookie, as a browser sends it. 302: it let us in."""
    cookie = send(lab, "/login")[1]["set-cookie"].partition(";")[0]
    xsrf = cookie.partition("=")[2]
    body = urllib.parse.urlencode({"_xsrf": xsrf, "password": token})
    kind = "application/x-www-form-urlencoded"
    return send(lab, "/login", "POST", body, Cookie=cookie, Content_Type=kind)[0]


def upgrade(lab: Lab, path: str, **headers: Any) -> int:
    """Ask for a websocket; 101: it was opened."""
    asked: dict[str, Any] = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    return send(lab, path, **asked, **headers)[0]


@pytest.mark.attack(
    "every route as a websocket, without a token; a real kernel's and terminal's too"
)
def test_websockets_need_the_token(
    up_lab: Lab, routes: list[tuple[str, str]], happened: Happened
) -> None:
    api = client(up_lab)
    kernel = api.kernel()
    terminal = api.call("/api/terminals", "POST", {})["name"]
    real = [f"/api/kernels/{kernel.ident}/channels", f"/terminals/websocket/{terminal}"]
    try:
        others = (sample(pattern) for pattern, handler in routes if handler != SILENT)
        paths = [*real, *others]
        for path in paths:
            assert upgrade(up_lab, path) != 101, path
            assert upgrade(up_lab, path, Authorization=f"token {WRONG}") != 101, path
        for path in real:
            good = f"token {up_lab.env['JUPYTER_TOKEN']}"
            assert upgrade(up_lab, path, Authorization=good) == 101, "the probe itself is broken"
    finally:
        kernel.close()
        api.call(f"/api/terminals/{terminal}", "DELETE")
    happened("none opened; with the token they do", 2 * len(paths))


@pytest.mark.attack("another web page in the same browser, with the user's login cookie")
def test_another_page_cannot_use_the_login(up_lab: Lab, happened: Happened) -> None:
    token = up_lab.env["JUPYTER_TOKEN"]
    status, headers, _ = send(up_lab, f"/lab?token={token}")
    cookies = "; ".join(re.findall(r"((?:_xsrf|username)[\w-]*=[^;,]+)", headers["set-cookie"]))
    assert status in (200, 302)
    assert "HttpOnly" in headers["set-cookie"], "a script could read it"
    assert send(up_lab, "/api/status", Cookie=cookies)[0] == 200, "the cookie is a login"
    kernel = client(up_lab).kernel()
    # Other tests may have left kernels of theirs.
    before = {row["id"] for row in client(up_lab).call("/api/kernels")}
    evil = "http://evil.example"
    try:
        socket_path = f"/api/kernels/{kernel.ident}/channels"
        tried = {
            "a kernel started": send(
                up_lab, "/api/kernels", "POST", "{}", Cookie=cookies, Origin=evil
            )[0],
            "a kernel ended": send(
                up_lab, f"/api/kernels/{kernel.ident}", "DELETE", Cookie=cookies, Origin=evil
            )[0],
            "a file written": send(
                up_lab, "/api/contents/x.txt", "PUT", "{}", Cookie=cookies, Origin=evil
            )[0],
            "a websocket opened": upgrade(up_lab, socket_path, Cookie=cookies, Origin=evil),
        }
        assert set(tried.values()) <= {403, 404}, tried
        tried["no Origin"] = send(up_lab, "/api/kernels", "POST", "{}", Cookie=cookies)[0]
        assert tried["no Origin"] == 403, "the cookie alone started a kernel"
        assert {row["id"] for row in client(up_lab).call("/api/kernels")} == before
        assert not (up_lab.root / "x.txt").exists()
        _, read, _ = send(up_lab, "/api/status", Cookie=cookies, Origin=evil)
        assert "access-control-allow-origin" not in read, "the page could read the answer"
    finally:
        kernel.close()
    happened("refused: nothing written, started or opened; no answer may be read by the page", 6)


@pytest.mark.attack("a name made to point at this machine (DNS rebinding), on both services")
def test_foreign_host_names_are_refused(up_lab: Lab, happened: Happened) -> None:
    token = up_lab.env["JUPYTER_TOKEN"]
    foreign = (
        "evil.example",
        "evil.example:8888",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
    )
    for host in foreign:
        good: dict[str, Any] = {"Host": host, "Authorization": f"token {token}"}
        assert send(up_lab, "/api/status", **good)[0] == 403, host
        assert get(f"{up_lab.tensorboard}/data/runs", Host=host)[0] == 403, host
    for host in (
        "localhost",
        f"localhost:{up_lab.env['TENSORBOARD_PORT']}",
        "127.0.0.1",
        "[::1]:1",
    ):
        assert get(f"{up_lab.tensorboard}/data/runs", Host=host)[0] == 200, host
        assert send(up_lab, "/api", Host=host)[0] == 200, host
    happened("403, from JupyterLab (even with the token) and from TensorBoard", 2 * len(foreign))
