"""shell, run, wait: commands of the user's own, in the lab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from invoke import Context

from labcrate import output, process
from labcrate.clone.fresh import ensure_folders
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.gpu.decide import Decision, as_started, decide
from labcrate.gpu.free import Release, claimed, until_running, with_free_cards
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.containers import Container, all_containers, runs_of
from labcrate.lab.runs import (
    choose_name,
    end_run,
    exit_code_of,
    find_run,
    run_attached,
    run_container,
    start_detached,
)
from labcrate.tasks.base import (
    alone,
    finish,
    lab_task,
    load_settings,
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
    detach="go on when this terminal is gone; `invoke status` lists it",
    name="what the run is called; a random name by default",
    remove="end the run of this name and remove it, instead",
)
def run(
    c: Context,  # noqa: ARG001
    command: Sequence[str] = (),
    detach: bool = False,
    name: str = "",
    remove: str = "",
) -> None:
    """Run in the lab's image: invoke run python train.py"""
    if remove:
        remove_run(remove)
        return
    if not command:
        raise LabError(
            "there is no command to run", fix="invoke run python train.py", code=Code.SETTINGS
        )
    with alone("run") as settings:
        # The name is the run's from here on: a detached one is there before the lock is given up.
        lab, decision, runs = lab_to_run(settings)
        chosen = choose_name(name, runs)
        if detach:
            with with_cards(lab, decision) as (taken, _):
                start_detached(taken, chosen, command)
            tell_run(chosen)
            return
    finish(run_here(lab, decision, chosen, command))


def run_here(lab: Lab, decision: Decision | None, name: str, command: Sequence[str]) -> int:
    """A run on this terminal; another lab may choose its card as soon as this one has it."""
    flags = terminal_flags()
    with with_cards(lab, decision, kept=False) as (taken, release):
        if decision is None or decision.wanted is None:
            return run_attached(taken, name, flags, command)
        with until_running(run_container(taken, name), release):
            return run_attached(taken, name, flags, command)


@contextmanager
def with_cards(
    lab: Lab, decision: Decision | None, *, kept: bool = True
) -> Iterator[tuple[Lab, Release]]:
    """The running lab as it is, or the one that was decided, with free cards if it takes some."""
    if decision is None:
        yield lab, lambda: None
        return
    with claimed(decision, kept=kept) as (chosen, release):
        if decision.wanted:
            output.row("gpu", chosen.choice.line)
        yield chosen.lab, release


def lab_to_run(settings: Settings) -> tuple[Lab, Decision | None, tuple[Container, ...]]:
    """The running lab with the GPU that it has, or what `up` would start and what it decided; and
    the runs it has."""
    engine, snapshot = read_lab_and_engine(settings)
    ensure_folders(settings, quiet=True)
    decision = None
    if snapshot.jupyter:
        lab, why = as_started(snapshot), "the image has it"
    else:
        decision = decide(snapshot, engine)
        with_free_cards(decision)
        output.row("gpu", decision.choice.line)
        lab, why = decision.lab, decision.build.reason
    build_stale(lab, snapshot, why)
    return lab, decision, runs_of(snapshot.everyone, lab.project)


def tell_run(name: str) -> None:
    """What can be done with a run that was started."""
    if process.is_dry():
        return
    output.setup_row("run", name)
    output.setup_row("its output", f"invoke logs --run {name} --follow")
    output.setup_row("its exit code", f"invoke wait {name}")
    output.setup_row("end it", f"invoke run --remove {name}")


def remove_run(name: str) -> None:
    with alone("run") as settings:
        one = find_run(all_containers(), settings.project, name)
        end_run(settings.project, one.run)
        if not process.is_dry():
            output.say(f"The run {name} is gone.")


@lab_task(Takes(words="name"), name="one or more runs, as `invoke status` lists them")
def wait(c: Context, name: Sequence[str] = ()) -> None:  # noqa: ARG001
    """Wait for runs to end, and end with the first exit code that is not 0."""
    project = load_settings().project
    if not name:
        raise LabError("there is no run to wait for", fix="invoke wait NAME", code=Code.SETTINGS)
    codes = []
    for one in name:
        codes.append(exit_code_of(find_run(all_containers(), project, one)))
        output.say(f"The run {one} ended with exit code {codes[-1]}.")
    finish(next(filter(None, codes), 0))
