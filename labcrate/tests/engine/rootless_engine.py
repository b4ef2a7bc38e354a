"""A rootless engine of an ordinary user, from Debian's packages, in a machine of the tests' own.

`nox -s rootless` runs it, in five minutes, and a job of its own on hosted runners.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from clone import said
from machine import CLONE, Machine, base_image

from labcrate.clone.env_file import fill, parse_env
from labcrate.errors import Code

USER, HOME = "lin", "/disk/lin"
RUN = "/tmp/lin-run"
IDS = "200000-265535"
PACKAGES = (
    "docker.io docker-cli docker-buildx docker-compose iptables rootlesskit uidmap slirp4netns"
)
DAEMON = "/usr/share/docker.io/contrib/dockerd-rootless.sh"

MAKE = f"""
set -e
apt-get install -qq -y --no-install-recommends {PACKAGES} > /dev/null 2>&1
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
chmod 666 /dev/net/tun
useradd --create-home --home-dir {HOME} --shell /bin/bash {USER}
grep -q '^{USER}:' /etc/subuid || usermod --add-subuids {IDS} --add-subgids {IDS} {USER}
cp -a {CLONE} {HOME}/lab
rm -rf {HOME}/lab/.env {HOME}/lab/.labcrate {HOME}/lab/.venv
install -d -m 700 {RUN}
chown -R {USER}: {HOME} {RUN}
"""


WAIT = f"""
for i in $(seq 60); do docker info > /dev/null 2>&1 && exit; sleep 0.5; done
cat {HOME}/dockerd.log; exit 1
"""


@dataclass(frozen=True)
class Account:
    """The ordinary user on that machine. Every command runs in his clone."""

    machine: Machine

    def argv(self, *command: str) -> tuple[str, ...]:
        environ = (
            f"HOME={HOME}",
            f"USER={USER}",
            f"XDG_RUNTIME_DIR={RUN}",
            "PATH=/usr/sbin:/usr/bin",
        )
        where = f"DOCKER_HOST=unix://{RUN}/docker.sock"
        cd = ("sh", "-c", 'cd "$0" && exec "$@"', f"{HOME}/lab")
        return ("runuser", "-u", USER, "--", "env", *environ, where, *cd, *command)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.machine.run(*self.argv(*command), check=check, timeout=400)

    def invoke(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("python3", "bootstrap.py", "invoke", *arguments, check=check)

    def sh(self, script: str) -> str:
        return self.run("sh", "-c", script).stdout.strip()

    def set(self, **values: str) -> None:
        text = fill(self.sh("cat .env"), values)
        self.machine.write(f"{HOME}/lab/.env", text)

    def labelled(self) -> str:
        """What carries a label of the lab on this user's engine."""
        label = "--filter label=dev.labcrate.project"
        kinds = ("ps -aq", "network ls -q", "volume ls -q", "image ls -q")
        return self.sh("; ".join(f"docker {kind} {label}" for kind in kinds))


@pytest.fixture(scope="module")
def account(machine: Machine) -> Iterator[Account]:
    """The user, his engine, and the base image in it."""
    machine.sh(MAKE)
    made = Account(machine)
    daemon = made.argv("sh", "-c", f"exec {DAEMON} > {HOME}/dockerd.log 2>&1")
    child = machine.start_process(*daemon)
    try:
        made.sh(WAIT)
        with subprocess.Popen(["docker", "save", base_image()], stdout=subprocess.PIPE) as saved:
            load = machine.argv(*made.argv("docker", "load"))
            subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True)
        made.sh("cp .env.example .env && chmod 600 .env")
        made.set(BASE_IMAGE=base_image(), MEMORY_LIMIT="2g")
        yield made
    finally:
        machine.sh(f"pkill -u {USER}; rm -rf {HOME}/lab", check=False)
        child.terminate()
        child.wait(30)


def test_setup_and_up_as_an_ordinary_user(account: Account) -> None:
    done = account.invoke("setup", "--yes", "up")
    env = parse_env(account.sh("cat .env"))
    assert (env["LAB_UID"], env["LAB_GID"]) == ("0", "0")
    if account.sh("docker info --format '{{.MemoryLimit}}'") == "false":
        assert "cannot enforce MEMORY_LIMIT" in done.stderr


def test_a_file_of_the_lab_belongs_to_that_user(account: Account) -> None:
    account.sh("docker compose exec -T jupyter touch /lab/runs/from-inside /home/lab/x")
    assert account.sh("stat -c %U runs/from-inside") == USER
    seen = account.sh("docker compose exec -T jupyter sh -c 'id -u; grep Cap /proc/self/status'")
    uid, *capabilities = seen.splitlines()
    assert uid == "0"
    assert {int(line.split()[1], 16) for line in capabilities} == {0}


def test_the_doctor_finds_nothing_wrong_with_it(account: Account) -> None:
    done = account.invoke("doctor", check=False)
    told = said(done)
    assert "the engine is rootless" in told
    assert "another user than the lab's" not in told
    assert "cannot write" not in told


def test_a_package_is_added(account: Account) -> None:
    account.invoke("add-package", "einops")
    account.sh("docker compose exec -T jupyter python -c 'import einops'")


def test_an_env_from_another_engine_is_refused(account: Account) -> None:
    account.set(LAB_UID="1000", LAB_GID="1000")
    done = account.invoke("up", check=False)
    account.set(LAB_UID="0", LAB_GID="0")
    assert done.returncode == Code.SETTINGS
    assert "set LAB_UID=0 and LAB_GID=0 in .env" in said(done)


def test_clean_leaves_nothing(account: Account) -> None:
    account.invoke("clean", "--all", "--yes", "--force")
    assert account.labelled() == ""
    assert account.sh("stat -c %U runs/from-inside") == USER
