"""Jupyter's own settings, which an owner keeps in the lab's home."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

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


CULLING = """
import json
from jupyter_server.serverapp import ServerApp
app = ServerApp()
app.initialize(argv=[], new_httpserver=False)
manager = app.kernel_manager
print(json.dumps([manager.cull_idle_timeout, manager.cull_connected, manager.cull_busy]))
"""


def test_idle_hours_and_shared_models_reach_jupyterlab(up_lab: Lab, tmp_path: Path) -> None:
    """The manager of kernels takes the setting; the models are there, for reading alone."""
    tmp_path.chmod(0o755)
    (tmp_path / "weights").write_text("precious")
    up_lab.set(IDLE_HOURS="12", SHARED_MODELS=str(tmp_path))
    try:
        up_lab.invoke("up")
        assert "compute nothing for 12 hours are ended" in up_lab.invoke("status").stdout
        told = up_lab.exec("python", "-c", CULLING)
        assert json.loads(told.stdout.splitlines()[-1]) == [43200, True, False], said(told)
        assert up_lab.exec("cat", "/lab/shared-models/weights").stdout == "precious"
        refused = up_lab.exec("sh", "-c", "echo x > /lab/shared-models/weights")
        assert "Read-only file system" in said(refused)
    finally:
        up_lab.set(IDLE_HOURS="0", SHARED_MODELS="")
    up_lab.invoke("up")
    assert up_lab.exec("ls", "/lab/shared-models").returncode != 0


CULLED = r"""
import contextlib, json, os, subprocess, sys, time, urllib.request
from jupyter_client import BlockingKernelClient

runtime = "/tmp/culled"
env = {**os.environ, "IDLE_HOURS": "0.003", "JUPYTER_RUNTIME_DIR": runtime}
options = ("--ServerApp.port=9099", "--MappingKernelManager.cull_interval=1")
server = subprocess.Popen(["jupyter", "lab", *options], env=env, stderr=subprocess.DEVNULL)
token = open("/run/secrets/jupyter_token").read().strip()

def api(method, path):
    asked = urllib.request.Request(f"http://127.0.0.1:9099/api/{path}", method=method)
    asked.add_header("Authorization", f"token {token}")
    with urllib.request.urlopen(asked) as answer:
        return json.loads(answer.read())

def until(what, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if what():
                return
        time.sleep(0.5)
    sys.exit(f"never: {what.__name__}")

def starts():
    return api("GET", "status")

def idle_is_ended():
    return idle not in [one["id"] for one in api("GET", "kernels")]

try:
    until(starts)
    idle, busy = (api("POST", "kernels")["id"] for _ in range(2))
    client = BlockingKernelClient(connection_file=f"{runtime}/kernel-{busy}.json")
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    client.execute("import time; time.sleep(600)")
    until(idle_is_ended)
    time.sleep(15)
    print(json.dumps([one["id"] == busy for one in api("GET", "kernels")]))
finally:
    server.terminate()
    server.wait()
"""
"""A second server in the lab's container, with the lab's settings and 11 seconds for 12 hours."""


def test_an_idle_kernel_is_ended_and_a_busy_one_is_not(up_lab: Lab) -> None:
    told = up_lab.exec("python", "-c", CULLED)
    assert told.stdout.splitlines()[-1:] == ["[true]"], said(told)
