"""A lab on an engine, for the tests of the tasks: up, up to date, with a service of the owner's.

A test changes what it is about; everything else answers as a lab that is well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from double import Double
from invoke import Config, Context, Exit
from jupyter_server import JupyterServer
from machines import BARE, CLIENT, DRIVEN
from package_lab import fill_docker

from labcrate import environment, labels
from labcrate.clone.env_file import fill
from labcrate.clone.place import Clone
from labcrate.clone.ports import free_port
from labcrate.clone.settings import load
from labcrate.gpu import card_lock, decide, toolkit, unused
from labcrate.gpu.cards import Host
from labcrate.lab.compose import Lab, parse_model
from labcrate.lab.images import inputs_digest
from labcrate.tasks import cards

PROJECT = "lab-test-1"
INFO: dict[str, Any] = {
    "ServerVersion": "28.5.2",
    "ClientInfo": CLIENT,
    "OperatingSystem": "Debian GNU/Linux 13 (trixie)",
    "Architecture": "x86_64",
    "DockerRootDir": "/",
    "Runtimes": {"runc": {"path": "runc"}},
}

STARTED = "2026-11-26T08:15:30.123456789Z"
NO_WORK: dict[str, Any] = {"busy": [], "idle": [], "packages": {}, "unasked": ""}


@dataclass
class TaskLab:
    """What the engine says, made anew at each question.

    containers: service -> what differs from a healthy container; a service without an entry has
    none. runs: name -> what differs from one that works. work: what JupyterLab's container says
    is at work in it. others: containers of other labs, lab -> what differs from one without a GPU.
    built: service -> the inputs of its image; others are up to date.
    """

    clone: Clone
    double: Double
    ports: dict[str, int]
    info: dict[str, Any] = field(default_factory=lambda: dict(INFO))
    containers: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {name: {} for name in ("jupyter", "tensorboard", "mlflow")}
    )
    runs: dict[str, dict[str, str]] = field(default_factory=dict)
    others: dict[str, dict[str, str]] = field(default_factory=dict)
    work: dict[str, Any] = field(default_factory=lambda: dict(NO_WORK))
    built: dict[str, str] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    backend: str = "auto"
    host: Host = BARE

    def __post_init__(self) -> None:
        answers = {
            ("docker", "info"): lambda: self.info,
            ("docker", "context", "inspect"): list,
            ("docker", "context", "show"): lambda: "default\n",
            ("docker", "compose", "config"): self.raw,
            ("docker", "ps"): self.listing,
            ("docker", "container", "inspect"): self.inspections,
            ("docker", "image", "inspect"): self.images,
            ("docker", "compose", "--dry-run", "up"): lambda: "",
            ("docker", "compose", "up", "--wait"): lambda: "",
            ("pip", "config", "list"): lambda: "",
            ("docker", "exec", "work"): lambda: self.work,
            ("docker", "buildx", "du"): lambda: "",
        }
        for words, told in answers.items():
            self.answer(*words, told=told)

    def answer(self, *words: str, told: Any) -> None:
        """Answer with what `told` returns at that moment."""

        def fresh(argv: Sequence[str], _stdin: str | None) -> None:
            said = told(argv) if told == self.inspections else told()
            text = said if isinstance(said, str) else json.dumps(said)
            one.result = type(one.result)(argv=words, stdout=text)

        self.double.expect(*words, does=fresh)
        one = self.double.expected[0]

    def raw(self) -> dict[str, Any]:
        parts = {"labcrate-parts": str(self.clone.state / "parts")}
        build = {"context": str(self.clone.docker), "additional_contexts": parts}
        own = {"image": "mlflow:3", "ports": self.published("mlflow")}
        return {
            "name": PROJECT,
            "services": {
                "mlflow": own,
                "jupyter": self.service("jupyter", {**build, "target": "final"}),
                "tensorboard": self.service("tensorboard", {**build, "target": "tensorboard"}),
            },
            "volumes": {"home": {"name": f"{PROJECT}_home"}},
        }

    def service(self, name: str, build: dict[str, Any]) -> dict[str, Any]:
        args = {"args": {"TORCH_BACKEND": "auto"}}
        return {
            "image": f"{PROJECT}/{name}",
            "build": {**build, **args},
            "ports": self.published(name),
            "healthcheck": {"test": ["CMD", "true"]},
        }

    def published(self, name: str) -> list[dict[str, str]]:
        return [{"host_ip": "127.0.0.1", "published": str(self.ports[name])}]

    def listing(self) -> str:
        lines = [self.line(name) for name in self.containers]
        lines += [self.run_line(name, told) for name, told in self.runs.items()]
        lines += [self.other_line(name, told) for name, told in self.others.items()]
        return "".join(line + "\n" for line in lines)

    def line(self, name: str) -> str:
        ports = f"127.0.0.1:{self.ports[name]}->1/tcp"
        row = [f"id-{name}", f"{PROJECT}-{name}-1", "Up 2 hours", ports]
        state = self.containers[name].get("state", "running")
        lab = "" if name == "mlflow" else PROJECT
        return "\t".join([*row, PROJECT, name, "", "False", lab, state, "", ""])

    def run_line(self, name: str, told: dict[str, str]) -> str:
        """A run as the engine lists it. told: what differs from one that works."""
        status, state = told.get("status", "Up 2 hours"), told.get("state", "running")
        row = [f"id-{name}", f"{PROJECT}.{name}", status, ""]
        return "\t".join([*row, PROJECT, "jupyter", "", "True", "", state, name, '"python x.py"'])

    def other_line(self, lab: str, told: dict[str, str]) -> str:
        """JupyterLab of another lab of the engine."""
        row = [f"id-{lab}", f"{lab}-jupyter-1", "Up 2 hours", "", lab, "jupyter", "", "False", lab]
        return "\t".join([*row, told.get("state", "running"), "", ""])

    def inspections(self, argv: Sequence[str]) -> list[dict[str, Any]]:
        own = [self.inspection(name, told) for name, told in self.containers.items()]
        found = [*own, *(self.other_inspection(lab, told) for lab, told in self.others.items())]
        return [one for one in found if {one["Id"], one["Name"][1:]} & set(argv)]

    def other_inspection(self, lab: str, told: dict[str, str]) -> dict[str, Any]:
        known = {
            labels.COMPOSE_PROJECT: lab,
            labels.COMPOSE_SERVICE: "jupyter",
            labels.ONEOFF: "False",
            labels.GPU: told.get("gpu", ""),
        }
        state = {"Status": told.get("state", "running"), "ExitCode": 0, "StartedAt": STARTED}
        config = {"Labels": known}
        return {"Id": f"id-{lab}", "Name": f"/{lab}-jupyter-1", "State": state, "Config": config}

    def inspection(self, name: str, told: dict[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = {"Status": told.get("state", "running"), "ExitCode": 0}
        if name != "mlflow":
            log = [{"Output": told.get("check", "")}]
            state["Health"] = {"Status": told.get("health", "healthy"), "Log": log}
        known = {
            labels.COMPOSE_PROJECT: PROJECT,
            labels.COMPOSE_SERVICE: name,
            labels.ONEOFF: "False",
            labels.GPU: told.get("gpu", ""),
        }
        return {
            "Id": told.get("id", f"id-{name}"),
            "Name": f"/{PROJECT}-{name}-1",
            "RestartCount": told.get("restarts", 0),
            "State": {**state, "StartedAt": STARTED, "OOMKilled": told.get("oom", False)},
            "Config": {"Labels": known, "Env": told.get("env")},
        }

    def images(self) -> list[dict[str, Any]]:
        return [self.image(name) for name in ("jupyter", "tensorboard") if name not in self.absent]

    def image(self, name: str) -> dict[str, Any]:
        lab = Lab(settings=load(self.clone), torch_backend=self.lab_backend)
        current = inputs_digest(lab, parse_model(self.raw()).services[name])
        told = {labels.INPUTS: self.built.get(name, current), labels.BACKEND: self.backend}
        tags = [f"{PROJECT}/{name}:latest"]
        return {"Id": f"sha256:{name}", "RepoTags": tags, "Config": {"Labels": told}}

    @property
    def lab_backend(self) -> str:
        return "pypi" if self.backend == "auto" else self.backend

    def down(self) -> None:
        """Nothing runs; `up` starts it all."""
        before, self.containers = self.containers, {}
        # The stand-in of JupyterLab listens on the port that it had.
        self.ports["jupyter"] = free_port(self.ports["mlflow"] + 1, set())
        self.answer("docker", "compose", "up", "--wait", told=lambda: self.come_up(before))

    def come_up(self, containers: dict[str, dict[str, Any]]) -> str:
        self.containers = containers
        return "Started\n"

    def offer_gpu(self) -> None:
        """The engine offers one card by CDI, and this machine has it."""
        self.info["DiscoveredDevices"] = [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
        self.host = DRIVEN

    def set(self, **values: str) -> None:
        """Change .env as an owner would."""
        self.clone.env_file.write_text(fill(self.clone.env_file.read_text(), values))

    @property
    def calls(self) -> int:
        """How many processes were started."""
        return len(self.double.calls)


@pytest.fixture
def task_lab(
    clone: Clone, double: Double, jupyter_server: JupyterServer, monkeypatch: pytest.MonkeyPatch
) -> TaskLab:
    """The lab, with the user in its folder and nobody at the terminal."""
    shared = clone.root.parent / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setattr(card_lock, "PLACES", (shared,))
    # Each process that runs tests draws from another hundred, below those that the kernel gives.
    first = free_port(20_000 + os.getpid() % 100 * 100, set())
    second = free_port(first + 1, set())
    ports = {"jupyter": jupyter_server.port, "tensorboard": first, "mlflow": second}
    own = clone.root.stat()
    clone.env_file.write_text(
        f"COMPOSE_PROJECT_NAME={PROJECT}\nJUPYTER_PORT={ports['jupyter']}\n"
        f"JUPYTER_TOKEN={jupyter_server.token}\nTENSORBOARD_PORT={ports['tensorboard']}\n"
        f"MLFLOW_PORT={ports['mlflow']}\nLAB_UID={own.st_uid}\nLAB_GID={own.st_gid}\n"
        "COMPOSE_FILE=compose/compose.yaml\n"
    )
    clone.env_file.chmod(0o600)
    fill_docker(clone)
    made = TaskLab(clone=clone, double=double, ports=ports)
    monkeypatch.chdir(clone.root)
    monkeypatch.setattr(environment, "is_terminal", lambda: False)
    monkeypatch.setattr(
        environment, "command_path", lambda name: f"/x/{name}" if name == "docker" else None
    )
    for room in (cards, decide, toolkit, unused):
        monkeypatch.setattr(room, "read_host", lambda: made.host)
    return made


def answers(monkeypatch: pytest.MonkeyPatch, said: str | None) -> None:
    """There is a terminal, and somebody there says this; None: Ctrl-D."""

    def read(_prompt: str) -> str:
        if said is None:
            raise EOFError
        return said

    monkeypatch.setattr(environment, "is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", read)


def context(*, dry: bool = False) -> Context:
    return Context(Config(overrides={"run": {"dry": dry}}))


def failed(task: Any, *, dry: bool = False, **flags: Any) -> tuple[int, str]:
    """How a task that must fail ended: its exit code and its message."""
    with pytest.raises(Exit) as caught:
        task(context(dry=dry), **flags)
    return int(caught.value.code), str(caught.value.message or "")
