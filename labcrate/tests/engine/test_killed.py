"""Processes of the running lab that die: its servers, and kernels that want too much memory."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import Lab, said
from faultlog import Happened, told
from web import client

from labcrate.errors import Code

KILL = """
import os, pathlib, signal, sys
for path in pathlib.Path("/proc").glob("[0-9]*"):
    try: words = (path / "cmdline").read_bytes()
    except OSError: continue
    if sys.argv[1].encode() in words and int(path.name) not in (1, os.getpid()):
        os.kill(int(path.name), signal.SIGKILL)
"""

HUNGRY = "kept = []\nwhile True: kept.append(bytearray(10**7))"


def wait_healthy(lab: Lab, timeout: float = 180) -> float:
    """Seconds until both services are healthy."""
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        told = json.loads(lab.invoke("status", "--json").stdout)["services"]
        if all(one["health"] == "healthy" for one in told.values()):
            return time.monotonic() - started
        time.sleep(0.3)
    raise AssertionError(f"not healthy after {timeout} s: {told}")


@pytest.mark.fault("a server killed in its container: JupyterLab, then TensorBoard")
@pytest.mark.parametrize(
    ("service", "process"), [("jupyter", "jupyter-lab"), ("tensorboard", "guard.py")]
)
def test_a_killed_server_comes_back(
    up_lab: Lab, service: str, process: str, happened: Happened
) -> None:
    (up_lab.root / "notebooks" / "kept.txt").write_text("mine")
    up_lab.docker("exec", up_lab.container(service), "python3", "-c", KILL, process)
    seconds = wait_healthy(up_lab)
    notices = json.loads(up_lab.invoke("status", "--json").stdout)["notices"]
    assert [n for n in notices if n.startswith(f"{service}: ended and was restarted")], notices
    again = up_lab.invoke("up").stdout
    assert "already up" in again
    assert f"note: {service}: ended and was restarted" in again
    assert (up_lab.root / "notebooks" / "kept.txt").read_text() == "mine"
    assert client(up_lab).call("/api/status")
    happened(f"{service}: healthy again after {seconds:.0f} s by itself; `status` and `up` say so")


def compose_down_of(task: subprocess.Popen[str]) -> bool:
    """Whether the task has started the Compose that takes the containers away."""
    children = Path(f"/proc/{task.pid}/task/{task.pid}/children").read_text().split()
    words = [Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0") for child in children]
    return any(b"down" in argv for argv in words)


@pytest.mark.fault("`down` killed (kill -9) while it removes containers, and `up` at once")
def test_a_killed_down_does_not_disturb_the_next_up(up_lab: Lab, happened: Happened) -> None:
    for delay_s in (0, 0.5):
        with up_lab.start("down", "--force") as task:
            while task.poll() is None and not compose_down_of(task):
                time.sleep(0.01)
            time.sleep(delay_s)
            task.kill()
        up = up_lab.invoke("up", check=False)
        assert (task.returncode, up.returncode) == (-signal.SIGKILL, 0), said(up)
        # A stop that the engine had begun would come to its end only now.
        time.sleep(2)
        wait_healthy(up_lab)
        assert client(up_lab).call("/api/status")
    happened("killed at two moments: `up` starts the lab, and it stays up", 2)


@pytest.fixture
def limited(up_lab: Lab) -> Iterator[Lab]:
    up_lab.set(MEMORY_LIMIT="300m")
    up_lab.invoke("up")
    yield up_lab
    up_lab.set(MEMORY_LIMIT="0")
    up_lab.invoke("up")


@pytest.mark.fault("a notebook that takes more memory than MEMORY_LIMIT")
def test_a_hungry_notebook_is_told_of(limited: Lab, happened: Happened) -> None:
    before = limited.container()
    bystander, kernel = client(limited).kernel(), client(limited).kernel()
    bystander.run("x = 41")
    kernel.send(HUNGRY, "hungry")
    for _ in range(100):
        out = limited.invoke("status").stdout
        if "out of memory" in out:
            break
        time.sleep(0.3)
    flat = " ".join(out.split())
    assert "jupyter: out of memory" in flat
    assert "MEMORY_LIMIT (300 MiB)" in flat
    assert "out of memory" in " ".join(limited.invoke("up").stdout.split())
    assert limited.container() == before
    assert bystander.run("print(x + 1)") == "42\n", "the other kernel lives"
    fresh = client(limited).kernel()
    assert fresh.run("print(6 * 7)") == "42\n"
    for one in (bystander, fresh):
        one.close()
    happened("that kernel is killed, the others live; `status` and `up`: “" + sentence(flat) + "”")


def sentence(flat: str) -> str:
    return (
        "jupyter: out of memory"
        + flat.partition("jupyter: out of memory")[2].partition(" Raise")[0]
    )


@pytest.mark.fault(
    "MEMORY_LIMIT below what JupyterLab itself needs; and the engine made to enforce it"
)
def test_a_lab_that_starves_at_its_start(up_lab: Lab, happened: Happened) -> None:
    up_lab.set(MEMORY_LIMIT="40m")
    refused = up_lab.invoke("up", check=False)
    assert (refused.returncode, "MEMORY_LIMIT=40m" in said(refused)) == (Code.SETTINGS, True)
    happened(told(refused))
    limits = up_lab.root / "labcrate" / "clone" / "limits.py"
    text = limits.read_text()
    try:
        limits.write_text(text.replace("LEAST_MEMORY = 256 * 2**20", "LEAST_MEMORY = 0"))
        starved = up_lab.invoke("up", check=False)
    finally:
        limits.write_text(text)
        up_lab.set(MEMORY_LIMIT="0")
    assert starved.returncode == Code.UNHEALTHY, said(starved)
    assert "it is out of memory" in said(starved)
    assert "fix: set MEMORY_LIMIT in .env higher" in said(starved)
    happened(told(starved))
    up_lab.invoke("up")
    wait_healthy(up_lab)
