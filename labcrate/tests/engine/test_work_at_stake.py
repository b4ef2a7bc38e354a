"""Work that `down`, `clean` and `up` must not end unasked: kernels, programs, packages, runs."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from clone import Lab, read_until, said
from web import client

from labcrate.errors import Code

SLOW = "import time; print('be' + 'gun', flush=True); time.sleep(600)"
"""The line that it prints is not in the command, which is shown, too."""
WAIT_S = 120.0


def until(what: str, holds: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)


def runs(lab: Lab) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(lab.invoke("status", "--json").stdout)["runs"]
    return found


def containers(lab: Lab, run: str) -> list[str]:
    label = f"label=dev.labcrate.run={run}"
    project = f"label=com.docker.compose.project={lab.project}"
    return lab.docker(
        "ps", "--all", "--quiet", "--filter", label, "--filter", project
    ).stdout.split()


@pytest.fixture
def trained(up_lab: Lab) -> Iterator[Lab]:
    """The lab as it is built now, with a detached run, which prints a line and goes on."""
    up_lab.invoke("up", "--force")
    up_lab.invoke("run", "--detach", "--name", "train", "--", "python", "-c", SLOW)
    yield up_lab
    up_lab.invoke("run", "--remove", "train", check=False)


def test_a_detached_run_is_listed_read_spared_and_removed(trained: Lab) -> None:
    until("output", lambda: "begun" in trained.invoke("logs", "--run", "train").stdout)
    listed = runs(trained)["train"]
    assert (listed["state"], listed["exit_code"]) == ("running", None)
    for verb in (("down",), ("clean", "--all", "--yes")):
        refused = trained.invoke(*verb, check=False)
        assert refused.returncode == Code.BUSY, said(refused)
        assert "this is at work: the run train" in said(refused)
    assert "already up" in trained.invoke("up").stdout, "a run is not up's to end"
    assert runs(trained)["train"]["state"] == "running"
    trained.invoke("run", "--remove", "train")
    assert containers(trained, "train") == []


def test_a_runs_exit_code_can_be_had_back_until_down_removes_it(up_lab: Lab) -> None:
    up_lab.invoke("run", "--detach", "--name", "short", "--", "sh", "-c", "echo said; exit 3")
    assert up_lab.invoke("wait", "short", check=False).returncode == 3
    assert up_lab.invoke("logs", "--run", "short").stdout.count("said") == 1
    assert runs(up_lab)["short"]["exit_code"] == 3
    up_lab.invoke("down")
    assert containers(up_lab, "short") == []


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (signal.SIGHUP, Code.HUNG_UP),
        (signal.SIGTERM, Code.TERMINATED),
        (signal.SIGINT, Code.INTERRUPTED),
    ],
)
def test_a_signal_ends_the_container_of_the_run(
    up_lab: Lab, sent: signal.Signals, code: Code
) -> None:
    """Sent to the task alone: Compose, which runs the container, is another process."""
    # Not ignored, as it is under nohup: children inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    task = up_lab.start("run", "--name", "attached", "--", "python", "-c", SLOW)
    read_until(task, "begun")
    assert len(containers(up_lab, "attached")) == 1
    task.send_signal(sent)
    rest, _ = task.communicate(timeout=180)
    assert task.returncode == code, rest
    assert "Traceback" not in rest
    assert containers(up_lab, "attached") == []


def test_what_jupyterlab_holds_is_named(up_lab: Lab) -> None:
    """A dry `down` asks the same and ends nothing."""
    jupyter = client(up_lab)
    session = {
        "path": "eda.ipynb",
        "type": "notebook",
        "name": "",
        "kernel": {"name": "python3"},
    }
    made = jupyter.call("/api/sessions", "POST", session)
    added = up_lab.exec("uv", "pip", "install", "--no-deps", "einops")
    assert added.returncode == 0, said(added)
    try:
        told = up_lab.invoke("--dry", "down").stdout
        assert "kernels, whose variables go: eda.ipynb" in told
        assert "`invoke capture` would keep it: einops" in told
        kernel = jupyter.kernel()
        kernel.send("import time; time.sleep(600)", "busy")
        up_lab.docker("exec", "--detach", "--tty", up_lab.container(), "python", "-c", SLOW)
        busy = f"kernel {kernel.ident[:8]}, python -c"
        refused: list[str] = []

        def is_refused() -> bool:
            done = up_lab.invoke("--dry", "down", check=False)
            refused[:] = [said(done)]
            return done.returncode == Code.BUSY and busy in said(done)

        until("busy", is_refused)
        assert "eda.ipynb" not in refused[0]
        # Another token in .env would have `up` restart JupyterLab.
        token = up_lab.env["JUPYTER_TOKEN"]
        up_lab.set(JUPYTER_TOKEN=token[::-1])
        try:
            done = up_lab.invoke("up", check=False)
        finally:
            up_lab.set(JUPYTER_TOKEN=token)
        assert (done.returncode, busy in said(done)) == (Code.BUSY, True), said(done)
        kernel.socket.close()
    finally:
        jupyter.call(f"/api/sessions/{made['id']}", "DELETE")
        up_lab.invoke("down", "--force")
