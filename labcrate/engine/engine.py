"""What the container engine is and offers, read from its own JSON."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from labcrate import environment, process
from labcrate.engine.client import plugin_trouble
from labcrate.engine.endpoint import endpoint, leads_away
from labcrate.engine.podman import refuse_podman
from labcrate.errors import Code, LabError

MIN_ENGINE = (23, 0)
"""BuildKit is the default builder since Engine 23.0; the build needs its secrets and mounts."""

MIN_COMPOSE = (2, 24)
"""`env_file: required: false` came with Compose 2.24.0. Compose went from 2.40 to 5.x, so only a
lower bound is tested, never a major version."""

Ask = Callable[..., process.Result]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A running engine. Sizes in bytes; versions as (major, minor)."""

    version: tuple[int, int] = (0, 0)
    compose: tuple[int, int] = (0, 0)
    operating_system: str = ""
    architecture: str = ""
    kernel: str = ""
    root_dir: str = ""
    cgroup_driver: str = ""
    runtimes: tuple[str, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    storage: tuple[str, ...] = ()
    context: str = "default"
    host: str = ""
    client_path: str = ""
    proxy: str = ""
    limits_memory: bool = True
    warnings: tuple[str, ...] = field(default=())

    @property
    def rootless(self) -> bool:
        return "rootless" in self.security

    @property
    def desktop(self) -> bool:
        return "Docker Desktop" in self.operating_system

    @property
    def snap(self) -> bool:
        return "/snap/" in self.client_path

    @property
    def wsl(self) -> bool:
        return "microsoft" in self.kernel.lower()

    @property
    def remote(self) -> bool:
        """Whether the engine runs on another machine than this one."""
        return leads_away(self.host)


def version_pair(text: str) -> tuple[int, int]:
    """(major, minor) of a version such as `28.5.2+dfsg4`, `v2.40.3-3` or `5.0.0-rc.1`."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def plugin_version(info: Mapping[str, Any], name: str) -> str:
    """The version of a plugin of the client, which asks each one while it answers; "" without."""
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or ()
    return next((str(one.get("Version", "")) for one in plugins if one.get("Name") == name), "")


def parse_info(info: Mapping[str, Any]) -> Engine:
    """Read the answer of `docker info --format '{{json .}}'`; absent fields mean "not offered"."""
    security = (entry.split(",")[0] for entry in info.get("SecurityOptions") or ())
    devices = (device.get("ID", "") for device in info.get("DiscoveredDevices") or ())
    return Engine(
        version=version_pair(str(info.get("ServerVersion", ""))),
        compose=version_pair(plugin_version(info, "compose")),
        operating_system=str(info.get("OperatingSystem", "")),
        architecture=str(info.get("Architecture", "")),
        kernel=str(info.get("KernelVersion", "")),
        root_dir=str(info.get("DockerRootDir", "")),
        cgroup_driver=str(info.get("CgroupDriver", "")),
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        cdi_devices=tuple(sorted(filter(None, devices))),
        security=tuple(entry.removeprefix("name=") for entry in security),
        storage=tuple(str(value) for pair in info.get("DriverStatus") or () for value in pair),
        proxy=str(info.get("HttpsProxy") or info.get("HttpProxy") or ""),
        limits_memory=info.get("MemoryLimit") is not False,
        warnings=tuple(info.get("Warnings") or ()),
    )


def refusal(text: str, context: str = "", host: str = "") -> LabError:
    """Why `docker info` failed, from what it said. context: the chosen one, and where it leads."""
    if "permission denied" in text.lower():
        return denied()
    leave = "docker context use default (leaves it; and unset DOCKER_CONTEXT if that is set)"
    if lost := re.search(r'context "?([^":]+)"?: (?:context )?not found|context not found', text):
        named = f"{lost[1]}, which was chosen," if lost[1] else "that was chosen"
        problem = f"the docker context {named} does not exist"
        return LabError(problem, fix=leave, code=Code.ENGINE_DOWN)
    where = environment.variable("DOCKER_HOST")
    if not where and context not in ("", "default"):
        return LabError(
            f"no container engine answers at {host}, where the docker context {context} leads",
            fix=f"{leave}, or start the engine there",
            code=Code.ENGINE_DOWN,
            why=text.strip().splitlines()[-1] if text.strip() else "",
        )
    return LabError(
        "no container engine answers" + (f" at DOCKER_HOST={where}" if where else ""),
        fix="start the engine there, or unset DOCKER_HOST"
        if where
        else "invoke setup (starts the engine that is installed, or installs one)",
        code=Code.ENGINE_DOWN,
        why=text.strip().splitlines()[-1] if text.strip() else "",
    )


def denied() -> LabError:
    """Why this user may not use the engine's socket: not in its group, or only since the login."""
    if environment.is_joining("docker"):
        return LabError(
            "the engine runs, but this session does not know yet that this user may use it",
            fix="newgrp docker (or log out and in), then the same command again",
            code=Code.ENGINE_DENIED,
        )
    return LabError(
        "the engine runs, but this user may not use its socket",
        fix="sudo usermod -aG docker $USER, then log out and in (or run: newgrp docker)",
        code=Code.ENGINE_DENIED,
    )


def no_client() -> LabError:
    """There is no `docker` command. With it, `setup` would install an engine that is not meant."""
    if leads_away(endpoint()):
        return LabError(
            f"there is no `docker` command on this machine, and its engine is at {endpoint()}",
            fix="install Docker's client (on Debian: docker-cli) with its Compose and Buildx "
            "plugins; or, for an engine on this machine: unset DOCKER_HOST, then: invoke setup",
            code=Code.ENGINE_MISSING,
        )
    return LabError(
        "there is no container engine on this machine (no `docker` command)",
        fix="invoke setup (installs Docker Engine, Compose and Buildx on Debian and Ubuntu)",
        code=Code.ENGINE_MISSING,
    )


def find_engine(ask: Ask = process.ask) -> Engine:
    """The engine that `docker` talks to, or an error with the way to get one."""
    client = environment.command_path("docker")
    if client is None:
        raise no_client()
    questions = (
        ("docker", "info", "--format", "{{json .}}"),
        ("docker", "context", "inspect", "--format", "json"),
    )
    with ThreadPoolExecutor() as pool:
        answer, context = pool.map(partial(ask, timeout_s=15), questions)
    info = _json(answer.stdout)
    name, host = context_and_host(context.stdout)
    refuse_podman(answer, info, environment.variable("DOCKER_HOST") or host, ask)
    # The client answers for itself when the engine does not: exit 1, or 0 with ServerErrors.
    if not answer.ok or info.get("ServerErrors") or not info.get("ServerVersion"):
        said = answer.stderr or str(info.get("ServerErrors") or answer.stdout)
        raise refusal(said, name, host)
    return replace(
        parse_info(info),
        context=name,
        host=environment.variable("DOCKER_HOST") or host,
        client_path=os.path.realpath(client),
    )


def context_and_host(answer: str) -> tuple[str, str]:
    """The chosen context's name and endpoint, of what `docker context inspect` answers."""
    chosen = _json(answer)
    first = chosen[0] if isinstance(chosen, list) and chosen else chosen
    named = first if isinstance(first, dict) else {}
    endpoint = named.get("Endpoints", {}).get("docker", {}).get("Host", "")
    return str(named.get("Name", "default")), str(endpoint)


def require_engine(engine: Engine) -> Engine:
    """Refuse an engine or a Compose that cannot carry the lab."""
    if engine.version < MIN_ENGINE:
        raise LabError(
            f"the engine is version {_dotted(engine.version)}; "
            f"{_dotted(MIN_ENGINE)} or newer is needed",
            fix="update Docker Engine (on Debian and Ubuntu: remove docker.io, then invoke setup)",
            code=Code.COMPOSE,
        )
    if engine.compose == (0, 0):
        raise plugin_trouble() or LabError(
            "Docker Compose is missing (`docker compose` is not a command here)",
            fix="invoke setup (or install the package docker-compose-v2 / docker-compose-plugin)",
            code=Code.COMPOSE,
        )
    if engine.compose < MIN_COMPOSE:
        raise LabError(
            f"Docker Compose is version {_dotted(engine.compose)}; "
            f"{_dotted(MIN_COMPOSE)} or newer is needed",
            fix="update the Compose plugin (package docker-compose-v2 or docker-compose-plugin)",
            code=Code.COMPOSE,
        )
    return engine


def _dotted(pair: tuple[int, int]) -> str:
    return ".".join(map(str, pair))


def _json(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
