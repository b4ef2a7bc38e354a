"""Faults of the engine, its disk and the network, on a machine whose engine may be killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from broken_index import wheel
from clone import read_until, said
from faultlog import Happened, told
from machine import CLONE, Machine

from labcrate.errors import Code

INDEX = Path(__file__).with_name("broken_index.py")


def spoil(machine: Machine, requirement: str = "") -> None:
    """Make the next `up` rebuild the final stage, with a package or a mere comment more."""
    machine.write("docker/packages.lock", requirement or f"# {time.time()}\n")


def pin(name: str) -> str:
    """A line of a lock for a project of broken_index.py."""
    return f"{name}==1.0 --hash=sha256:{sha256(wheel(name)).hexdigest()}\n"


@pytest.mark.fault("a machine without an engine, of another release")
def test_one_command_on_a_bare_debian_13(machine: Machine, happened: Happened) -> None:
    """The README's first command, where no engine is installed: another release than this one."""
    started = time.monotonic()
    done = machine.run("python3", "bootstrap.py", "invoke", "setup", "--yes", "up", timeout=600)
    assert "installed and started" in done.stdout
    assert machine.health() == machine.health("tensorboard") == "healthy"
    happened(f"one command to a healthy lab, in {time.monotonic() - started:.0f} s")


@pytest.mark.fault(
    "the engine killed while the lab is up: with all its processes, and dockerd alone"
)
@pytest.mark.parametrize("alone", [False, True], ids=["all", "dockerd"])
def test_engine_killed_while_the_lab_is_up(up: Machine, alone: bool, happened: Happened) -> None:
    """Killed alone, it finds its containers running as it starts, and stops them first."""
    up.kill_engine(alone)
    done = up.invoke("status", check=False)
    assert done.returncode == Code.ENGINE_DOWN
    assert "fix: invoke setup" in said(done)
    up.invoke("setup", "--yes")
    seconds = up.wait_healthy()
    assert up.nothing_lost()
    assert "already up" in up.invoke("up").stdout
    happened(f"{told(done)}; after `invoke setup` the lab is back by itself")
    happened(f"{seconds:.0f} s later ({'dockerd alone' if alone else 'all processes'})", 0)


@pytest.mark.fault("a second clone set up while the engine is down")
def test_a_second_clone_is_set_up_while_the_engine_is_down(up: Machine, happened: Happened) -> None:
    """The first lab comes back as the engine starts; the second clone must not get its ports."""
    up.kill_engine()
    up.sh(
        f"mkdir /root/second && cd {CLONE} && "
        f"tar c --exclude .env --exclude .venv --exclude .labcrate . | tar x -C /root/second"
    )
    base = up.sh("grep ^BASE_IMAGE= .env").strip()
    up.sh(f"cd /root/second && {base} {CLONE}/.venv/bin/python -m invoke setup --yes")
    listed = "grep -E '^(JUPYTER|TENSORBOARD)_PORT='"
    ports = [up.sh(f"{listed} {folder}/.env").split() for folder in (CLONE, "/root/second")]
    up.sh("rm -rf /root/second")
    assert len(set(ports[0] + ports[1])) == 4
    up.wait_healthy()
    happened("it gets other ports, and the first lab its own")


@pytest.mark.fault("the engine killed in the middle of a build")
def test_engine_killed_in_the_middle_of_a_build(up: Machine, happened: Happened) -> None:
    # A system package: a step of some seconds, so that the build is not over when the engine dies.
    up.write("docker/apt.txt", "tree\n")
    child = up.start("up")
    text = read_until(child, "--progress plain build")
    time.sleep(1.0)
    up.kill_engine()
    rest, _ = child.communicate(timeout=180)
    assert child.returncode == Code.ENGINE_DOWN, text + rest
    assert "fix: invoke setup" in rest
    up.invoke("setup", "--yes", "up")
    assert up.nothing_lost()
    up.write("docker/apt.txt", "")
    happened(f"exit {child.returncode}, fix: invoke setup; the same build then succeeds")


