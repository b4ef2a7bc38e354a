"""Reading the engine's own JSON, and the words it refuses with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from labcrate import engine as engines
from labcrate import shell
from labcrate.engine import Engine
from labcrate.errors import Code, LabError

PLAIN: dict[str, Any] = {
    "ServerVersion": "28.5.2+dfsg4",
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "Architecture": "x86_64",
    "KernelVersion": "6.1.0-40-amd64",
    "DockerRootDir": "/var/lib/docker",
    "CgroupDriver": "cgroupfs",
    "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}},
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "DriverStatus": [["Backing Filesystem", "extfs"]],
    "DiscoveredDevices": None,
}


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("28.5.2+dfsg4", (28, 5)),
        ("v2.40.3-3", (2, 40)),
        ("5.0.0-rc.1", (5, 0)),
        ("2.24.0", (2, 24)),
        ("20.10.24+dfsg1", (20, 10)),
        ("", (0, 0)),
        ("dev", (0, 0)),
    ],
)
def test_versions(text: str, pair: tuple[int, int]) -> None:
    assert engines.version_pair(text) == pair


def test_a_plain_engine() -> None:
    found = engines.parse_info(PLAIN)
    assert found.version == (28, 5)
    assert not (found.rootless or found.desktop or found.wsl or found.podman)
    assert found.cdi_devices == ()


@pytest.mark.parametrize(
    ("change", "attribute"),
    [
        ({"SecurityOptions": ["name=rootless", "name=cgroupns"]}, "rootless"),
        ({"OperatingSystem": "Docker Desktop"}, "desktop"),
        ({"KernelVersion": "5.15.153.1-microsoft-standard-WSL2"}, "wsl"),
        ({"buildahVersion": "1.33"}, "podman"),
    ],
)
def test_kinds_of_engine(change: dict[str, Any], attribute: str) -> None:
    assert getattr(engines.parse_info({**PLAIN, **change}), attribute)


def test_devices_and_runtimes() -> None:
    devices = [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
    runtimes = {**PLAIN["Runtimes"], "nvidia": {"path": "nvidia-container-runtime"}}
    found = engines.parse_info({**PLAIN, "DiscoveredDevices": devices, "Runtimes": runtimes})
    assert found.cdi_devices == ("nvidia.com/gpu=all",)
    assert "nvidia" in found.runtimes


@pytest.mark.parametrize(
    ("host", "remote"),
    [
        ("unix:///var/run/docker.sock", False),
        ("ssh://gpu-server", True),
        ("tcp://10.0.0.5:2376", True),
        ("", False),
    ],
)
def test_remote(host: str, remote: bool) -> None:
    assert Engine(host=host).remote is remote


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///"
            "var/run/docker.sock",
            Code.ENGINE_DENIED,
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
            "Is the docker daemon running?",
            Code.ENGINE_DOWN,
        ),
        ('unable to resolve docker endpoint: context "gone": context not found', Code.ENGINE_DOWN),
    ],
)
def test_refusals_are_told_apart(said: str, code: Code) -> None:
    assert engines.refusal(said).code is code
    assert ("context use" in engines.refusal(said).fix) is ("context" in said)


@pytest.mark.parametrize(
    ("version", "compose", "told"),
    [
        ((20, 10), (2, 40), "engine is version 20.10"),
        ((28, 5), (0, 0), "Docker Compose is missing"),
        ((28, 5), (2, 20), "Docker Compose is version 2.20"),
    ],
)
def test_too_old(version: tuple[int, int], compose: tuple[int, int], told: str) -> None:
    with pytest.raises(LabError, match=told) as caught:
        engines.require(Engine(version=version, compose=compose))
    assert caught.value.code is Code.COMPOSE


@pytest.mark.parametrize("compose", [(2, 24), (2, 40), (5, 0), (5, 5)])
def test_new_enough(compose: tuple[int, int]) -> None:
    engine = Engine(version=(28, 5), compose=compose)
    assert engines.require(engine) == replace(engine)


def test_find_reads_client_and_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine, Compose and the context each answer a question of their own."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engines.shutil, "which", lambda name: f"/usr/bin/{name}")
    context = [{"Name": "lab", "Endpoints": {"docker": {"Host": "ssh://gpu-server"}}}]
    answers = {
        ("docker", "info"): json.dumps(PLAIN),
        ("docker", "compose"): "2.40.3\n",
        ("docker", "context"): json.dumps(context),
    }

    def ask(argv: tuple[str, ...], *, timeout_s: float) -> shell.Result:
        return shell.Result(argv=argv, returncode=0, stdout=answers[argv[:2]], stderr="")

    found = engines.find(ask)
    assert (found.compose, found.context, found.remote) == ((2, 40), "lab", True)


def test_a_client_that_answers_for_itself_is_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.shutil, "which", lambda name: f"/usr/bin/{name}")
    said = json.dumps({"ServerErrors": ["Cannot connect to the Docker daemon"]})

    def ask(argv: tuple[str, ...], *, timeout_s: float) -> shell.Result:
        return shell.Result(argv=argv, returncode=0, stdout=said, stderr="")

    with pytest.raises(LabError) as caught:
        engines.find(ask)
    assert caught.value.code is Code.ENGINE_DOWN
