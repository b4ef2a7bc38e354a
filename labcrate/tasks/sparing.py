"""What a task would end is said before it does so, and what computes is spared."""

from __future__ import annotations

from labcrate import environment, output
from labcrate.errors import Code, LabError
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.lifecycle import Plan, plan_start, restart_services, services_to_restart
from labcrate.lab.snapshot import Snapshot
from labcrate.lab.work import Work, jupyter_work
from labcrate.tasks.base import asker


def may_end(work: Work, *, doing: str, again: str, force: bool) -> bool:
    """Whether a task may end what the lab's containers hold. False: somebody said no.

    What computes needs --force everywhere. The rest is named, and asked for where somebody can
    answer; a script goes on: every notebook that was opened leaves a kernel, and a nightly `down`
    that refused would leave the lab running. doing: what the task would do. again: with --force.
    """
    refuse_busy(work, doing, again, force)
    # Also with --quiet: nobody agrees to what was not said.
    with output.hushed(False):
        tell_work(work, doing)
    if force or not work.lines or not environment.is_terminal():
        return True
    return asker(False)("Go on?")


def may_replace_jupyter(lab: Lab, snapshot: Snapshot, force: bool) -> bool:
    doing, again = "`up` would replace JupyterLab", "invoke up --force"
    return may_end(jupyter_work(lab, snapshot.jupyter), doing=doing, again=again, force=force)


def may_renew(lab: Lab, snapshot: Snapshot, force: bool) -> Plan | None:
    """Say which running services `up` replaces, and restart those that do not answer. None where
    what JupyterLab holds must stay."""
    plan = plan_start(lab, snapshot)
    names = plan.replaced
    sick = [name for name in services_to_restart(snapshot) if name not in names]
    if JUPYTER in (*names, *sick) and not may_replace_jupyter(lab, snapshot, force):
        return None
    if names:
        output.say(f"Replacing {' and '.join(names)}: the image or the settings changed.")
    if sick:
        output.say(f"Restarting {' and '.join(sick)}: it runs and does not answer.")
        restart_services(lab, sick)
    return plan


def refuse_busy(work: Work, doing: str, again: str, force: bool) -> None:
    if work.busy and not force:
        raise LabError(
            f"{doing}, and this is at work: {', '.join(work.busy)}",
            fix=f"wait for it, or lose what it computes: {again}",
            code=Code.BUSY,
        )


def tell_work(work: Work, doing: str) -> None:
    """Say what goes; nothing where nothing does."""
    if work.lines:
        output.say(f"{doing}. That ends:")
    for line in work.lines:
        output.say(f"  {line}")
