"""The lab's containers as the engine reports them, and whose container holds a port."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labcrate import labels, process
from labcrate.engine.engine import refusal
from labcrate.lab.health import NOTHING_SAID, Health, parse_health


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container. Sizes in bytes; memory: its limit, 0 for none.

    started and ended: UTC, "" while unknown.
    out_of_memory: the kernel ended a process of it since it started, or the whole of it.
    gpu: the overlay and the devices that it was started with. status: as `docker ps` words it.
    idle_hours: those after which JupyterLab ends an idle kernel; 0: never.
    own: made by Compose as a service. run: its name, where it was made for one command instead, and
    command: that one. lab: the lab that its label names; "" for an owner's service.
    check: what its health check said last. logs and inside: what the doctor read of it.
    """

    id: str
    name: str = ""
    project: str = ""
    service: str = ""
    state: str = ""
    status: str = ""
    health: str = ""
    exit_code: int = 0
    restarts: int = 0
    ended: str = ""
    started: str = ""
    out_of_memory: bool = False
    memory: int = 0
    shm: int = 0
    ipc: str = ""
    gpu: str = ""
    idle_hours: float = 0
    folder: str = ""
    image_id: str = ""
    own: bool = False
    run: str = ""
    command: str = ""
    lab: str = ""
    ports: tuple[int, ...] = ()
    check: Health = NOTHING_SAID
    logs: str = ""
    inside: str = ""

    @property
    def is_running(self) -> bool:
        return self.state == "running"


COLUMNS = (
    "{{.ID}}",
    "{{.Names}}",
    "{{.Status}}",
    "{{.Ports}}",
    labels.column(labels.COMPOSE_PROJECT),
    labels.column(labels.COMPOSE_SERVICE),
    labels.column(labels.COMPOSE_FOLDER),
    labels.column(labels.ONEOFF),
    labels.column(labels.PROJECT),
    "{{.State}}",
    labels.column(labels.RUN),
    "{{.Command}}",
)
LIST = ("docker", "ps", "--all", "--no-trunc", "--format", "\t".join(COLUMNS))


def list_containers() -> tuple[Container, ...]:
    """Every container of the engine, in one question; without details. Raises on no answer."""
    answer = process.ask(LIST)
    if not answer.ok:
        raise Unanswered(answer.stderr)
    rows = (line.split("\t") for line in answer.stdout.splitlines())
    return tuple(_listed(row) for row in rows if len(row) == len(COLUMNS))


def all_containers() -> tuple[Container, ...]:
    """The same for a task: no answer is an error with its fix."""
    try:
        return list_containers()
    except Unanswered as error:
        raise refusal(str(error)) from None


ENTRY = "sh /opt/labcrate/with-proxies "
"""What docker/Dockerfile starts every command with; the engine shows it before a run's own."""


class Unanswered(Exception):
    """The engine did not answer; its own words are the argument."""


def _listed(row: Sequence[str]) -> Container:
    ident, name, status, ports, project, service, folder, oneoff, lab, state, run, command = row
    return Container(
        id=ident,
        name=name,
        status=status,
        ports=published(ports),
        project=project,
        service=service,
        folder=folder,
        own=oneoff == "False",
        lab=lab,
        state=state,
        # `docker compose run`, typed by hand, gives its container no name but the engine's.
        run=(run or name) if oneoff == "True" else "",
        command=command.strip('"').removeprefix(ENTRY),
    )


def published(text: str) -> tuple[int, ...]:
    """The host's ports in `127.0.0.1:8888->8888/tcp, 0.0.0.0:9000-9001->9000-9001/tcp`."""
    found: list[int] = []
    for first, last in re.findall(r":(\d+)(?:-(\d+))?->", text):
        found += range(int(first), int(last or first) + 1)
    return tuple(sorted(set(found)))


def inspect_containers(listed: Sequence[Container]) -> tuple[Container, ...]:
    """These containers with their details; one that is gone by now is left out."""
    if not listed:
        return ()
    answer = process.ask(("docker", "container", "inspect", *(one.id for one in listed)))
    known = {one.id: one for one in listed}
    rows: list[dict[str, Any]] = json.loads(answer.stdout or "[]")
    return tuple(inspected(row, known.get(row["Id"])) for row in rows)


def inspected(row: Mapping[str, Any], listed: Container | None = None) -> Container:
    """One element of the answer of `docker container inspect`."""
    state, told = row["State"], row["Config"].get("Labels") or {}
    host, health = row.get("HostConfig") or {}, state.get("Health") or {}
    checks = health.get("Log") or [{}]
    return replace(
        listed or Container(id=row["Id"]),
        name=str(row.get("Name", "")).lstrip("/"),
        project=told.get(labels.COMPOSE_PROJECT, ""),
        service=told.get(labels.COMPOSE_SERVICE, ""),
        folder=told.get(labels.COMPOSE_FOLDER, ""),
        own=told.get(labels.ONEOFF) == "False",
        state=state["Status"],
        health=health.get("Status", ""),
        check=parse_health(checks[-1].get("Output", "")),
        exit_code=state["ExitCode"],
        restarts=row.get("RestartCount", 0),
        ended=state.get("FinishedAt", "")[:19].replace("T", " "),
        started=state.get("StartedAt", "")[:19].replace("T", " "),
        out_of_memory=state.get("OOMKilled", False),
        memory=host.get("Memory", 0),
        shm=host.get("ShmSize", 0),
        ipc=host.get("IpcMode", ""),
        gpu=told.get(labels.GPU, ""),
        idle_hours=_idle_hours(row["Config"].get("Env") or ()),
        image_id=row.get("Image", ""),
    )


def _idle_hours(variables: Sequence[str]) -> float:
    """After how many hours JupyterLab ends an idle kernel; 0: never."""
    found = re.search(r"^IDLE_HOURS=(\d+(\.\d+)?)$", "\n".join(variables), re.MULTILINE)
    return float(found[1]) if found else 0


def of_project(listed: Sequence[Container], project: str) -> tuple[Container, ...]:
    """The containers that Compose made for a lab; see labels.ONEOFF."""
    return tuple(one for one in listed if one.own and one.project == project)


def runs_of(listed: Sequence[Container], project: str) -> tuple[Container, ...]:
    """A lab's containers that each run one command, those that ended too; see labels.ONEOFF."""
    return tuple(one for one in listed if one.run and one.project == project)


def read_containers(project: str) -> dict[str, Container]:
    """The lab's containers by service, those that ended too."""
    found = inspect_containers(of_project(list_containers(), project))
    return {one.service: one for one in found}


def holder_of(port: int, listed: Sequence[Container]) -> Container | None:
    """The running container that publishes a port."""
    return next((one for one in listed if port in one.ports), None)
