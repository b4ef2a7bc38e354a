"""README's first command, typed by an ordinary user with sudo on a machine without an engine.

On the nested machine: its engine is taken away first, where an earlier module has installed one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from clone import said
from machine import CA, CLONE, Machine

from labcrate.errors import Code

HOME = "/home/ada"
LAB = f"{HOME}/lab"

BASE, KEPT = "localhost/labcrate/debian:trixie", "kept/debian:trixie"
"""The base image that all clones of the machine share: an ordinary user must be able to make it."""

BARE = f"""
docker tag {BASE} {KEPT} && docker image rm {BASE}
pkill -x dockerd; pkill -x containerd; while pgrep -x dockerd; do sleep 0.1; done
apt-get -qq -y remove docker.io docker-cli docker-buildx docker-compose containerd uidmap
apt-get -qq -y --no-install-recommends install sudo
id ada || useradd --create-home --shell /bin/bash ada
echo 'ada ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ada
rm -rf {LAB} && mkdir {LAB}
tar c -C {CLONE} --exclude=./.venv --exclude=./.labcrate --exclude=./.env . | tar x -C {LAB}
chown -R ada:ada {LAB}
"""


def as_ada(machine: Machine, *command: str) -> subprocess.CompletedProcess[str]:
    """A session that begins now: with the groups that ada has at this moment."""
    variables = (f"HOME={HOME}", "USER=ada", f"SSL_CERT_FILE={CA}", f"PIP_CERT={CA}")
    session = ("runuser", "--user", "ada", "--", "env", "--chdir", LAB, *variables)
    return machine.run(*session, *command, check=False, timeout=600)


@pytest.fixture(scope="module")
def bare(machine: Machine) -> Iterator[Machine]:
    machine.run("bash", "-c", f"exec > /dev/null 2>&1; {BARE}")
    yield machine
    machine.sh(f"chown -R ada:ada {LAB}")
    as_ada(machine, "python3", "bootstrap.py", "invoke", "clean", "--all", "--yes")
    # Hers first: it would stay without a name.
    machine.sh(f"docker image rm {BASE}", check=False)
    machine.sh(f"docker tag {KEPT} {BASE} && docker image rm {KEPT}", check=False)


def roots_files(machine: Machine) -> str:
    """What ada could not change in her own clone."""
    return machine.sh(f"find {LAB} -user root")


def test_the_first_command_works_at_once(bare: Machine) -> None:
    """It installs the engine, goes on with the group that it made, and builds a base image."""
    done = as_ada(bare, "python3", "bootstrap.py", "invoke", "setup", "--yes", "url")
    assert done.returncode == 0, said(done)
    assert "usermod --append --groups docker ada" in said(done)
    assert "Ready. Next: invoke up" in done.stdout
    assert done.stdout.count("already runs: Docker") == 1
    assert f"built {BASE} from trixie's packages" in done.stdout
    # The task after `setup` ran as well, once.
    assert done.stdout.count("http://127.0.0.1:") == 2
    assert "type `newgrp docker` here" in done.stdout
    assert roots_files(bare) == ""
    assert bare.sh(f"grep -E '^LAB_(U|G)ID' {LAB}/.env").split() == [
        f"LAB_UID={bare.sh('id -u ada').strip()}",
        f"LAB_GID={bare.sh('id -g ada').strip()}",
    ]


def test_one_sudo_leaves_the_clone_its_owners(bare: Machine) -> None:
    bootstrap = ("python3", "bootstrap.py", "invoke")
    done = as_ada(bare, "sudo", f"SSL_CERT_FILE={CA}", *bootstrap, "setup", "--yes")
    assert done.returncode == 0, said(done)
    assert roots_files(bare) == ""
    done = as_ada(bare, *bootstrap, "status")
    assert done.returncode == 0, said(done)


def test_a_state_that_root_left_is_one_message(bare: Machine) -> None:
    bare.sh(f"chown -R root:root {LAB}/.labcrate")
    done = as_ada(bare, "python3", "bootstrap.py", "invoke", "down")
    assert done.returncode == Code.FOLDER, said(done)
    assert f"sudo chown -R $(id -u):$(id -g) '{LAB}/.labcrate'" in said(done)
    assert "Traceback" not in said(done)
