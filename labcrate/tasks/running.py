"""shell and run: commands of the user's own, in the lab."""

from __future__ import annotations

from collections.abc import Sequence

from invoke import Context

from labcrate import output
from labcrate.clone.fresh import ensure_folders
from labcrate.errors import Code, LabError
from labcrate.gpu.decide import as_started, decide
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.tasks.base import (
    alone,
    finish,
    lab_task,
    read_lab,
    read_lab_and_engine,
    require_up,
    terminal_flags,
)
from labcrate.tasks.starting import build_stale
from labcrate.tasks.words import Takes

SHELL = ("sh", "-c", "if command -v bash > /dev/null; then exec bash; else exec sh; fi")
"""bash where the service's image has it: an owner's service may have sh alone."""


@lab_task(Takes(words="service"), service="one of the lab's services; default: jupyter")
def shell(c: Context, service: Sequence[str] = ()) -> None:  # noqa: ARG001
    """Open a shell in a running service."""
    snapshot = read_lab()
    name = snapshot.model.require_service(" ".join(service) or JUPYTER)
    require_up(snapshot)
    finish(as_started(snapshot).attach("exec", *terminal_flags(), name, *SHELL))


@lab_task(
    Takes(words="command", rest=True),
    command="all that follows; `run -- COMMAND` where a flag of it is one of this task's, too",
)
def run(c: Context, command: Sequence[str] = ()) -> None:  # noqa: ARG001
    """Run in the lab's image: invoke run python train.py"""
    if not command:
        raise LabError(
            "there is no command to run", fix="invoke run python train.py", code=Code.SETTINGS
        )
    run_flags = ("run", "--rm", "--no-deps", *terminal_flags(), JUPYTER)
    finish(lab_to_run().attach(*run_flags, *command))


def lab_to_run() -> Lab:
    """The running lab with the GPU that it has; where none runs, what `up` would start."""
    with alone("run") as settings:
        engine, snapshot = read_lab_and_engine(settings)
        ensure_folders(settings, quiet=True)
        if snapshot.jupyter:
            lab, why = as_started(snapshot), "the image has it"
        else:
            decision = decide(snapshot, engine)
            output.row("gpu", decision.choice.line)
            lab, why = decision.lab, decision.build.reason
        build_stale(lab, snapshot, why)
        return lab
