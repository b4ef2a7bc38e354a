"""Faults in the middle of `add-package`, on a machine whose engine, disk and index may fail."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from clone import read_until, said
from faultlog import Happened, told
from machine import Machine

from labcrate.errors import Code

INDEX_PORT = 8765
GIT_PORT = 8766


def state(machine: Machine) -> str:
    """Files of docker/ and the image behind the lab's name."""
    image = "docker image inspect --format '{{.Id}}' $(docker compose config --images jupyter)"
    return machine.sh(f"cat docker/packages.in docker/packages.lock docker/apt.txt; {image}")


def gateway(machine: Machine) -> str:
    """The machine's own address, as containers see it."""
    return machine.sh("ip -4 -o addr show docker0").split()[3].partition("/")[0]


@pytest.fixture
def index(up: Machine) -> Iterator[Machine]:
    """The package index is one that misbehaves as its first path segment says."""
    from test_faults import INDEX

    up.write("/root/broken_index.py", INDEX.read_text())
    server = up.start_process("python3", "/root/broken_index.py")
    up.sh("mkdir -p /root/.config/pip")
    yield up
    up.sh("rm -f /root/.config/pip/pip.conf; pkill -f broken_index.py", check=False)
    server.wait(10)
    up.invoke("setup", "--yes")


@pytest.mark.fault("add-package with the index down, cut off half-way, and slow")
@pytest.mark.parametrize(
    ("how", "code"), [("down", Code.NETWORK), ("cut", Code.NETWORK), ("slow", 0)]
)
def test_index(index: Machine, how: str, code: int, happened: Happened) -> None:
    port = 1 if how == "down" else INDEX_PORT
    address = f"http://{gateway(index)}:{port}/{how}"
    conf = f"[global]\nindex-url = {address}\ntrusted-host = {gateway(index)}\n"
    index.write("/root/.config/pip/pip.conf", conf)
    index.invoke("setup", "--yes")
    before = state(index)
    done = index.invoke("add-package", f"labcrate-probe-add-{how}", check=False)
    assert done.returncode == code, said(done)
    if code:
        assert state(index) == before
    else:
        module = f"labcrate_probe_add_{how}"
        index.sh(f"docker compose exec -T jupyter python -c 'import {module}'")
        index.invoke("remove-package", f"labcrate-probe-add-{how}")
    happened(f"{how}: {told(done)}")


@pytest.mark.fault("the engine killed while add-package builds")
def test_engine_killed(up: Machine, happened: Happened) -> None:
    before = state(up)
    child = up.start("add-package", "einops")
    read_until(child, "build:")
    up.kill_engine()
    rest, _ = child.communicate(timeout=120)
    assert child.returncode == Code.ENGINE_DOWN, rest
    up.invoke("setup", "--yes")
    up.wait_healthy()
    assert state(up) == before
    up.invoke("add-package", "einops")
    up.invoke("remove-package", "einops")
    nameless = up.sh("docker image ls --quiet --no-trunc --filter dangling=true").split()
    used = up.sh("docker inspect --format '{{.Image}}' $(docker ps --all --quiet)").split()
    assert set(nameless) <= set(used), "a stage, or an image that nothing runs on, stays"
    happened(f"exit {child.returncode}; files and image as before; the same command then succeeds")


@pytest.mark.fault("the disk full while add-package builds (60 MB left)")
def test_disk_full(up: Machine, happened: Happened) -> None:
    before = state(up)
    with up.full_disk(left_mb=60):
        done = up.invoke("add-package", "scipy", check=False)
        assert done.returncode == Code.DISK_FULL, said(done)
        assert state(up) == before
    up.invoke("add-package", "einops")
    up.invoke("remove-package", "einops")
    happened(f"{told(done)}; files and image as before; with room again the next one succeeds")


PROJECT = """
set -e; cd /lab/data; rm -rf thing thing.git; mkdir -p thing/thing; cd thing
echo X = 1 > thing/__init__.py
printf '[project]\\nname = "thing"\\nversion = "1.0"\\n' > pyproject.toml
git init -q -b main; git config user.email a@b; git config user.name a
git add .; git commit -qm one; git tag v1; echo X = 2 > thing/__init__.py; git commit -qam two
git clone -q --bare . ../thing.git; cd ../thing.git; git update-server-info
"""


def test_a_git_reference(up: Machine) -> None:
    """The tag that was named, locked to its commit; served from this machine."""
    up.run("docker", "compose", "exec", "-T", "jupyter", "bash", "-c", PROJECT)
    server = up.start_process("python3", "-m", "http.server", str(GIT_PORT), "-d", "data")
    try:
        address = f"git+http://{gateway(up)}:{GIT_PORT}/thing.git@v1"
        up.invoke("add-package", f"thing @ {address}")
        asked = "from thing import X; print(X)"
        printed = up.run("docker", "compose", "exec", "-T", "jupyter", "python", "-c", asked)
        assert printed.stdout == "1\n"
        lock = up.sh("cat docker/packages.lock")
        assert re.search(r"^thing @ git\+http://\S+thing\.git@[0-9a-f]{40}", lock, re.MULTILINE)
        up.invoke("remove-package", "thing")
    finally:
        up.sh(f"pkill -f 'http.server {GIT_PORT}'; rm -rf data/thing data/thing.git", check=False)
        server.wait(10)
