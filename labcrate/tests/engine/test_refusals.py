"""Refusals that need a real engine, or a real engine that will not talk."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from clone import Lab, clean_environ, read_until, said
from faultlog import Happened, told
from web import get

from labcrate.clone.chosen_ports import RECORD, remember_ports
from labcrate.clone.place import Clone
from labcrate.errors import Code

WAITS = "waits for health"

STAND_IN = """#!/bin/sh
[ "$1" = info ] || exec {docker} "$@"
{docker} "$@" | sed -E '{edit}'
"""


@pytest.mark.fault("a port held by a process")
def test_port_held_by_a_process_is_named(lab: Lab, happened: Happened) -> None:
    lab.invoke("down")
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", int(lab.env["JUPYTER_PORT"])))
        held.listen()
        done = lab.invoke("up", check=False)
    assert done.returncode == Code.PORT_TAKEN
    assert f"taken by process {os.getpid()}" in said(done)
    happened(told(done))


def test_a_port_that_setup_chose_is_chosen_again(lab: Lab) -> None:
    lab.invoke("down")
    before = lab.env
    names = ("JUPYTER_PORT", "TENSORBOARD_PORT")
    clone = Clone(root=lab.root, here=lab.root)
    remember_ports(clone, {name: before[name] for name in names})
    try:
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", int(before["JUPYTER_PORT"])))
            held.listen()
            done = lab.invoke("up")
    finally:
        # For the other tests the ports are the owner's.
        (clone.state / RECORD).unlink()
    now = lab.env
    assert now["JUPYTER_PORT"] != before["JUPYTER_PORT"]
    assert now["TENSORBOARD_PORT"] == before["TENSORBOARD_PORT"]
    assert f"JUPYTER_PORT={now['JUPYTER_PORT']} from now on" in done.stdout
    assert get(f"{lab.jupyter}/api")[0] == 200


@pytest.mark.fault("both ports held by a container")
def test_port_held_by_a_container_is_named(lab: Lab, happened: Happened) -> None:
    """Both ports at once: both are told, and nothing of the lab was started."""
    lab.invoke("down")
    name = f"{lab.project}-squatter"
    ports = [lab.env[n] for n in ("JUPYTER_PORT", "TENSORBOARD_PORT")]
    published = [part for port in ports for part in ("--publish", f"127.0.0.1:{port}:1")]
    image = f"{lab.project}/tensorboard"
    lab.docker("run", "--detach", "--name", name, *published, image, "sleep", "600")
    try:
        done = lab.invoke("up", check=False)
    finally:
        lab.docker("rm", "--force", name)
    assert done.returncode == Code.PORT_TAKEN
    assert said(done).count(f"taken by the container {name}") == 2
    assert not lab.container()
    happened(told(done))


@pytest.mark.fault("an engine that does not answer: a wrong socket, a context that is gone")
@pytest.mark.parametrize(
    ("environ", "code", "message"),
    [
        ({"DOCKER_HOST": "unix:///no/engine.sock"}, Code.ENGINE_DOWN, "unix:///no/engine.sock"),
        ({"DOCKER_CONTEXT": "gone"}, Code.ENGINE_DOWN, "docker context use default"),
    ],
)
def test_an_engine_that_does_not_answer(
    lab: Lab, environ: dict[str, Any], code: Code, message: str, happened: Happened
) -> None:
    for task in (("up",), ("setup", "--yes"), ("down",)):
        done = lab.invoke(*task, check=False, **environ)
        assert (done.returncode, message in said(done)) == (code, True), said(done)
    happened(told(done), 3)


@pytest.mark.fault("Compose missing, and too old")
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ('s/"Name":"compose"/"Name":"other"/', "first on PATH"),
        (
            's/"Version":"[^"]*",("ShortDescription":"Docker Compose")/"Version":"2.20.3",\\1/',
            "Compose is version 2.20",
        ),
    ],
)
def test_compose_missing_or_too_old(
    lab: Lab, tmp_path: Path, edit: str, message: str, happened: Happened
) -> None:
    """The real client, but for what it says about its plugin Compose."""
    real = lab.command(("sh", "-c", "command -v docker")).stdout.strip()
    fake = tmp_path / "docker"
    fake.write_text(STAND_IN.format(edit=edit, docker=real))
    fake.chmod(0o755)
    done = lab.invoke("up", check=False, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, message in said(done)) == (Code.COMPOSE, True), said(done)
    happened(told(done))


def test_a_missing_docker_is_the_reason_whatever_is_typed(lab: Lab, tmp_path: Path) -> None:
    for task in ("status", "url", "logs", "packages", "up", "down"):
        done = lab.invoke(task, check=False, PATH=str(tmp_path))
        assert done.returncode == Code.ENGINE_MISSING, said(done)
        assert "no `docker` command" in said(done)


@pytest.mark.fault("Ctrl-C and SIGTERM in up: as it builds, starts, waits")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["Building", "compose up", WAITS])
def test_interrupted_up_can_be_repeated(
    lab: Lab, at: str, sent: signal.Signals, happened: Happened
) -> None:
    """Ctrl-C reaches the whole group at a terminal; `kill` reaches one process alone."""
    lab.invoke("down")
    if at == "Building":
        spoil_the_image(lab)
    child = subprocess.Popen(
        [sys.executable, "-m", "invoke", "up"],
        cwd=lab.root,
        env=clean_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    text = read_until(child, "compose up" if at == WAITS else at)
    if at == WAITS:
        wait_for_start(lab)
    time.sleep(0.1)
    if sent is signal.SIGINT:
        os.killpg(child.pid, sent)
    else:
        os.kill(child.pid, sent)
    rest, _ = child.communicate(timeout=180)
    expected = Code.INTERRUPTED if sent is signal.SIGINT else Code.TERMINATED
    assert child.returncode == expected, text + rest
    assert "can be run again" in rest
    lab.invoke("up")
    happened(f"exit {child.returncode}, “the same command can be run again”; it can")


def wait_for_start(lab: Lab) -> None:
    """Until JupyterLab's container runs and does not answer yet: what `up` waits for."""
    template = "{{.State.Status}} {{.State.Health.Status}}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        name = f"{lab.project}-jupyter-1"
        state = lab.docker("inspect", "--format", template, name).stdout.strip()
        if state == "running starting":
            return
    pytest.fail(f"the container never waited for its health: {state}")


def spoil_the_image(lab: Lab) -> None:
    """Make the next `up` rebuild something: a changed source of the final stage."""
    path = lab.root / "docker" / "apt.txt"
    path.write_text(path.read_text() + f"# touched {time.time()}\n")


@pytest.mark.fault("two `up` at once")
def test_two_at_once_wait_for_each_other(lab: Lab, happened: Happened) -> None:
    lab.invoke("down")
    children = [lab.start("up") for _ in range(2)]
    texts = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], texts
    assert sum("Waiting for `invoke up`" in text for text in texts) == 1
    assert sum("already up" in text for text in texts) == 1
    happened("one waits and says for whom; then it finds the lab up; both exit 0")
