"""Reading the engine's own JSON, and the words it refuses with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from double import Double

from labcrate import environment
from labcrate.engine.engine import (
    Engine,
    find_engine,
    parse_info,
    refusal,
    require_engine,
    version_pair,
)
from labcrate.errors import Code, LabError

PLAIN: dict[str, Any] = {
    "ServerVersion": "28.5.2+dfsg4",
    "ClientInfo": {
        "Plugins": [
            {"Name": "buildx", "Version": "0.29.1"},
            {"Name": "compose", "Version": "2.40.3"},
        ]
    },
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
CONTEXT = [{"Name": "lab", "Endpoints": {"docker": {"Host": "ssh://gpu-server"}}}]


@pytest.fixture
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a docker command."""
    monkeypatch.setattr(environment, "command_path", lambda name: f"/usr/bin/{name}")


def answers(double: Double, info: Any, context: Any = CONTEXT, **more: Any) -> Double:
    double.expect("docker", "--version", stdout="Docker version 28.5.2, build e6534b4\n")
    double.expect("docker", "context", "inspect", stdout=json.dumps(context))
    text = info if isinstance(info, str) else json.dumps(info)
    return double.expect("docker", "info", stdout=text, **more)


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
    assert version_pair(text) == pair


def test_a_plain_engine() -> None:
    found = parse_info(PLAIN)
    assert found.version == (28, 5)
    assert not any((found.rootless, found.desktop, found.wsl, found.snap))
    assert (found.cdi_devices, found.storage) == ((), ("Backing Filesystem", "extfs"))


@pytest.mark.parametrize(
    ("change", "attribute"),
    [
        ({"SecurityOptions": ["name=rootless", "name=cgroupns"]}, "rootless"),
        ({"OperatingSystem": "Docker Desktop"}, "desktop"),
        ({"KernelVersion": "5.15.153.1-microsoft-standard-WSL2"}, "wsl"),
    ],
)
def test_kinds_of_engine(change: dict[str, Any], attribute: str) -> None:
    assert getattr(parse_info({**PLAIN, **change}), attribute)


@pytest.mark.parametrize(("told", "limits"), [(True, True), (False, False), (None, True)])
def test_whether_memory_can_be_limited(told: bool | None, limits: bool) -> None:
    info = PLAIN if told is None else {**PLAIN, "MemoryLimit": told}
    assert parse_info(info).limits_memory is limits


def test_devices_and_runtimes() -> None:
    devices = [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
    runtimes = {**PLAIN["Runtimes"], "nvidia": {"path": "nvidia-container-runtime"}}
    found = parse_info({**PLAIN, "DiscoveredDevices": devices, "Runtimes": runtimes})
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


def test_a_snap_is_known_by_where_its_client_is() -> None:
    assert Engine(client_path="/snap/docker/2915/bin/docker").snap


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
    assert refusal(said).code is code
    assert ("context use" in refusal(said).fix) is ("context" in said)


def test_an_engine_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.5:2376")
    error = refusal("")
    assert "at DOCKER_HOST=tcp://10.0.0.5:2376" in error.problem
    assert (error.why, "unset DOCKER_HOST" in error.fix) == ("", True)


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
        require_engine(Engine(version=version, compose=compose))
    assert caught.value.code is Code.COMPOSE


@pytest.mark.parametrize("compose", [(2, 24), (2, 40), (5, 0), (5, 5)])
def test_new_enough(compose: tuple[int, int]) -> None:
    engine = Engine(version=(28, 5), compose=compose)
    assert require_engine(engine) == replace(engine)


@pytest.mark.usefixtures("_client")
def test_find_reads_client_and_server(double: Double) -> None:
    """The engine, with Compose's version, and the context each answer a question of their own."""
    answers(double, PLAIN)
    found = find_engine()
    assert (found.compose, found.context, found.remote) == ((2, 40), "lab", True)
    assert len(double.calls) == 2


@pytest.mark.usefixtures("_client")
@pytest.mark.parametrize("context", [[], {}, "no context"])
def test_a_context_that_says_nothing_is_the_default_one(double: Double, context: Any) -> None:
    answers(double, PLAIN, context)
    assert (find_engine().context, find_engine().host) == ("default", "")


@pytest.mark.usefixtures("_client")
@pytest.mark.parametrize(
    ("info", "returncode"),
    [
        ({"ServerErrors": ["Cannot connect to the Docker daemon"]}, 0),
        ({}, 0),
        ("not JSON", 0),
        (PLAIN, 1),
    ],
)
def test_a_client_that_answers_for_itself_is_no_engine(
    double: Double, info: Any, returncode: int
) -> None:
    answers(double, info, returncode=returncode)
    with pytest.raises(LabError) as caught:
        find_engine()
    assert caught.value.code is Code.ENGINE_DOWN


def test_no_docker_command_is_no_engine(monkeypatch: pytest.MonkeyPatch, double: Double) -> None:
    monkeypatch.setattr(environment, "command_path", lambda _: None)
    with pytest.raises(LabError) as caught:
        find_engine()
    assert caught.value.code is Code.ENGINE_MISSING
    assert double.calls == []
