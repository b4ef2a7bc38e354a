"""Runs: containers of the lab's image that each run one command."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from labcrate import labels, process
from labcrate.errors import Code, LabError
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.containers import Container, runs_of

PATIENCE_S = 10.0
"""Seconds that a command has to end after Ctrl-C, as `docker stop` gives it after SIGTERM."""

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,60}")

HEALTH = re.compile(r" \((health: starting|healthy|unhealthy)\)")
"""A run inherits JupyterLab's health check, which says nothing of it."""

QUIET = {"COMPOSE_IGNORE_ORPHANS": "true"}
"""Compose warns of every other run as an orphan, and advises to remove it."""


def run_container(lab: Lab, name: str) -> str:
    """The name of a run's container. The dot keeps it apart from those of services."""
    return f"{lab.project}.{name}"


def run_flags(lab: Lab, name: str) -> tuple[str, ...]:
    """What each run is started with: its container's name, and its own as a label."""
    label = f"{labels.RUN}={name}"
    return ("run", "--no-deps", "--name", run_container(lab, name), "--label", label)


def choose_name(name: str, runs: Sequence[Container]) -> str:
    """The name for a new run: the one typed, if it can be one and is free, or a random one."""
    if not name:
        return f"run-{secrets.token_hex(2)}"
    if not NAME.fullmatch(name):
        raise LabError(
            f"{name!r} cannot be the name of a run",
            fix="use letters, digits, and . _ - between them: --name train-2",
            code=Code.SETTINGS,
        )
    if any(one.run == name for one in runs):
        raise LabError(
            f"there is a run {name} already",
            fix=f"use another name; or end and remove that one: invoke run --remove {name}",
            code=Code.SETTINGS,
        )
    return name


def start_detached(lab: Lab, name: str, command: Sequence[str]) -> None:
    """Start a run that outlives this task and the terminal."""
    flags = ("--detach", "--no-TTY", "--interactive=false")
    line = lab.compose(*run_flags(lab, name), *flags, JUPYTER, *command)
    done = process.stream(line, line=lambda _: None, extra_env=QUIET, cwd=lab.clone.root)
    if not done.ok:
        end_run(lab.project, name)
        raise LabError(
            f"the run {name} did not start: {done.text.strip()}",
            fix="fix what it says, then start the run again",
            code=Code.UNHEALTHY,
        )


def run_attached(lab: Lab, name: str, flags: Sequence[str], command: Sequence[str]) -> int:
    """A run on this terminal, which ends with it; its exit code.

    Compose runs as a process of its own that nobody here can signal, so whatever ends the wait
    ends the container itself. Ctrl-C reaches the command by itself, and it gets the time to save
    what it has. flags: with a terminal of the command's own, or without.
    """

    def at_once(error: BaseException) -> None:
        # With a terminal of its own, Ctrl-C goes to the command alone: what came here was a kill.
        if not isinstance(error, KeyboardInterrupt) or "--no-TTY" not in flags:
            end_run(lab.project, name)

    line = lab.compose(*run_flags(lab, name), "--rm", *flags, JUPYTER, *command)
    try:
        status = process.attach(line, extra_env=QUIET, cwd=lab.clone.root, at_once=at_once)
    except BaseException:
        end_run(lab.project, name, patience_s=PATIENCE_S)
        raise
    if status < 0:
        # Docker's client was killed, and the command was not.
        end_run(lab.project, name)
    return status


def end_run(project: str, name: str, patience_s: float = 0.0) -> None:
    """End a run's container, gently first, and remove it; nothing happens where it is gone.

    patience_s: seconds in which it may end by itself.
    """
    own = (f"{labels.COMPOSE_PROJECT}={project}", f"{labels.ONEOFF}=True", f"{labels.RUN}={name}")
    filters = [part for label in own for part in ("--filter", f"label={label}")]
    for ident in process.ask(("docker", "ps", "--all", "--quiet", *filters)).stdout.split():
        if patience_s:
            process.ask(("docker", "wait", ident), timeout_s=patience_s)
        process.change(("docker", "stop", ident), quiet=True)
        process.change(("docker", "rm", "--force", ident), quiet=True)


def find_run(listed: Sequence[Container], project: str, name: str) -> Container:
    """The run of this name; an error with those that are there."""
    runs = runs_of(listed, project)
    found = next((one for one in runs if one.run == name), None)
    if found:
        return found
    names = ", ".join(one.run for one in runs)
    raise LabError(
        f"there is no run {name}",
        fix=f"use one of: {names}" if names else "start one: invoke run --detach -- COMMAND",
        code=Code.SETTINGS,
    )


def exit_code_of(run: Container) -> int:
    """Wait until a run has ended; its exit code. LabError: it was removed meanwhile."""
    answer = process.ask(("docker", "wait", run.id), timeout_s=None)
    if not answer.ok or not answer.stdout.strip().isdigit():
        raise LabError(
            f"the run {run.run} cannot be waited for: {answer.text.strip()}",
            fix="`invoke status` lists the runs that are there",
            code=Code.NOT_UP,
        )
    return int(answer.stdout)


def since(run: Container) -> str:
    """How long a run runs, or how it ended, as the engine words it."""
    return HEALTH.sub("", run.status)
