"""Faults of the engine, its disk and the network, on a machine whose engine may be killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import said
from machine import CLONE, Machine

from labcrate.errors import Code

INDEX = Path(__file__).with_name("broken_index.py")
KEEP = "notebooks/kept.ipynb"


@pytest.fixture
def up(machine: Machine) -> Machine:
    """The machine with the lab up, and a file of the user's in it."""
    machine.invoke("setup", "--yes", "up")
    machine.write(KEEP, "mine")
    return machine


def nothing_lost(machine: Machine) -> bool:
    return machine.run("cat", KEEP).stdout == "mine"


def spoil(machine: Machine, requirement: str = "") -> None:
    """Make the next `up` rebuild the final stage, with a package or a mere comment more."""
    machine.write("docker/packages.lock", requirement or f"# {time.time()}\n")


def test_one_command_on_a_bare_debian_13(machine: Machine) -> None:
    """The README's first command, where no engine is installed: another release than this one."""
    started = time.monotonic()
    done = machine.run("python3", "bootstrap.py", "invoke", "setup", "--yes", "up", timeout=600)
    assert "installed and started" in done.stdout
    assert machine.health() == machine.health("tensorboard") == "healthy"
    assert time.monotonic() - started < 400


def test_engine_killed_while_the_lab_is_up(up: Machine) -> None:
    up.kill_engine()
    done = up.invoke("status", check=False)
    assert done.returncode == Code.ENGINE_DOWN
    assert "fix: invoke setup" in said(done)
    up.invoke("setup", "--yes")
    up.wait_healthy()
    assert nothing_lost(up)
    assert "already up" in up.invoke("up").stdout


def test_a_second_clone_is_set_up_while_the_engine_is_down(up: Machine) -> None:
    """The first lab comes back as the engine starts; the second clone must not get its ports."""
    up.kill_engine()
    up.sh(
        f"mkdir /root/second && cd {CLONE} && "
        f"tar c --exclude .env --exclude .venv --exclude .labcrate . | tar x -C /root/second"
    )
    base = up.sh("grep ^BASE_IMAGE= .env").strip()
    up.sh(f"cd /root/second && {base} {CLONE}/.venv/bin/python -m invoke setup --yes")
    ports = [up.sh(f"grep _PORT= {folder}/.env").split() for folder in (CLONE, "/root/second")]
    up.sh("rm -rf /root/second")
    assert not set(ports[0]) & set(ports[1])
    up.wait_healthy()


def test_engine_killed_in_the_middle_of_a_build(up: Machine) -> None:
    spoil(up)
    child = up.start("up")
    assert child.stdout is not None
    text = ""
    for line in child.stdout:
        text += line
        if "DONE" in line or "CACHED" in line:
            break
    up.kill_engine()
    rest, _ = child.communicate(timeout=60)
    assert child.returncode == Code.ENGINE_DOWN, text + rest
    assert "fix: invoke setup" in rest
    up.invoke("setup", "--yes", "up")
    assert nothing_lost(up)


def test_disk_full_in_the_build(up: Machine) -> None:
    """The engine's data on a file system of 400 MB: the build fails, and nothing else does."""
    up.invoke("down")
    stop_engine(up)
    up.sh("truncate -s 400M /disk && mkfs.ext4 -q /disk && mount -o loop /disk /var/lib/docker")
    try:
        up.invoke("setup", "--yes", check=False)
        done = up.invoke("up", check=False)
    finally:
        stop_engine(up)
        up.sh("umount -l /var/lib/docker && rm /disk")
    assert done.returncode == Code.DISK_FULL, said(done)
    assert "invoke clean" in said(done)
    up.invoke("setup", "--yes", "up")
    assert nothing_lost(up)


def stop_engine(machine: Machine) -> None:
    machine.sh("pkill -x dockerd; while pgrep -x dockerd; do sleep 0.1; done")
    machine.sh("pkill -x containerd; while pgrep -x containerd; do sleep 0.1; done")


@pytest.fixture
def index(up: Machine) -> Iterator[Machine]:
    """The lab's package index is one that misbehaves as its first path segment says."""
    up.write("/root/broken_index.py", INDEX.read_text())
    server = up.start_process("python3", "/root/broken_index.py")
    conf = "/root/.config/pip/pip.conf"
    up.sh("mkdir -p /root/.config/pip")
    lock = up.run("cat", "docker/packages.lock").stdout
    yield up
    up.sh(f"rm -f {conf}; pkill -f broken_index.py", check=False)
    server.wait(10)
    up.write("docker/packages.lock", lock)
    up.invoke("setup", "--yes", "up")


