"""What a change of the packages did, as add-package and its kin show it."""

from __future__ import annotations

from collections.abc import Sequence

from labcrate import output, process
from labcrate.clean.bound import bound_cache
from labcrate.lab.lifecycle import plan_start
from labcrate.lab.snapshot import Snapshot
from labcrate.packages.phases import Changed, Phases


def conclude(snapshot: Snapshot, changed: Changed, phases: Phases, quiet: bool = False) -> None:
    """The end of each change: say what it did, and keep what its build left within bounds."""
    report(snapshot, changed, phases, quiet)
    if changed.built:
        bound_cache(snapshot)


def report(snapshot: Snapshot, changed: Changed, phases: Phases, quiet: bool = False) -> None:
    """What changed, where, and, unless quiet, how long each phase took."""
    if process.is_dry():
        return
    if changed.rows:
        show_difference(changed.rows)
    seconds = [f"{taken:.1f} s" for taken in phases.seconds.values()]
    with output.hushed(quiet):
        output.table(list(phases.seconds), [seconds], title="phases", numbers=True)
    if changed.removed:
        output.say(f"Removed: {', '.join(changed.removed)}.")
    added = any(now for _, _, now in changed.rows)
    if changed.live and added:
        output.say("In the running lab now. A kernel that has a module loaded keeps the old one.")
    elif changed.live:
        output.say("Gone from the running lab now. A kernel keeps what it has loaded.")
    if not changed.built:
        output.say("The image is as it was: the next `invoke up` builds it.")
    elif plan_start(snapshot.lab, snapshot).replaced:
        output.say("The image is rebuilt: the next `invoke up` starts the lab from it.")


def show_difference(rows: Sequence[tuple[str, str, str]]) -> None:
    cells = [(name, before or "-", now or "-") for name, before, now in rows]
    output.table(("package", "before", "now"), cells)