@pytest.mark.fault("the engine's disk full in a build (20 MB left)")
def test_disk_full_in_the_build(up: Machine, happened: Happened) -> None:
    """The build fails, and nothing else does."""
    up.invoke("down")
    up.write("docker/apt.txt", "cmake\n")
    with up.full_disk(left_mb=20):
        done = up.invoke("up", check=False)
    assert done.returncode == Code.DISK_FULL, said(done)
    assert "invoke clean" in said(done)
    up.write("docker/apt.txt", "tree\n")
    up.invoke("up")
    up.run("docker", "compose", "exec", "-T", "jupyter", "which", "tree")
    assert up.nothing_lost()
    up.write("docker/apt.txt", "")
    happened(f"{told(done)}; with room again the build succeeds")


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


@pytest.mark.fault("the package index down, cut off half-way, and slow")
@pytest.mark.parametrize(
    ("how", "code"),
    [("down", Code.NETWORK), ("cut", Code.NETWORK), ("slow", 0)],
)
def test_package_index(index: Machine, how: str, code: int, happened: Happened) -> None:
    """Down, cutting off half-way, or merely slow: the last one must still work."""
    port = 1 if how == "down" else 8765
    gateway = index.sh("ip -4 -o addr show docker0").split()[3].partition("/")[0]
    text = f"[global]\nindex-url = http://{gateway}:{port}/{how}\ntrusted-host = {gateway}\n"
    index.write("/root/.config/pip/pip.conf", text)
    spoil(index, pin(f"labcrate-probe-{how}"))
    before = index.run("docker", "image", "ls", "--quiet", "--no-trunc").stdout
    done = index.invoke("up", check=False)
    assert done.returncode == code, said(done)
    if code:
        assert "package index" in said(done)
        assert index.run("docker", "image", "ls", "--quiet", "--no-trunc").stdout == before
    assert index.nothing_lost()
    happened(f"{how}: {told(done)}")


@pytest.mark.fault("`down` while `up` builds")
def test_down_during_up(up: Machine, happened: Happened) -> None:
    up.invoke("down")
    spoil(up)
    first = up.start("up")
    time.sleep(1.0)
    down = up.invoke("down")
    text, _ = first.communicate(timeout=120)
    assert first.returncode == 0, text
    assert "Waiting for `invoke up`" in down.stdout
    assert not up.run("docker", "compose", "ps", "--all", "--quiet").stdout
    happened("`down` waits, says for whom, then stops the lab; both exit 0")


@pytest.mark.fault("the clone moved while up, to a path with a space and both quotes")
def test_clone_moved_while_up(up: Machine, happened: Happened) -> None:
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
    assert up.nothing_lost()
    happened("`up` takes the lab along; files are written where the clone is now")


def quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


@pytest.mark.fault("JUPYTER_PORT changed in .env while up")
def test_port_changed_while_up(up: Machine, happened: Happened) -> None:
    port = up.run("sh", "-c", "grep ^JUPYTER_PORT .env").stdout.strip().partition("=")[2]
    up.set(JUPYTER_PORT="18765")
    try:
        out = up.invoke("up").stdout
        assert "http://127.0.0.1:18765/" in out
        assert f":{port} " not in up.sh("ss -ltn")
    finally:
        up.set(JUPYTER_PORT=port)
        up.invoke("up")
    happened("the next `up` moves to the new port and leaves the old one")


@pytest.mark.fault("the clock set back by a day, and a rebuild")
def test_clock_set_back_a_day(up: Machine, happened: Happened) -> None:
    spoil(up)
    done = up.run("faketime", "-f", "-1d", ".venv/bin/python", "-m", "invoke", "up", check=False)
    assert done.returncode == 0, said(done)
    assert up.health() == "healthy"
    happened("exit 0, healthy")


