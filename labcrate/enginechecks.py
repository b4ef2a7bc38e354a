"""The doctor's checks of the engine: it answers, is new enough, and is this machine's."""

from __future__ import annotations

from collections.abc import Iterator

from labcrate import engine as engines
from labcrate.checks import Finding, Severity
from labcrate.errors import LabError
from labcrate.facts import Facts

MIN_BUILDX, STRICT_COMPOSE = (0, 17), (2, 40)
"""Compose 2.40.1 and newer refuse to build with an older Buildx (docker/compose#13295)."""


def engine(facts: Facts) -> Iterator[Finding]:
    """The engine answers, and it and its plugins are new enough."""
    if facts.refusal:
        why = f" ({facts.refusal.why})" if facts.refusal.why else ""
        yield Finding(
            severity="error",
            check="engine",
            problem=facts.refusal.problem + why,
            fix=facts.refusal.fix,
        )
    if facts.engine is None:
        return
    try:
        engines.require(facts.engine)
    except LabError as error:
        yield Finding(severity="error", check="engine", problem=error.problem, fix=error.fix)
    strict = facts.engine.compose >= STRICT_COMPOSE
    if facts.buildx == (0, 0) or (strict and facts.buildx < MIN_BUILDX):
        state = "missing" if facts.buildx == (0, 0) else "older than this Compose builds with"
        yield Finding(
            severity="error",
            check="engine",
            problem=f"Docker Buildx is {state}",
            fix="invoke setup (or install the package docker-buildx / docker-buildx-plugin)",
        )


def kind(facts: Facts) -> Iterator[Finding]:
    """Engines that are not a plain Docker Engine on this machine."""
    found = facts.engine
    if found is None:
        return
    sayings: list[tuple[bool, Severity, str, str]] = [
        (
            found.podman,
            "error",
            "`docker` is Podman here, which leaves out GPU requests and health checks of Compose",
            "sudo apt-get remove podman-docker, then: invoke setup (installs Docker Engine)",
        ),
        (
            found.snap,
            "warning",
            "docker comes from a snap: it sees no folders outside /home, and no GPU toolkit",
            "sudo snap remove docker, then: invoke setup",
        ),
        (
            found.desktop and not found.wsl,
            "warning",
            "Docker Desktop runs containers in a virtual machine, which gets no GPU of this one",
            "docker context use default (with Docker Engine installed: invoke setup)",
        ),
        (
            found.rootless,
            "warning",
            "the engine is rootless: the lab's user becomes a sub-uid of yours, so files it writes "
            "are not yours",
            "use the system's engine: docker context use default (and unset DOCKER_HOST)",
        ),
        (
            "userns" in found.security,
            "warning",
            "the engine remaps users (userns-remap), so files the lab writes are not yours",
            'take "userns-remap" out of /etc/docker/daemon.json, and restart the engine',
        ),
        (
            "selinux" in found.security,
            "warning",
            "SELinux is on in the engine: folders without its label are closed to containers",
            "sudo chcon -R -t container_file_t notebooks runs data models .labcrate",
        ),
        (
            found.wsl,
            "info",
            "this is WSL 2: containers get all GPUs or none, and the Windows driver",
            "nothing to do; keep the clone in the Linux file system, not below /mnt/c",
        ),
    ]
    for true, severity, problem, fix in sayings:
        if true:
            yield Finding(severity=severity, check="kind", problem=problem, fix=fix)


def where(facts: Facts) -> Iterator[Finding]:
    """The engine that `docker` talks to may not be this machine's."""
    found = facts.engine
    if found is None:
        return
    chosen = (
        "DOCKER_HOST" if facts.environ.get("DOCKER_HOST") else f"the docker context {found.context}"
    )
    if found.remote:
        yield Finding(
            severity="warning",
            check="where",
            problem=f"the engine is on another machine ({found.host}, by {chosen}): the lab's "
            "folders and ports would be that machine's",
            fix="docker context use default and unset DOCKER_HOST, or clone the lab over there",
        )
    elif found.context != "default" or "DOCKER_HOST" in chosen:
        yield Finding(
            severity="info",
            check="where",
            problem=f"docker talks to {found.host}, by {chosen}",
            fix="nothing to do, if that is the engine you mean (docker context ls)",
        )
