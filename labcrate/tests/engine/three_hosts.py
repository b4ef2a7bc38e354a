"""A cluster of three hosts with the lab's own PyTorch: this machine, and two engines beside it.

`nox -s cluster` runs it; its name keeps it out of other runs. It measures, into
reports/cluster.json; docs/cluster.md has the figures. The hosts share one kernel and one pair of
cores, and a folder as by NFS. two_hosts.py has the messages, and hosts that are reached by ssh.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from clone import ROOT, Lab, read_until, said
from machine import Machine, base_image, start_machine
from two_hosts import address_of, sizes, start_engine

EXAMPLES = ROOT / "labcrate" / "docs" / "examples"
FIGURES = ROOT / "reports" / "cluster.json"
SHARED = "/srv/lab"
PORT = 2375

HOST = """
[hosts.{name}]
context = "{context}"
address = "{address}"
interface = "{card}"
folder = "{folder}"
"""

WORK = """
import time
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(2)
net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(),
                    nn.Linear(32 * 24 * 24, 10))
optimizer = torch.optim.Adam(net.parameters())
started = time.monotonic()
for step in range(120):
    pictures, labels = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    loss = nn.functional.cross_entropy(net(pictures), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"trained in {time.monotonic() - started:.3f} s")
"""
"""Some seconds of training on two cores, the same wherever it runs."""


@dataclass(kw_only=True)
class Hosts:
    """The lab, which is the head, and the other hosts, the first of which is to die."""

    lab: Lab
    others: dict[str, Machine]
    figures: dict[str, object] = field(default_factory=dict)

    def note(self, name: str, figure: object) -> None:
        self.figures[name] = figure
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps(self.figures, indent=2) + "\n", encoding="utf-8")

    def write(self, *names: str) -> None:
        """cluster.toml with the lab's own engine as the head, and these hosts."""
        show = "{{(index .IPAM.Config 0).Gateway}}"
        here = self.lab.docker("network", "inspect", "bridge", "--format", show).stdout.strip()
        head = {"name": "one", "context": "default", "address": here, "card": "docker0"}
        text = HOST.format(**head, folder=self.lab.root)
        for name in names:
            address = address_of(self.others[name])
            other = {"name": name, "context": self.others[name].name, "address": address}
            text += HOST.format(**other, card="eth0", folder=SHARED)
        (self.lab.root / "cluster.toml").write_text(text, encoding="utf-8")

    def cluster(self, *words: str) -> str:
        return str(self.lab.invoke("cluster", *words, timeout=900).stdout)


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    lab.invoke("add-package", "ray[default,train,tune]", timeout=600)
    # Ray is big: the next change settles it, in a layer that is new once more.
    lab.invoke("add-package", "humanize", timeout=600)
    for example in EXAMPLES.glob("*.py"):
        shutil.copy(example, lab.root / "src")
    (lab.root / "src" / "work.py").write_text(WORK)
    others: dict[str, Machine] = {}
    try:
        for name in ("two", "three"):
            shared = ("--volume", f"{lab.root}:{SHARED}")
            others[name] = start_machine(base_image(), tmp_path_factory.mktemp(name), *shared)
            open_engine(lab, others[name])
        yield Hosts(lab=lab, others=others)
    finally:
        lab.invoke("cluster", "down", "--force", check=False)
        for machine in others.values():
            lab.docker("context", "rm", "--force", machine.name)
            subprocess.run(["docker", "rm", "--force", "--volumes", machine.name], check=False)
        (lab.root / "cluster.toml").unlink(missing_ok=True)
        lab.invoke("remove-package", "ray", "humanize", "einops", timeout=600)


def open_engine(lab: Lab, machine: Machine) -> None:
    """An engine that listens in the network of the containers, and a context that leads to it."""
    listen = ("-H", "unix:///var/run/docker.sock", "-H", f"tcp://0.0.0.0:{PORT}", "--tls=false")
    start_engine(machine, *listen)
    endpoint = f"host=tcp://{address_of(machine)}:{PORT}"
    made = lab.docker("context", "create", machine.name, "--docker", endpoint)
    assert made.returncode == 0, said(made)


