"""Jupyter's own settings, which an owner keeps in the lab's home."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from clone import Lab, said
from web import get

CONFIG = "/home/lab/.jupyter/jupyter_server_config.py"

Set = Callable[[str], None]


@pytest.fixture
def set_in_home(up_lab: Lab) -> Iterator[Set]:
    """Write one setting into the home, and start JupyterLab with it."""

    def write(line: str) -> None:
        script = f"mkdir -p {CONFIG.rpartition('/')[0]}; echo '{line}' > {CONFIG}"
        assert up_lab.exec("sh", "-c", script).returncode == 0
        up_lab.docker("compose", "restart", "jupyter")

    yield write
    up_lab.exec("rm", "-f", CONFIG)
    up_lab.docker("compose", "restart", "jupyter")
    up_lab.invoke("up")


def test_an_own_base_url_is_followed(up_lab: Lab, set_in_home: Set) -> None:
    set_in_home('c.ServerApp.base_url = "/mine/"')
    up_lab.invoke("up")
    token = up_lab.env["JUPYTER_TOKEN"]
    assert f"{up_lab.jupyter}/mine/lab?token={token}" in up_lab.invoke("url").stdout
    status = json.loads(up_lab.invoke("status", "--json").stdout)
    assert status["services"]["jupyter"]["url"] == f"{up_lab.jupyter}/mine/"
    assert get(f"{up_lab.jupyter}/mine/api/status", Authorization=f"token {token}")[0] == 200
    assert "nothing was touched" in up_lab.invoke("up").stdout


def test_an_own_port_is_refused_with_the_reason(up_lab: Lab, set_in_home: Set) -> None:
    """The check says it at once; `up` gives a server two minutes to start."""
    set_in_home("c.ServerApp.port = 9999")
    check = ("/usr/bin/python3", "-I", "-S", "/opt/labcrate/healthy.py", "8888", "/api")
    look = f"{' '.join(check)} | grep port.9999 && exit 0"
    script = f"for i in $(seq 60); do {look}; sleep 0.5; done"
    done = up_lab.exec("sh", "-c", script)
    assert "port 9999" in json.loads(done.stdout)["refused"], said(done)
