"""What `up` starts: with which cards, proven, and with the token that opens the door."""

from __future__ import annotations

import time
from dataclasses import dataclass

from labcrate import output, process
from labcrate.errors import Code, LabError
from labcrate.gpu.decide import Decision, gpu_refused
from labcrate.gpu.free import claimed, wait_for_free_cards, with_free_cards
from labcrate.gpu.record import is_proven, remember_proof
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.jupyter import token_opens
from labcrate.lab.lifecycle import last_logs, look_again, start_services
from labcrate.lab.notices import unhealthy, watch
from labcrate.lab.snapshot import Snapshot
from labcrate.tasks.base import result_only
from labcrate.tasks.sparing import may_renew, may_replace_jupyter


@dataclass(frozen=True, kw_only=True)
class How:
    """The flags of `up` that its start heeds."""

    force: bool
    quiet: bool
    wait: bool


def bring_up(
    decision: Decision, snapshot: Snapshot, found: Snapshot, how: How
) -> tuple[Decision, Snapshot] | None:
    """The lab up, as it was decided; None where nothing may be replaced.

    snapshot: the lab as it is. found: as it was before this task did anything.
    """
    while True:
        # What would be replaced depends on the cards; they are chosen again, and taken, below.
        look = wait_for_free_cards if how.wait else with_free_cards
        chosen = look(decision)
        plan = may_renew(chosen.lab, snapshot, how.force)
        if plan is None:
            return None
        try:
            with result_only(how.quiet):
                if plan.nothing:
                    return start_proven(chosen, found, how.force, runs=True)
                return start_proven(decision, found, how.force)
        except LabError as error:
            if not how.wait or error.code is not Code.GPU_TAKEN:
                raise


def start_proven(
    decision: Decision, before: Snapshot, force: bool, *, runs: bool = False
) -> tuple[Decision, Snapshot]:
    """Up, and with a GPU sure that it computes; `auto` goes on without it, and says so.

    runs: all of it is up already, as it was decided.
    """
    try:
        decision, after = start(decision, before, force, runs=runs)
        if decision.lab.overlays:
            require_proof(decision, after)
    except LabError as error:
        broken = error.code in (Code.GPU_NOT_OFFERED, Code.GPU_PROOF)
        if decision.mode == "on" or not broken:
            raise
        output.say(f"{error.problem}\nThe lab goes on on the CPU.")
        plain, after = start(decision.without_gpu(error.problem, error.fix), before, force)
        remember_proof(plain.lab.clone, container_id(after), decision.stamp, error.problem)
        return plain, after
    return decision, after


def require_proof(decision: Decision, snapshot: Snapshot) -> None:
    """A kernel ran on the GPU of the lab that was just started, now or before."""
    clone, ident = decision.lab.clone, container_id(snapshot)
    if process.is_dry() or is_proven(clone, ident):
        return
    # Here, because it brings the whole doctor along, and few starts need it.
    from labcrate.smoke.prove import prove_quickly  # noqa: PLC0415

    seconds, cause = prove_quickly(decision.lab)
    remember_proof(clone, ident, decision.stamp, cause)
    if cause:
        raise LabError(
            f"the GPU is there and does not work: {cause}",
            fix="`invoke doctor` looks for the cause, and `nox -s gpu_smoke` shows all of it",
            code=Code.GPU_PROOF,
        )
    output.seconds("the GPU computes", seconds)


def container_id(snapshot: Snapshot) -> str:
    return snapshot.jupyter.id if snapshot.jupyter else ""


def start(
    decision: Decision, before: Snapshot, force: bool, *, runs: bool = False
) -> tuple[Decision, Snapshot]:
    """Up, and sure that the token in .env is the one that opens the door."""
    started = time.monotonic()
    if not runs:  # Compose takes 0.7 s to find nothing to do.
        decision, done = start_with_cards(decision)
        if not process.is_dry():
            refuse_failed(decision.lab, done)
    if process.is_dry():
        return decision, before
    lab = decision.lab
    after = look_again(before)
    if ids_of(after) != ids_of(before):
        output.seconds("up", time.monotonic() - started)
    elif token_opens(after):
        output.seconds("already up; nothing was touched", time.monotonic() - started)
    elif may_replace_jupyter(lab, after, force):
        # Compose does not compare the content of secrets.
        output.say("The token in .env changed: JupyterLab is restarted.")
        refuse_failed(lab, start_with_cards(decision, "--force-recreate", JUPYTER)[1])
        after = look_again(before)
    else:
        output.say("Nothing was replaced; JupyterLab keeps the token that it was started with.")
    return decision, after


def start_with_cards(decision: Decision, *only: str) -> tuple[Decision, process.Result]:
    """Start the services; where the lab takes a free card, alone until its container has it."""
    with claimed(decision) as (chosen, _):
        return chosen, start_services(chosen.lab, *only)


def refuse_failed(lab: Lab, done: process.Result) -> None:
    """The error for a start that failed."""
    if not done.ok:
        logs = last_logs(lab)
        raise gpu_refused(lab, done.text) or unhealthy(watch(lab.project), done.text, logs)


def ids_of(snapshot: Snapshot) -> set[tuple[str, str, str]]:
    """Which containers run: another id, or another state, is something that `up` touched."""
    return {(one.id, one.state, one.health) for one in snapshot.containers.values()}