def seconds_in(text: str, what: str) -> float:
    (found,) = re.findall(rf"{what}.*?([\d.]+) s\b", text)
    return float(found)


def test_a_node_costs_a_training_nothing(hosts: Hosts) -> None:
    """The same training in the lab and as a job of a cluster of one, in turn."""
    hosts.write()
    hosts.note("up, one node", seconds_in(hosts.cluster("up"), "1 node"))
    plain, joined = [], []
    for _ in range(4):
        told = hosts.lab.invoke("run", "--", "python", "/lab/src/work.py").stdout
        plain.append(seconds_in(told, "trained in"))
        joined.append(seconds_in(hosts.cluster("run", "--", "python", "work.py"), "trained in"))
    hosts.note("training in the lab", plain)
    hosts.note("training in a cluster of one", joined)
    hosts.note("overhead", min(joined) / min(plain))
    assert min(joined) < 1.15 * min(plain)


def test_the_image_reaches_the_others_and_then_a_package_alone(hosts: Hosts) -> None:
    for name in hosts.others:
        hosts.write(name)
        ((sent, whole),) = pushed(hosts, "push to")
        assert sent == whole
    hosts.write(*hosts.others)
    hosts.lab.invoke("add-package", "einops", timeout=600)
    figures = pushed(hosts, "push of einops to")
    assert len(figures) == 2
    for sent, whole in figures:
        assert 0 < sent < 0.01 * whole


def pushed(hosts: Hosts, what: str) -> list[tuple[float, float]]:
    """Push, note what that cost for each host, and tell the bytes that were sent, and all."""
    lines = [line for line in hosts.cluster("push").splitlines() if "has the image" in line]
    for line in lines:
        sent, whole = sizes(line)
        figure = {"bytes": sent, "of": whole, "s": seconds_in(line, "sent")}
        hosts.note(f"{what} {line.split(':')[0].strip()}", figure)
    return [sizes(line) for line in lines]


def test_three_nodes_join(hosts: Hosts) -> None:
    hosts.cluster("down", "--force")
    told = hosts.cluster("up")
    hosts.note("up, three nodes", seconds_in(told, "3 nodes"))
    assert "The runs/" not in hosts.cluster("check")


def test_a_search_runs_on_all_and_shows_in_tensorboard(hosts: Hosts) -> None:
    told = hosts.cluster("run", "--", "env", "TRIALS=6", "python", "sweep.py")
    (best,) = re.findall(r"best: (0\.\d+) with", told)
    assert float(best) > 0.9
    assert len(list((hosts.lab.root / "runs" / "ray" / "sweep").glob("work_*/events*"))) == 6


def test_a_training_outlives_a_host(hosts: Hosts) -> None:
    """DDP with a worker on each host; one loses its power, and the others go on."""
    job = hosts.lab.start("cluster", "run", "--", "env", "EPOCHS=40", "python", "ddp.py")
    try:
        before = read_until(job, "'epoch': 5,")
        subprocess.run(["docker", "kill", hosts.others["two"].name], check=True)
        assert job.stdout is not None
        after = job.stdout.read()
        assert job.wait(60) == 0, before + after
    finally:
        job.kill()
    assert "'workers': 3}" in before
    (again,) = {int(found) for found in re.findall(r"goes on after epoch (\d+)", after)}
    hosts.note("goes on after epoch", again)
    assert again >= 3
    assert "{'epoch': 39, " in after
    runs = Path(hosts.lab.root, "runs")
    assert list((runs / "ray" / "ddp").glob("checkpoint_*/state.pt"))
    assert list((runs / "ddp").glob("events*"))
    assert "two          missing" in said(hosts.lab.invoke("cluster", "status", check=False))
