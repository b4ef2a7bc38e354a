"""The doctor's checks of the engine: it answers, is new enough, and is this machine's."""

from __future__ import annotations

from collections.abc import Iterator

from labcrate.clone.rootless import refuse_other_user
from labcrate.doctor.facts import Facts
from labcrate.doctor.findings import Finding, Severity
from labcrate.engine.engine import Engine, require_engine
from labcrate.engine.limits import DELEGATE, IGNORES_MEMORY
from labcrate.errors import LabError

MIN_BUILDX, STRICT_COMPOSE = (0, 17), (2, 40)
"""Compose 2.40.1 and newer refuse to build with an older Buildx (docker/compose#13295)."""

ABSENT = (0, 0)
"""The version of a plugin that is not installed."""


def check_unanswered(facts: Facts) -> Iterator[Finding]:
    """What was not answered in time is unknown: nobody may read silence as "all is well"."""
    if facts.unanswered:
        is_engine = any(text.startswith("docker ") for text in facts.unanswered)
        restart = "; if that does not help: sudo systemctl restart docker" * is_engine
        yield Finding(
            severity="warning",
            check="unanswered",
            problem="these questions were not answered in time, so what they ask about is "
            f"unknown: {', '.join(facts.unanswered)}",
            fix=f"invoke doctor (again, when the machine is less busy){restart}",
        )


def check_engine(facts: Facts) -> Iterator[Finding]:
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
    if error := engine_refusal(facts):
        yield Finding(severity="error", check="engine", problem=error.problem, fix=error.fix)
    strict = facts.engine.compose >= STRICT_COMPOSE
    if facts.buildx is not None and (
        facts.buildx == ABSENT or (strict and facts.buildx < MIN_BUILDX)
    ):
        state = "missing" if facts.buildx == ABSENT else "too old: this Compose refuses it"
        yield Finding(
            severity="error",
            check="engine",
            problem=f"Docker Buildx is {state}",
            fix="invoke setup (or install the package docker-buildx / docker-buildx-plugin)",
        )


def engine_refusal(facts: Facts) -> LabError | None:
    """Why the engine or Compose cannot run the lab; None where it can, or nobody knows."""
    if facts.engine is None:
        return None
    try:
        require_engine(facts.engine)
    except LabError as error:
        return error
    return None


def check_compose(facts: Facts) -> Iterator[Finding]:
    """Compose accepts .env and the files in compose/."""
    refused = facts.lab.refusal
    # An engine that is missing, or a Compose that is too old, is reported by itself.
    if refused and facts.engine and not engine_refusal(facts):
        yield Finding(severity="error", check="compose", problem=refused.problem, fix=refused.fix)


def check_kind(facts: Facts) -> Iterator[Finding]:
    """Engines that are not a plain Docker Engine on this machine."""
    for applies, severity, problem, fix in kinds(facts.engine) if facts.engine else ():
        if applies:
            yield Finding(severity=severity, check="kind", problem=problem, fix=fix)


def kinds(found: Engine) -> tuple[tuple[bool, Severity, str, str], ...]:
    """(applies, severity, problem, fix) of each kind of engine that needs a word."""
    return (
        (
            found.snap,
            "warning",
            "docker comes from a snap: it sees no folders outside /home, and no GPU toolkit",
            "sudo snap remove docker, then: invoke setup",
        ),
        (
            found.desktop and not found.wsl,
            "warning",
            "Docker Desktop runs containers in a virtual machine, which has no access to the GPU",
            "docker context use default (with Docker Engine installed: invoke setup)",
        ),
        (
            found.rootless,
            "info",
            "the engine is rootless: user 0 of the lab is you, and the engine ends as you log out",
            "nothing to do; to keep it running then: sudo loginctl enable-linger $USER",
        ),
        (
            "userns" in found.security,
            "warning",
            "the engine remaps users (userns-remap), so files the lab writes are not yours",
            'remove "userns-remap" from /etc/docker/daemon.json, and restart the engine',
        ),
        (
            "selinux" in found.security,
            "warning",
            "SELinux is on in the engine: containers cannot read folders without its label",
            "sudo chcon -R -t container_file_t notebooks src runs data models .labcrate",
        ),
        (
            found.wsl,
            "info",
            "this is WSL 2: containers get all GPUs or none, and the Windows driver",
            "nothing to do; keep the clone in the Linux file system, not below /mnt/c",
        ),
    )


def check_user(facts: Facts) -> Iterator[Finding]:
    """The lab's user is one who can write the folders, and is not root of this machine."""
    found, known = facts.engine, facts.settings
    if found is None or known is None:
        return
    try:
        refuse_other_user(found.rootless, (known.uid, known.gid))
    except LabError as error:
        problem = f"{error.problem}: {error.why}"
        yield Finding(severity="error", check="user", problem=problem, fix=error.fix)
    maps_users = found.rootless or found.desktop or found.remote or "userns" in found.security
    if known.uid == 0 and not maps_users:
        yield Finding(
            severity="warning",
            check="user",
            problem="LAB_UID=0 is for a rootless engine; here it is root of this machine",
            fix="empty LAB_UID and LAB_GID in .env, then: invoke setup up",
        )


def check_limiting(facts: Facts) -> Iterator[Finding]:
    """The engine enforces the limits of .env; a rootless one often has no say over memory."""
    found, known = facts.engine, facts.settings
    if found and known and known.memory_limit and not found.limits_memory:
        yield Finding(severity="warning", check="limiting", problem=IGNORES_MEMORY, fix=DELEGATE)
    if facts.info.get("PidsLimit") is False:
        yield Finding(
            severity="info",
            check="limiting",
            problem="this engine cannot enforce PIDS_LIMIT: only your own limit of processes holds",
            fix=f"nothing to do, or {DELEGATE.partition(', or')[0]}",
        )


def check_where(facts: Facts) -> Iterator[Finding]:
    """The engine that `docker` talks to may run on another machine."""
    found = facts.engine
    if found is None:
        return
    by_variable = bool(facts.environ.get("DOCKER_HOST"))
    chosen = "DOCKER_HOST" if by_variable else f"the docker context {found.context}"
    if found.remote:
        yield Finding(
            severity="warning",
            check="where",
            problem=f"the engine is on another machine ({found.host}, by {chosen}): the lab's "
            "folders and ports would be on that machine",
            fix="docker context use default and unset DOCKER_HOST; or clone the lab over there and "
            "reach it with `invoke tunnel`",
        )
    elif found.context != "default" or by_variable:
        yield Finding(
            severity="info",
            check="where",
            problem=f"docker talks to {found.host}, by {chosen}",
            fix="nothing to do if that is the engine you mean (docker context ls)",
        )
