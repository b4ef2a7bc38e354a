"""image/healthy.py on real ports, and what the tasks take from its words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_server import JupyterServer

from labcrate.lab.containers import inspected
from labcrate.lab.health import Health, parse_health
from labcrate.lab.images import PARTS

Check = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def check(tmp_path: Path, jupyter_server: JupyterServer) -> Check:
    """One look of the health check at the stand-in, which wrote down how it listens."""

    def looked(path: str = "/favicon.ico", *, at: int = 0, **changes: Any) -> tuple[int, Any]:
        note = {
            "pid": os.getpid(),
            "port": at or jupyter_server.port,
            "hostname": "0.0.0.0",
            "base_url": "/",
            "secure": False,
            "sock": "",
        }
        (tmp_path / "jpserver-7.json").write_text(json.dumps({**note, **changes}))
        script = (str(PARTS / "healthy.py"), str(at or jupyter_server.port), path)
        environ = {"JUPYTER_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-I", "-S", *script], env=environ, capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout or "{}")

    jupyter_server.token = ""
    return looked


@pytest.fixture(autouse=True)
def open_door(jupyter_server: JupyterServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """/api answers without a token."""
    real = jupyter_server.answer
    monkeypatch.setattr(jupyter_server, "answer", lambda path, _: real(path, "token "))


def test_a_server_that_answers_says_nothing(check: Check) -> None:
    assert check() == (0, {})


def test_an_own_base_url_is_followed_and_said(check: Check, jupyter_server: JupyterServer) -> None:
    jupyter_server.failing = {"/api"}
    assert check("/api", base_url="/x/") == (0, {"base_url": "/x/"})
    assert check("/api")[0] == 1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"port": 9999}, "port 9999"),
        ({"hostname": "127.0.0.1"}, "127.0.0.1"),
        ({"secure": True}, "certfile"),
        ({"sock": "/tmp/x"}, "sock"),
    ],
)
def test_settings_with_which_no_link_works_are_refused(
    check: Check, changes: dict[str, Any], word: str
) -> None:
    status, told = check(**changes)
    assert status == 1
    assert word in told["refused"]


def test_another_token_than_the_labs_is_refused() -> None:
    code = (PARTS / "healthy.py").read_text()
    found: dict[str, Any] = {"__name__": "healthy"}
    exec(code, found)
    secret = Path(os.devnull)
    found["TOKEN"] = secret
    server = {"port": 1, "hostname": "0.0.0.0", "secure": False, "token": "mine"}
    assert "another token" in found["refused_setting"](server, 1)
    assert found["refused_setting"]({**server, "token": ""}, 1) == ""


def test_a_second_server_and_one_that_was_killed_do_not_count(check: Check, tmp_path: Path) -> None:
    other = {"port": 1, "hostname": "127.0.0.1", "base_url": "/other/"}
    (tmp_path / "jpserver-8.json").write_text(json.dumps({**other, "pid": os.getpid()}))
    (tmp_path / "jpserver-9.json").write_text(json.dumps({**other, "pid": 2**30}))
    assert check() == (0, {})


def test_why_nothing_answers_is_said(check: Check, jupyter_server: JupyterServer) -> None:
    jupyter_server.failing = {"/api"}
    assert check("/api") == (1, {"wrong": "/api answers 500"})
    status, told = check(at=1)
    assert status == 1
    assert told["wrong"].startswith("nothing answers on port 1: ")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", Health()),
        ("curl: (7) Failed to connect", Health()),
        ("[1]", Health()),
        ("7", Health()),
        ('{"base_url": "/x/"}', Health(base_url="/x/")),
        ('{"base_url": "/x/?token=1"}', Health()),
        ('{"base_url": "//evil"}', Health()),
        ('{"base_url": 1, "wrong": 2, "refused": [], "cannot_write": "x"}', Health()),
        ('{"wrong": "a\\u001b[0m"}', Health(wrong="a\N{REPLACEMENT CHARACTER}[0m")),
        ('{"cannot_write": ["/lab/runs", 1, "$(x)"]}', Health(cannot_write=("/lab/runs",))),
    ],
)
def test_words_of_another_form_are_not_used(said: str, found: Health) -> None:
    assert parse_health(said) == found


def test_the_last_check_of_a_container_counts() -> None:
    log = [{"Output": '{"base_url": "/old/"}'}, {"Output": '{"base_url": "/x/"}\n'}]
    state = {"Status": "running", "ExitCode": 0, "Health": {"Status": "healthy", "Log": log}}
    one = inspected({"Id": "1", "State": state, "Config": {}})
    assert (one.health, one.check.base_url) == ("healthy", "/x/")
    state["Health"] = {"Status": "starting", "Log": None}
    assert inspected({"Id": "1", "State": state, "Config": {}}).check == Health()