@pytest.mark.parametrize(
    ("how", "code"),
    [("down", Code.NETWORK), ("cut", Code.NETWORK), ("slow", 0)],
)
def test_package_index(index: Machine, how: str, code: int) -> None:
    """Down, cutting off half-way, or merely slow: the last one must still work."""
    port = 1 if how == "down" else 8765
    gateway = index.sh("ip -4 -o addr show docker0").split()[3].partition("/")[0]
    text = f"[global]\nindex-url = http://{gateway}:{port}/{how}\ntrusted-host = {gateway}\n"
    index.write("/root/.config/pip/pip.conf", text)
    spoil(index, f"labcrate-probe-{how}==1.0\n")
    before = index.run("docker", "image", "ls", "--quiet", "--no-trunc").stdout
    done = index.invoke("up", check=False)
    assert done.returncode == code, said(done)
    if code:
        assert "package index" in said(done)
        assert index.run("docker", "image", "ls", "--quiet", "--no-trunc").stdout == before
    assert nothing_lost(index)


def test_down_during_up(up: Machine) -> None:
    up.invoke("down")
    spoil(up)
    first = up.start("up")
    time.sleep(1.0)
    down = up.invoke("down")
    text, _ = first.communicate(timeout=120)
    assert first.returncode == 0, text
    assert "Waiting for `invoke up`" in down.stdout
    assert not up.run("docker", "compose", "ps", "--all", "--quiet").stdout


def test_clone_moved_while_up(up: Machine) -> None:
    """The lab goes on where it was; the next `up` takes it to where the clone is now."""
    moved = '/root/moved it\'s "here"'
    up.sh(f"mv {CLONE} {quoted(moved)} && mkdir {CLONE}")
    try:
        invoke = f"cd {quoted(moved)} && python3 bootstrap.py invoke"
        out = up.sh(f"{invoke} up")
        assert "jupyter" in out
        up.sh(f"cd {quoted(moved)} && docker compose exec -T jupyter touch /lab/runs/after")
        assert up.sh(f"ls {quoted(moved)}/runs").split() == ["after"]
        up.sh(f"{invoke} down")
    finally:
        up.sh(f"rmdir {CLONE} && mv {quoted(moved)} {CLONE}")
    assert nothing_lost(up)


def quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


def test_port_changed_while_up(up: Machine) -> None:
    port = up.run("sh", "-c", "grep ^JUPYTER_PORT .env").stdout.strip().partition("=")[2]
    up.set(JUPYTER_PORT="18765")
    try:
        out = up.invoke("up").stdout
        assert "http://127.0.0.1:18765/" in out
        assert f":{port} " not in up.sh("ss -ltn")
    finally:
        up.set(JUPYTER_PORT=port)
        up.invoke("up")


def test_clock_set_back_a_day(up: Machine) -> None:
    spoil(up)
    done = up.run("faketime", "-f", "-1d", ".venv/bin/python", "-m", "invoke", "up", check=False)
    assert done.returncode == 0, said(done)
    assert up.health() == "healthy"


def test_a_read_only_clone(up: Machine) -> None:
    up.invoke("down")
    up.sh(f"mount --bind {CLONE} {CLONE} && mount -o remount,ro,bind {CLONE}")
    try:
        for task in (("setup", "--yes"), ("up",)):
            done = up.invoke(*task, check=False)
            assert (done.returncode, "read-only" in said(done)) == (Code.FOLDER, True), said(done)
    finally:
        up.sh(f"umount --lazy {CLONE}")


def test_killed_clean_can_be_repeated_and_leaves_nothing(up: Machine) -> None:
    """The last test here: SIGKILL in the middle of `clean --all`, and then a whole one."""
    child = up.start("clean", "--all", "--yes")
    time.sleep(1.2)
    up.sh("pkill -KILL -f 'invoke clean'", check=False)
    child.communicate(timeout=60)
    done = up.invoke("clean", "--all", "--yes")
    assert up.labelled() == {}, said(done)
    assert "labcrate" not in up.sh("docker buildx du --verbose")
    assert nothing_lost(up)
    assert up.run("test", "-f", ".env").returncode == 0
