"""Podman in Docker's place, in both ways: as the `docker` command, and behind Docker's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from labcrate import environment, process
from labcrate.errors import Code, LabError

LICENSE = "Apache-2.0"
"""`ProductLicense` of Podman's answers to Docker's client. Docker's own is "Community Engine", or
empty in Debian's packages. It saves a question to each engine that says something else."""

WHY = "Podman lacks parts of Buildx and Compose that the lab's builds need"
ROOTLESS = "if you may not be root here, use rootless Docker (labcrate/docs/engines.md)"


class NotDocker(LabError):
    """Something else than Docker answers; to install Docker beside it would change nothing."""


def refuse_podman(
    answer: process.Result,
    info: Mapping[str, Any],
    host: str,
    ask: Callable[..., process.Result] = process.ask,
) -> None:
    """Refuse Podman. answer, info: of `docker info`; host: where Docker's client is sent to."""
    if is_podman_command(answer, info, ask):
        raise NotDocker(
            "`docker` is Podman here, not Docker",
            fix="remove the package podman-docker, then: invoke setup (installs Docker Engine); "
            + ROOTLESS,
            code=Code.COMPOSE,
            why=WHY,
        )
    if is_podman_socket(info, ask):
        leave = "remove the package podman-docker (its link in /run leads there)"
        if environment.variable("DOCKER_HOST"):
            leave = "unset DOCKER_HOST"
        elif host and host != "unix:///var/run/docker.sock":
            leave = "docker context use default (and unset DOCKER_CONTEXT if that is set)"
        raise NotDocker(
            f"docker talks to Podman{f' at {host}' if host else ''}, not to Docker Engine",
            fix=f"{leave}, then: invoke setup (installs Docker Engine); {ROOTLESS}",
            code=Code.COMPOSE,
            why=WHY,
        )


def is_podman_command(
    answer: process.Result, info: Mapping[str, Any], ask: Callable[..., process.Result]
) -> bool:
    """Whether `docker` is Podman's own command, as the package podman-docker has it."""
    if answer.ok:
        return "buildahVersion" in (info.get("host") or {})
    # A Podman that cannot work here fails with words of its own.
    late = answer.returncode == process.TIMED_OUT
    return not late and ask(("docker", "--version"), timeout_s=15).stdout.startswith("podman ")


def is_podman_socket(info: Mapping[str, Any], ask: Callable[..., process.Result]) -> bool:
    """Whether Docker's client is on podman.socket. One that cannot name its parts counts, too."""
    if info.get("ProductLicense") != LICENSE:
        return False
    server = ask(("docker", "version", "--format", "{{json .Server}}"), timeout_s=15)
    return not server.ok or '"Podman Engine"' in server.stdout
