"""A lab on an engine, as the double answers for it: what the doctor's gathering asks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from double import Double
from machines import CLIENT

from labcrate import labels
from labcrate.clone.place import Clone
from labcrate.clone.rules import KNOWN
from labcrate.doctor.facts import Facts
from labcrate.doctor.gather import AUTHORITIES, gather_facts

Gather = Callable[..., Facts]

ENV = (
    "COMPOSE_PROJECT_NAME=lab-facts-1\nJUPYTER_PORT=18931\nJUPYTER_TOKEN=" + "t" * 48 + "\n"
    f"TENSORBOARD_PORT=18932\nCOMPOSE_FILE=compose/compose.yaml\nLAB_UID={os.getuid()}\nLAB_GID={os.getgid()}\n"
)
INFO = {
    "ServerVersion": "28.5.2",
    "ClientInfo": CLIENT,
    "DockerRootDir": "/",
    "MemTotal": 25276063744,
    "CgroupDriver": "systemd",
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
}
CONTAINER: dict[str, Any] = {
    "Id": "ba330e639fc3",
    "RestartCount": 2,
    "State": {
        "Status": "running",
        "ExitCode": 0,
        "OOMKilled": False,
        "Health": {"Status": "healthy"},
    },
    "HostConfig": {"ShmSize": 8589934592, "IpcMode": "private"},
    "Config": {
        "Labels": {
            labels.COMPOSE_PROJECT: "lab-facts-1",
            labels.COMPOSE_SERVICE: "jupyter",
            labels.COMPOSE_FOLDER: "/elsewhere/compose",
            labels.ONEOFF: "False",
            labels.GPU: "gpu-cdi nvidia.com/gpu=all",
        }
    },
}
IMAGE = {
    "Id": "sha256:1",
    "RepoTags": ["lab-facts-1/jupyter:latest"],
    "Size": 6999404665,
    "Config": {"Labels": {labels.INPUTS: "old", labels.BACKEND: "cu126"}},
}
MODEL: dict[str, Any] = {
    "name": "lab-facts-1",
    "services": {
        "jupyter": {
            "image": "lab-facts-1/jupyter",
            "build": {"target": "final", "args": {"TORCH_BACKEND": "auto"}},
            "ports": [{"host_ip": "127.0.0.1", "published": "18931"}],
            "volumes": [
                {"type": "bind", "source": "/x/notebooks", "target": "/lab/notebooks"},
                {"type": "volume", "source": "home", "target": "/home/lab"},
            ],
        },
        "tensorboard": {
            "image": "lab-facts-1/tensorboard",
            "build": {"target": "tensorboard"},
            "ports": [{"host_ip": "127.0.0.1", "published": "18932"}],
        },
    },
}


def listed(
    ident: str = "ba330e639fc3",
    *,
    project: str = "lab-facts-1",
    folder: str = "/elsewhere/compose",
    ports: str = "",
    oneoff: str = "False",
    lab: str | None = None,
) -> str:
    """A container's line in the answer of `docker ps`. lab: the one its label names; its own."""
    name = f"{project}-jupyter-1"
    parts = [ident, name, "Up", ports, project, "jupyter", folder, oneoff]
    parts.append(project if lab is None else lab)
    parts += ["running", "", '"jupyter lab"']
    return "\t".join(parts) + "\n"


def answer(double: Double, words: str, told: Any, **more: Any) -> None:
    """told: the answer, as text or as what JSON holds."""
    text = told if isinstance(told, str) else json.dumps(told)
    double.expect(*words.split(" "), stdout=text, **more)


GOOD: Mapping[str, Any] = {
    "docker info": INFO,
    "docker context inspect": [],
    "docker ps --all": listed(),
    "docker image inspect": [IMAGE],
    "docker container inspect": [CONTAINER],
    "docker logs": "hello",
    "docker exec": "1048576\nGPU 0: x (UUID: GPU-1)\n",
    "docker compose config": MODEL,
    "docker ps --filter": "",
}


def lab_on_engine(double: Double, clone: Clone) -> None:
    """A clone that is set up, with its JupyterLab running and TensorBoard's image missing."""
    clone.env_file.write_text(ENV)
    clone.env_file.chmod(0o600)
    for words, told in GOOD.items():
        answer(double, words, told)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The programs on PATH; the environment names no file, no engine and no setting."""
    found = {"docker"}

    def which(name: str, **_: Any) -> str | None:
        return f"/usr/bin/{name}" if name in found else None

    monkeypatch.setattr(shutil, "which", which)
    for name in (*KNOWN, *AUTHORITIES, "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def gather(double: Double, clone: Clone, programs: set[str], tmp_path: Path) -> Gather:
    """Gathers from a lab on an engine, and from a machine with no files, below tmp_path."""
    assert programs
    lab_on_engine(double, clone)
    (tmp_path / "root").mkdir()

    def gathered(**told: Any) -> Facts:
        for words, text in told.items():
            answer(double, words.replace("_", " "), text)
        return gather_facts(clone, root=tmp_path / "root")

    return gathered