@pytest.mark.fault("a read-only clone")
def test_a_read_only_clone(up: Machine, happened: Happened) -> None:
    up.invoke("down")
    up.sh(f"mount --bind {CLONE} {CLONE} && mount -o remount,ro,bind {CLONE}")
    try:
        for task in (("setup", "--yes"), ("up",)):
            done = up.invoke(*task, check=False)
            assert (done.returncode, "read-only" in said(done)) == (Code.FOLDER, True), said(done)
    finally:
        up.sh(f"umount --lazy {CLONE}")
    happened(told(done), 2)


@pytest.mark.attack(
    "a package index whose address carries a password: builds that succeed and fail"
)
def test_the_password_of_an_index_shows_nowhere(index: Machine, happened: Happened) -> None:
    gateway = index.sh("ip -4 -o addr show docker0").split()[3].partition("/")[0]
    looked = 0
    for how, code in (("locked", 0), ("lockedcut", Code.NETWORK)):
        address = f"http://me:{PASSWORD}@{gateway}:8765/{how}"
        text = f"[global]\nindex-url = {address}\ntrusted-host = {gateway}\n"
        index.write("/root/.config/pip/pip.conf", text)
        spoil(index, pin(f"labcrate-secret-{how}"))
        done = index.invoke("up", check=False)
        assert done.returncode == code, said(done)
        for name, text in password_places(index, said(done)).items():
            looked += 1
            assert text, f"{name} says nothing: the look-up is broken"
            assert PASSWORD not in text, name
    kept = index.sh("docker compose exec -T jupyter cat /run/secrets/uv.toml")
    assert PASSWORD in kept, "the running lab must be able to install from that index"
    happened(
        "in no layer, history, log, environment or printed line; in the lab as a secret", looked
    )


PASSWORD = "s3cret-of-the-index"


def password_places(machine: Machine, printed: str) -> dict[str, str]:
    """What each place shows where a build's arguments and secrets tend to turn up."""
    images = "$(docker images -q --no-trunc)"
    folders = "/var/lib/docker/overlay2 /var/lib/docker/image /var/lib/docker/buildkit"
    layers = f"grep -rlaF {PASSWORD} {folders}"
    scripts = {
        "history": f"for i in {images}; do docker history --no-trunc $i; done",
        "image inspect": f"docker image inspect {images}",
        "container inspect": "docker inspect $(docker ps -aq)",
        "container environment": "docker compose exec -T jupyter env",
        "compose config": "docker compose config",
        "compose logs": "docker compose logs",
        "build records": "docker buildx du --verbose",
        "build.log": "cat .labcrate/build.log",
        "every process": "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; done",
        # The builder's own records of builds, with their arguments, are among these files.
        "the engine's files": f"{layers} | sed s/^/{PASSWORD}:/; echo looked",
    }
    shown = {name: machine.run("bash", "-c", text, check=False) for name, text in scripts.items()}
    return {"screen": printed, **{name: said(one) for name, one in shown.items()}}


SLOW = "/usr/local/bin/docker"


@pytest.mark.fault("Ctrl-C, SIGTERM and SIGKILL while clean removes the build cache")
@pytest.mark.parametrize(("sent", "code"), [("INT", 130), ("TERM", 143), ("KILL", 137)])
def test_clean_stopped_in_the_build_cache(
    up: Machine, sent: str, code: int, happened: Happened
) -> None:
    # The engine removes a few records faster than anybody can stop it.
    up.write(SLOW, '#!/bin/sh\n[ "$2" != prune ] || sleep 5\nexec /usr/bin/docker "$@"\n')
    up.sh(f"chmod 755 {SLOW}")
    try:
        child = up.start("clean", "--cache", "--yes")
        read_until(child, "records of the build cache")
        up.sh(f"pkill -{sent} -f 'invoke [c]lean'")
        rest, _ = child.communicate(timeout=180)
    finally:
        up.sh(f"rm {SLOW}")
    assert child.returncode == code, rest
    assert up.nothing_lost()
    happened(f"SIG{sent}: exit {child.returncode}; the next `up` works")
