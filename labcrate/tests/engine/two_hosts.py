"""A cluster of two real hosts, reached by ssh as a user would: each a machine with an engine of its
own (machine.py). `nox -s cluster` runs it, in some minutes; its name keeps it out of other runs.

The hosts are one machine underneath: one kernel, one clock, and a network that loses nothing. Their
image has no PyTorch. So this proves the wiring and the messages; it measures nothing.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from clone import ROOT, said
from machine import Machine, base_image, start_machine

from labcrate.errors import Code

ENGINE = "docker.io docker-cli iptables openssh-server"
"""All that a host needs; the clone is only on the head."""

ANSWERS = "for i in $(seq 120); do docker info > /dev/null 2>&1 && exit; sleep 0.5; done; exit 1"
"""Waits until an engine that was started answers."""

CLUSTER = """
[hosts.one]
context = "default"
address = "{one}"
interface = "eth0"
folder = "/srv/lab"

[hosts.two]
context = "two"
address = "{two}"
interface = "eth0"
folder = "/srv/lab"
"""


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The head, where the commands are typed, and another host."""

    one: Machine
    two: Machine
    project: str

    @property
    def node(self) -> str:
        return f"{self.project}-cluster-node-1"

    def cluster(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.one.invoke("cluster", *words, check=check)

    def refused(self, *words: str, code: int = Code.CLUSTER) -> str:
        done = self.cluster(*words, check=False)
        assert done.returncode == code, said(done)
        return said(done)

    def token(self) -> str:
        text = self.one.sh("cat .labcrate/cluster/token.env")
        return text.strip().removeprefix("CLUSTER_TOKEN=")


def address_of(machine: Machine) -> str:
    (found,) = re.findall(r"inet ([\d.]+)/", machine.sh("ip -4 -o address show eth0"))
    return str(found)


def start_engine(machine: Machine, *listen: str) -> None:
    """A host that has an engine, and nothing of the lab. listen: options of dockerd."""
    machine.sh(f"apt-get install -qq -y --no-install-recommends {ENGINE} > /dev/null 2>&1")
    subprocess.run(["docker", "exec", "--detach", machine.name, "dockerd", *listen], check=True)
    machine.sh(ANSWERS)


def let_in(one: Machine, two: Machine, address: str) -> None:
    """The head's user may log in on the other host without a password; docker uses that."""
    one.sh("apt-get install -qq -y --no-install-recommends openssh-client > /dev/null 2>&1")
    one.sh("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
    key = one.sh("cat /root/.ssh/id_ed25519.pub")
    two.sh("mkdir -p /run/sshd && /usr/sbin/sshd && mkdir -p -m 700 /root/.ssh")
    two.write("/root/.ssh/authorized_keys", key)
    one.sh(f"ssh-keyscan {address} > /root/.ssh/known_hosts 2> /dev/null")
    one.sh(f"docker context create two --docker host=ssh://root@{address}")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Two hosts; the head has the lab's image, with Ray, and the other one has none."""
    made: list[Machine] = []
    try:
        for name in ("one", "two"):
            made.append(start_machine(base_image(), tmp_path_factory.mktemp(name)))
        one, two = made
        one.run("python3", "bootstrap.py", "invoke", "setup", "--yes", timeout=600)
        start_engine(two)
        let_in(one, two, address_of(two))
        for package in ("ray[default]", "humanize"):
            # The second change settles Ray, which is big, in a layer that is new once more.
            one.run(".venv/bin/python", "-m", "invoke", "add-package", package, timeout=900)
        for machine in made:
            machine.sh("mkdir -p /srv/lab/notebooks /srv/lab/src /srv/lab/runs")
            machine.sh("mkdir -p /srv/lab/data /srv/lab/models && chmod 777 /srv/lab/*")
        one.write("cluster.toml", CLUSTER.format(one=address_of(one), two=address_of(two)))
        one.write("src/where.py", example())
        project = one.sh("sed -n 's/^COMPOSE_PROJECT_NAME=//p' .env").strip()
        yield Hosts(one=one, two=two, project=project)
    finally:
        names = [machine.name for machine in made]
        subprocess.run(["docker", "rm", "--force", "--volumes", *names], capture_output=True)


def example() -> str:
    """The job of docs/cluster.md."""
    page = (ROOT / "labcrate" / "docs" / "cluster.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(found)


def test_a_host_without_the_image_gets_it(hosts: Hosts) -> None:
    assert "host two does not have the lab's image" in hosts.refused("check")
    sent, whole = sizes(hosts.cluster("push").stdout)
    assert sent == whole
    assert "nothing was sent" in hosts.cluster("push").stdout
    checked = hosts.cluster("check").stdout
    assert "All 2 hosts are ready" in checked
    assert "The runs/ of two is not the head's" in checked
    assert hosts.one.sh("ls -A /srv/lab/runs") == ""


def test_what_is_wrong_with_a_host_is_said_before_anything_starts(hosts: Hosts) -> None:
    before = hosts.one.run("cat", "cluster.toml").stdout
    for text, other, told in (
        ("eth0", "eth7", "there is no network card eth7"),
        (address_of(hosts.two), "10.9.8.7", "eth0 has the address"),
        ("/srv/lab", "/srv/none", "bind source path does not exist: /srv/none"),
    ):
        head, _, rest = before.partition("[hosts.two]")
        hosts.one.write("cluster.toml", f"{head}[hosts.two]{rest.replace(text, other)}")
        assert told in hosts.refused("up")
    hosts.one.write("cluster.toml", before)
    listen = "import socket, time; s = socket.create_server(('', 6381)); time.sleep(60)"
    taker = hosts.two.start_process("timeout", "60", "python3", "-c", listen)
    try:
        time.sleep(1)
        assert "host two: port 6381 is taken" in hosts.refused("up")
    finally:
        hosts.two.sh("pkill -f '[c]reate_server'")
        taker.wait(10)
    assert hosts.one.sh("docker ps --all --quiet") == ""


def test_up_joins_both(hosts: Hosts) -> None:
    shown = hosts.cluster("up").stdout
    assert "  2 nodes (" in shown
    assert "in the cluster: " in hosts.cluster("status").stdout


def test_the_token_is_shown_nowhere(hosts: Hosts) -> None:
    token = hosts.token()
    assert len(token) == 64
    for machine in (hosts.one, hosts.two):
        assert token not in machine.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert token not in machine.sh(f"docker inspect {hosts.node}")
        assert token not in machine.sh(f"docker logs {hosts.node} 2>&1")


def test_a_job_runs_on_every_node(hosts: Hosts) -> None:
    """And it is the example of the docs."""
    shown = hosts.cluster("run", "--", "python", "where.py").stdout
    names = {machine.sh("hostname").strip() for machine in (hosts.one, hosts.two)}
    (listed,) = re.findall(r"^\[(.*)\]$", shown, re.MULTILINE)
    assert set(re.findall(r"'(\S+)'", listed)) == names


@pytest.mark.parametrize("code", [7, 0])
def test_a_jobs_own_exit_code_comes_back(hosts: Hosts, code: int) -> None:
    script = f"print('from the job'); raise SystemExit({code})"
    done = hosts.cluster("run", "--", "python", "-c", script, check=False)
    assert (done.returncode, "from the job" in done.stdout) == (code, True), said(done)


def test_a_killed_job_ends_as_in_a_shell(hosts: Hosts) -> None:
    done = hosts.cluster("run", "--", "sh", "-c", "kill -KILL $$", check=False)
    assert done.returncode == 137, said(done)


def test_a_stranger_without_the_token_runs_nothing(hosts: Hosts) -> None:
    """A program that can reach the head, with another token, and with none."""
    address = f"{address_of(hosts.one)}:6379"
    code = f"import ray; ray.init(address='{address}'); print('joined')"
    for mode in ("RAY_AUTH_TOKEN_PATH=/tmp/other", "RAY_AUTH_MODE=disabled"):
        script = f"echo {'0' * 64} > /tmp/other; chmod 600 /tmp/other; {mode} timeout 60 python -c"
        done = hosts.two.run(
            "docker", "exec", hosts.node, "sh", "-c", f'{script} "{code}"', check=False
        )
        assert done.returncode != 0
        assert "joined" not in done.stdout


def test_a_job_is_not_lost_unasked(hosts: Hosts) -> None:
    job = hosts.one.start("cluster", "run", "--", "python", "-c", "import time; time.sleep(300)")
    try:
        wait_until(lambda: "job-" in hosts.cluster("status").stdout)
        assert "jobs run, and would be lost" in hosts.refused("down", code=Code.BUSY)
        assert "no node that runs is replaced" in hosts.cluster("up").stdout
        hosts.one.sh("pkill -INT -f '[i]nvoke cluster run'")
        job.wait(60)
    finally:
        job.kill()
    wait_until(lambda: "jobs         none" in hosts.cluster("status").stdout)


def test_a_node_that_died_joins_again(hosts: Hosts) -> None:
    hosts.two.sh(f"docker kill {hosts.node}")
    wait_until(lambda: hosts.cluster("status", check=False).returncode == Code.NOT_UP, 120)
    hosts.two.sh(f"docker start {hosts.node}")
    wait_until(lambda: hosts.cluster("status", check=False).returncode == 0, 120)


def test_another_image_is_refused_and_sent_again(hosts: Hosts) -> None:
    image = f"{hosts.project}/jupyter"
    hosts.two.sh(f"docker commit {hosts.node} {image}")
    assert "host two has another image of the lab" in hosts.refused("up")
    sent, whole = sizes(hosts.cluster("push").stdout)
    assert sent < 0.01 * whole
    assert "2 nodes" in hosts.cluster("up").stdout


def test_of_a_small_package_its_layer_alone_is_sent(hosts: Hosts) -> None:
    hosts.one.run(".venv/bin/python", "-m", "invoke", "add-package", "einops", timeout=900)
    sent, whole = sizes(hosts.cluster("push").stdout)
    assert 0 < sent < 0.01 * whole
    hosts.cluster("up")
    told = hosts.two.sh(
        f"docker exec {hosts.node} python -c 'import einops; print(einops.__name__)'"
    )
    assert told == "einops\n"
    assert hosts.two.sh("docker image ls --quiet --filter dangling=true") == ""


def test_a_node_with_another_token_is_named(hosts: Hosts) -> None:
    hosts.two.sh(f"docker rm --force {hosts.node}")
    before = hosts.token()
    hosts.one.write(".labcrate/cluster/token.env", f"CLUSTER_TOKEN={'0' * 64}\n")
    message = hosts.refused("up")
    assert "two: a node has another token than the cluster's head" in message
    assert before not in message
    hosts.cluster("down", "--force", "--images")
    assert hosts.two.sh(f"docker image ls --quiet {hosts.project}/jupyter") == ""
    assert hosts.one.sh(f"docker image ls --quiet {hosts.project}/jupyter") != ""
    sent, whole = sizes(hosts.cluster("push").stdout)
    assert sent == whole
    assert "2 nodes" in hosts.cluster("up").stdout
    assert hosts.token() not in (before, "0" * 64)


def test_down_copes_with_a_host_that_is_gone(hosts: Hosts) -> None:
    """Last: the other host stays off."""
    subprocess.run(["docker", "stop", "--time", "1", hosts.two.name], check=True)
    assert "host two: " in hosts.refused("check")
    assert "missing" in hosts.refused("status", code=Code.NOT_UP)
    assert "two cannot be reached" in hosts.refused("down")
    assert hosts.one.sh("docker ps --all --quiet") == ""
    before = hosts.one.run("cat", "cluster.toml").stdout
    hosts.one.write("cluster.toml", before.partition("[hosts.two]")[0])
    hosts.cluster("down")
    assert hosts.one.sh("ls .labcrate/cluster") == "one.json\ntwo.json\n"


UNITS = {"bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def sizes(said: str) -> tuple[float, float]:
    """What `push` sent of the image, and the image's whole archive; in bytes, as it rounds them."""
    pattern = r"has the image; ([\d.,]+) (\w+) of ([\d.]+) (\w+) were sent"
    ((sent, unit, whole, units),) = re.findall(pattern, said)
    return float(sent.replace(",", "")) * UNITS[unit], float(whole) * UNITS[units]


def wait_until(done: Callable[[], bool], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(1)
