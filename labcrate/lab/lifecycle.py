"""Starting and stopping the lab, and what that replaces."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from labcrate import output, process
from labcrate.errors import Code, LabError
from labcrate.lab.compose import WAIT_S, Lab
from labcrate.lab.containers import Container, inspect_containers
from labcrate.lab.snapshot import Snapshot

ANEW = "invoke down --force, then: invoke up"
"""The fix where a container can neither go on nor start again."""

RECOVERY_S = 60.0
"""Seconds: the health check's interval is 10, and its answer takes 5 at most.

On a busy machine the first answers come late, and a restart would cost the kernels.
"""

STOPPED = re.compile(r"exited \((0|143)\)")
"""Compose's words for a container that was told to end while Compose waited for it.

A `down` that was killed leaves such a stop behind, and the engine carries it out.
"""

ACT = re.compile(r"\b(Container|Network|Volume|Image|Secret|Config)\s+(\S+)\s+(\w+)")
"""A line of Compose's dry run: what, which one, and what would become of it."""


def start_services(lab: Lab, *only: str) -> process.Result:
    """Start what is not running and wait until all is healthy; Compose's lines are folded.

    only: flags, and the services to start, where not all are meant.
    """
    wait = ("--wait", "--wait-timeout", str(WAIT_S))
    command = lab.compose("up", "--detach", *wait, "--no-build", *only)
    done = process.stream(command, line=lambda _: None, cwd=lab.clone.root)
    if done.ok or not STOPPED.search(done.text):
        return done
    return process.stream(command, line=lambda _: None, cwd=lab.clone.root)


def resume_services(snapshot: Snapshot) -> Snapshot:
    """Let go on what was paused by hand (`docker pause`): nothing else can be asked of it."""
    names = [name for name, one in snapshot.containers.items() if one.state == "paused"]
    if not names:
        return snapshot
    output.say(f"Paused by hand, goes on: {', '.join(names)}.")
    _compose(snapshot.lab, "unpause", *names, problem="it could not go on", fix=ANEW)
    return snapshot if process.is_dry() else recovered(snapshot, names)


def recovered(snapshot: Snapshot, names: Sequence[str]) -> Snapshot:
    """The lab once services that were paused answer again, or have had the time for it.

    The engine asks a paused container too, and calls it unhealthy after a while.
    """
    deadline = time.monotonic() + RECOVERY_S
    while True:
        now = look_again(snapshot)
        sick = [name for name in services_to_restart(now) if name in names]
        if not sick or time.monotonic() > deadline:
            return now
        time.sleep(0.5)


def services_to_restart(snapshot: Snapshot) -> list[str]:
    """The services that run and do not answer, by their health checks."""
    found = snapshot.containers.items()
    return [name for name, one in found if one.is_running and one.health == "unhealthy"]


def restart_services(lab: Lab, names: Sequence[str]) -> None:
    """Start services anew in the containers that they have; `start_services` waits for them."""
    problem = f"{' and '.join(names)} could not be restarted"
    _compose(lab, "restart", *names, problem=problem, fix=ANEW)


def remove_services(lab: Lab, *names: str) -> None:
    """Stop and remove the containers of some services, and leave the others alone."""
    again = "run `invoke down`; `invoke status` shows what is left"
    what = f"{' and '.join(names)} could not be stopped"
    _compose(lab, "rm", "--force", "--stop", *names, problem=what, fix=again)


def stop_services(lab: Lab) -> None:
    """Stop and remove the lab's containers and its network."""
    again = "run `invoke down` again; `invoke status` shows what is left"
    _compose(lab, "down", "--remove-orphans", problem="the lab could not be stopped", fix=again)


def _compose(lab: Lab, *arguments: str, problem: str, fix: str) -> None:
    """Run a Compose command, its lines folded; an error with its words where it fails."""
    done = process.stream(lab.compose(*arguments), line=lambda _: None, cwd=lab.clone.root)
    if not done.ok:
        raise LabError(f"{problem}: {done.text.strip()}", fix=fix, code=Code.UNHEALTHY)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the next `up` would do. replaced: running services; nothing: all stays as it is."""

    replaced: tuple[str, ...] = ()
    nothing: bool = False


def plan_start(lab: Lab, snapshot: Snapshot) -> Plan:
    """What the next `up` would do, by Compose's own dry run."""
    running = {name: one for name, one in snapshot.containers.items() if one.is_running}
    if not running:
        return Plan()
    said = lab.ask("--dry-run", "up", "--detach", "--no-build").text
    acts = ACT.findall(said)
    replaced = {name for kind, name, act in acts if (kind, act) == ("Container", "Recreate")}
    stay = {("Container", one.name, "Running") for one in running.values()}
    return Plan(
        replaced=tuple(name for name, one in running.items() if one.name in replaced),
        nothing=snapshot.is_healthy
        and set(running) == set(snapshot.model.services)
        and set(acts) == stay,
    )


def look_again(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the containers as they are now, asked for by name: one question."""
    sections = snapshot.model.raw["services"]
    names = {
        service: sections[service].get("container_name") or f"{snapshot.lab.project}-{service}-1"
        for service in snapshot.model.services
    }
    found = inspect_containers([Container(id=name) for name in names.values()])
    own = [one for one in found if one.project == snapshot.lab.project]
    return replace(snapshot, containers={one.service: one for one in own})


def last_logs(lab: Lab, services: Sequence[str] = (), lines: int = 15) -> str:
    """The last lines that each service wrote."""
    return lab.ask("logs", "--no-color", "--tail", str(lines), *services).text
