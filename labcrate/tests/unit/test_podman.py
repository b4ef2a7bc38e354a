"""Podman in Docker's place is refused by name. The answers are those of Podman 5.8.6, cut to the
fields that matter here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from double import Double
from task_lab import TaskLab, failed

from labcrate import environment, process
from labcrate.doctor.examine import diagnose
from labcrate.engine.engine import find_engine
from labcrate.engine.install import ensure_engine
from labcrate.errors import Code, LabError
from labcrate.tasks.starting import setup, up

EMULATE = "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.\n"
"""On stderr of each command of podman-docker, where nobody made that file."""

COMMAND_INFO: dict[str, Any] = {
    "host": {"arch": "amd64", "buildahVersion": "1.43.2", "cgroupManager": "cgroupfs"},
    "store": {"graphDriverName": "overlay"},
    "registries": {},
    "version": {"APIVersion": "5.8.6", "Version": "5.8.6", "OsArch": "linux/amd64"},
}
NO_COMPOSE = (
    "Error: looking up compose provider failed\n7 errors occurred:\n"
    '\t* exec: "podman-compose": executable file not found in $PATH\n'
)
NO_LOCKS = (
    "Error: failed to get new shm lock manager: failed to create 2048 locks in /libpod_lock: "
    "no such file or directory\n"
)
NO_CONTEXT = "Error: unrecognized command `podman context show`\n"

SOCKET_INFO: dict[str, Any] = {
    "ID": "ea2601a3-f9aa-4dc2-b9ee-6683c82806da",
    "Driver": "overlay",
    "MemoryLimit": True,
    "OperatingSystem": "debian",
    "ServerVersion": "5.8.6",
    "Runtimes": {"crun": {"path": "/usr/bin/crun"}, "runc": {"path": "/usr/bin/runc"}},
    "DefaultRuntime": "crun",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "ProductLicense": "Apache-2.0",
    "Warnings": [],
}
SERVER: dict[str, Any] = {
    "Platform": {"Name": "linux/amd64/debian-14"},
    "Components": [
        {"Name": "Podman Engine", "Version": "5.8.6", "Details": {"MinAPIVersion": "4.0.0"}},
        {"Name": "Conmon", "Version": "conmon version 2.1.13, commit: unknown"},
        {"Name": "OCI Runtime (crun)", "Version": "crun version 1.28"},
        {"Name": "Engine", "Version": "5.8.6", "Details": {"ApiVersion": "1.44"}},
    ],
    "Version": "5.8.6",
    "ApiVersion": "1.44",
}
PANIC = "Error response from daemon: runtime error: invalid memory address or nil pointer\n"
USERS = "unix:///run/user/1000/podman/podman.sock"


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "command_path", lambda name: f"/usr/bin/{name}")
    monkeypatch.delenv("DOCKER_HOST", raising=False)


def podman_command(double: Double, info: object = COMMAND_INFO, said: str = EMULATE) -> None:
    """`docker` is Podman's command. info: what it answers; a text: why it cannot."""
    works = not isinstance(info, str)
    text = json.dumps(info) if works else ""
    stderr = said if works else f"{said}{info}"
    double.expect("docker", "info", stdout=text, stderr=stderr, returncode=0 if works else 125)
    double.expect("docker", "context", "inspect", stdout="[]\n", stderr=said)
    double.expect("docker", "context", "show", stderr=said + NO_CONTEXT, returncode=125)
    double.expect("docker", "--version", stdout="podman version 5.8.6\n", stderr=said)


def podman_socket(double: Double, host: str = "", name: str = "default") -> None:
    """Docker's client, sent to Podman. host, name: of the context in force."""
    context = [{"Name": name, "Endpoints": {"docker": {"Host": host}}}]
    double.expect("docker", "info", stdout=json.dumps(SOCKET_INFO))
    double.expect("docker", "context", "inspect", stdout=json.dumps(context))
    double.expect("docker", "context", "show", stdout=f"{name}\n")
    double.expect("docker", "version", "{{json .Server}}", stdout=json.dumps(SERVER))


@pytest.mark.parametrize("said", [EMULATE, ""])
@pytest.mark.parametrize("info", [COMMAND_INFO, NO_LOCKS], ids=["works", "fails"])
def test_podman_as_the_docker_command(double: Double, info: object, said: str) -> None:
    podman_command(double, info, said)
    with pytest.raises(LabError, match="`docker` is Podman here") as caught:
        find_engine()
    assert caught.value.code is Code.COMPOSE
    assert "podman-docker" in caught.value.fix
    assert "rootless Docker" in caught.value.fix


@pytest.mark.parametrize(
    ("variable", "host", "name", "fix"),
    [
        (USERS, "unix:///var/run/docker.sock", "default", "unset DOCKER_HOST, then"),
        ("", USERS, "mine", "docker context use default"),
        ("", "unix:///var/run/docker.sock", "default", "remove the package podman-docker"),
        ("", "", "default", "remove the package podman-docker"),
    ],
    ids=["DOCKER_HOST", "a context", "a link in /run", "unknown"],
)
def test_dockers_client_on_podmans_socket(
    double: Double,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    host: str,
    name: str,
    fix: str,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", variable)
    podman_socket(double, host, name)
    with pytest.raises(LabError, match="docker talks to Podman") as caught:
        find_engine()
    assert caught.value.code is Code.COMPOSE
    assert fix in caught.value.fix
    assert "rootless Docker" in caught.value.fix
    assert (variable or host) in caught.value.problem


def test_a_podman_that_cannot_name_its_parts(double: Double) -> None:
    """Its own answer to `docker version`, where one of the programs that it runs is broken."""
    podman_socket(double)
    double.expect("docker", "version", stdout="null\n", stderr=PANIC, returncode=1)
    with pytest.raises(LabError, match="docker talks to Podman"):
        find_engine()


def test_another_engine_of_that_license_is_not_podman(double: Double) -> None:
    podman_socket(double)
    info = {**SOCKET_INFO, "ServerVersion": "29.0.1"}
    double.expect("docker", "info", stdout=json.dumps(info))
    double.expect("docker", "version", stdout='{"Components":[{"Name":"Engine"}]}')
    assert find_engine().version == (29, 0)


def test_an_engine_that_is_late_is_asked_nothing_more(double: Double) -> None:
    podman_command(double, "")
    double.expect("docker", "info", returncode=process.TIMED_OUT)
    with pytest.raises(LabError, match="no container engine answers"):
        find_engine()
    assert not double.called("docker", "--version")


@pytest.mark.parametrize("meet", [podman_command, podman_socket])
def test_setup_installs_nothing_beside_podman(double: Double, meet: Any) -> None:
    meet(double)
    with pytest.raises(LabError, match="Podman") as caught:
        ensure_engine(lambda _: pytest.fail("it asked whether to install"))
    assert caught.value.code is Code.COMPOSE
    assert not [argv for argv in double.calls if argv[0] != "docker"]


@pytest.mark.parametrize("meet", [podman_command, podman_socket])
@pytest.mark.parametrize("task", [setup, up])
def test_setup_up_and_doctor_say_it(task_lab: TaskLab, meet: Any, task: Any) -> None:
    meet(task_lab.double)
    code, message = failed(task)
    assert (code, "Podman" in message, "rootless Docker" in message) == (Code.COMPOSE, True, True)
    (found,) = [one for one in diagnose(task_lab.clone) if one.check == "engine"]
    assert (found.severity, "Podman" in found.problem) == ("error", True)
    assert "rootless Docker" in found.fix
