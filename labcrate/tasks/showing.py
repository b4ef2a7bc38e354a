"""status, doctor, url, open, logs: what there is to see; none of them changes anything."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence

from invoke import Context

from labcrate import output, process
from labcrate.clone.ports import is_loopback
from labcrate.cluster.whole import dashboard_rows
from labcrate.gpu.decide import as_started, running_choice
from labcrate.gpu.unused import unused_now
from labcrate.lab.containers import Container, runs_of
from labcrate.lab.notices import notices
from labcrate.lab.runs import find_run, since
from labcrate.lab.snapshot import Snapshot
from labcrate.lab.way_in import far_way, links_as_json, open_pages, ways_in
from labcrate.tasks.base import finish, lab_task, read_lab, require_up
from labcrate.tasks.words import Takes


@lab_task(json_="as JSON, for programs")
def status(c: Context, json_: bool = False) -> None:  # noqa: ARG001
    """Show what runs, since when, and where."""
    snapshot = read_lab()
    services = service_rows(snapshot)
    choice = running_choice(snapshot)
    devices = list(choice.devices) if choice else []
    unused = unused_now(snapshot)
    runs = runs_of(snapshot.everyone, snapshot.lab.project)
    told = notices(snapshot.containers.values())
    stale = snapshot.stale()
    if json_:
        payload = {
            "project": snapshot.lab.project,
            "stale": bool(stale),
            "services": services,
            "runs": {one.run: run_row(one) for one in runs},
            "notices": told,
            "gpu": devices,
            "gpu_unused": unused,
            "torch_backend": snapshot.lab.torch_backend,
            "idle_hours": snapshot.jupyter.idle_hours if snapshot.jupyter else 0,
        }
        output.say(json.dumps(payload, indent=2))
        return
    headings = ("service", "state", "health", "since", "address")
    rows = [
        (name, row["state"], row["health"], row["status"], row["url"])
        for name, row in services.items()
    ]
    output.table(headings, rows, title=snapshot.lab.project, whole=("address",))
    for row in far_way(snapshot.links()):
        output.row(*row)
    if runs:
        told_runs = [(one.run, since(one), one.command) for one in runs]
        output.table(("run", "since", "command"), told_runs, title="runs", whole=("run",))
    if devices:
        output.say(f"JupyterLab has the GPU: {', '.join(devices)}")
    if snapshot.jupyter and snapshot.jupyter.idle_hours:
        hours = f"{snapshot.jupyter.idle_hours:g}"
        output.say(f"Kernels that compute nothing for {hours} hours are ended (IDLE_HOURS).")
    if stale:
        output.say(f"Not up to date: {', '.join(stale)}. The next `invoke up` builds it.")
    show_notices(told)
    show_unused(unused)


def service_rows(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """Each service of the model, the owner's too: state, health, since when, where."""
    addresses = snapshot.links()
    rows = {}
    for name in snapshot.model.services:
        one = snapshot.containers.get(name)
        rows[name] = {
            "state": one.state if one else "down",
            "health": one.health if one else "",
            "status": one.status if one else "",
            "url": addresses.get(name, ""),
        }
    return rows


def run_row(one: Container) -> dict[str, str | int | None]:
    """A run for programs. exit_code: None while it runs."""
    ended = re.match(r"Exited \((\d+)\)", one.status)
    return {
        "state": one.state,
        "status": since(one),
        "exit_code": int(ended[1]) if ended else None,
        "command": one.command,
    }


def show_notices(told: Sequence[str]) -> None:
    """What happened to the containers while nobody looked."""
    for notice in told:
        output.say(f"  note: {notice}")


def show_unused(told: str) -> None:
    """A card of this machine that the lab does not use, where there is one."""
    if told:
        output.say(told)


def report_links(found: Mapping[str, str]) -> None:
    for name, address in (*found.items(), *ways_in(found)):
        output.row(name, address)


def warn_of_others(bind_address: str) -> None:
    """Say it where other machines can reach JupyterLab."""
    if not is_loopback(bind_address):
        output.say(
            f"  BIND_ADDRESS={bind_address}: other machines can reach JupyterLab, "
            "unencrypted; the token is its only lock."
        )


@lab_task(json_="as JSON, for programs")
def url(c: Context, json_: bool = False) -> None:  # noqa: ARG001
    """Print the links, JupyterLab's with its token."""
    snapshot = read_lab()
    if json_:
        output.say(json.dumps(links_as_json(snapshot)))
        return
    report_links(snapshot.links(snapshot.settings.jupyter_token))
    for row in dashboard_rows(snapshot.settings.clone):
        output.row(*row)
    warn_of_others(snapshot.settings.bind_address)


@lab_task()
def open_(c: Context) -> None:  # noqa: ARG001
    """Open JupyterLab and the other services in the browser."""
    snapshot = read_lab()
    require_up(snapshot)
    if not open_pages(snapshot):
        output.say("No browser of this machine can show the lab. These are the links:")
        report_links(snapshot.links(snapshot.settings.jupyter_token))


@lab_task(
    Takes(words="service"),
    service="one or more of the services; default: all",
    run="a run instead, by its name",
    follow="as they come",
)
def logs(
    c: Context,  # noqa: ARG001
    service: Sequence[str] = (),
    run: str = "",
    follow: bool = False,
) -> None:
    """Show the services' logs, or what a run prints."""
    snapshot = read_lab()
    options = ["--follow"] if follow else []
    if run:
        one = find_run(snapshot.everyone, snapshot.lab.project, run)
        finish(process.attach(("docker", "logs", *options, one.name)))
        return
    names = [snapshot.model.require_service(name) for name in service]
    finish(as_started(snapshot).attach("logs", *options, *names))


@lab_task(Takes(words="verb"), verb="a task to explain; without one, all tasks are listed")
def help_(c: Context, verb: Sequence[str] = ()) -> None:  # noqa: ARG001
    """List the tasks, or explain one: invoke help up"""
    about = ("--help", verb[0]) if verb else ("--list",)
    finish(process.attach((sys.executable, "-m", "invoke", *about), quiet=True))
