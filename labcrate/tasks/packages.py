"""add-package, remove-package, packages, capture, lock: what the lab holds."""

from __future__ import annotations

import json
from collections.abc import Sequence

from invoke import Context

from labcrate import output, process
from labcrate.clone.fresh import refresh_package_settings
from labcrate.clone.index_settings import has_package_settings
from labcrate.clone.place import find_clone
from labcrate.errors import Code, LabError
from labcrate.lab.snapshot import Snapshot, take_snapshot
from labcrate.packages.change import add_packages, remove_packages, set_system_packages
from labcrate.packages.editable import parse_editable
from labcrate.packages.explain import stale_lock_failure
from labcrate.packages.live import (
    in_image,
    in_lab,
    installed_by_hand,
    requirements_by_hand,
)
from labcrate.packages.locks import stale_locks
from labcrate.packages.names import SUCCESSORS
from labcrate.packages.overview import HEADINGS, needed_by, overview_rows, refuse_unasked
from labcrate.packages.phases import Options, Phases
from labcrate.packages.requested import (
    Wanted,
    debian_names,
    names_to_remove,
    parse_requirements,
)
from labcrate.packages.sources import already_there, locked_pins, system_packages
from labcrate.packages.tools import refresh_locks, refresh_tools, stale_tools
from labcrate.tasks.base import agreed, alone, lab_task, read_lab, require_up, result_only
from labcrate.tasks.reporting import conclude, show_difference
from labcrate.tasks.words import Takes

EDITABLE = """\
The lab imports an editable folder itself: kernels see its changes, those that run now after a
restart. Where its dependencies change, run the same command again."""


@lab_task(
    Takes(words="packages", lists=("requirement", "editable")),
    packages="names, requirements, URLs, paths in this clone; quote one that is a task's name",
    requirement="a requirements file, as pip takes it; may be given several times",
    editable="a project's folder in this clone, imported live; may be given several times",
    system="system packages (Debian's) instead, for docker/apt.txt",
    upgrade="let what was added before move to newer versions",
    no_live="leave the running lab as it is",
    no_build="change the requirement files only; the next `up` builds",
    quiet="show the result alone",
)
def add_package(
    c: Context,  # noqa: ARG001
    packages: Sequence[str] = (),
    requirement: Sequence[str] | None = None,
    editable: Sequence[str] | None = None,
    system: bool = False,
    upgrade: bool = False,
    no_live: bool = False,
    no_build: bool = False,
    quiet: bool = False,
) -> None:
    """Add packages for good, live and in the image: invoke add-package timm einops"""
    clone = find_clone()
    files, folders = tuple(requirement or ()), tuple(editable or ())
    if system and (files or folders):
        fix = "two commands: --system takes names, and -r and -e are for Python packages"
        raise LabError("-r and -e do not go with --system", fix=fix, code=Code.PACKAGE_REFUSED)
    wanted = parse_editable(folders, clone)
    if not system and (packages or files or not folders):
        wanted = (*parse_requirements(packages, clone, files), *wanted)
    names = debian_names(packages) if system else ()
    options = Options(live=not no_live, build=not no_build, upgrade=upgrade)
    with alone("add-package") as settings:
        snapshot = ready_to_install(take_snapshot(settings))
        if system:
            add_system_packages(snapshot, names, options, quiet)
            return
        todo = [one for one in wanted if upgrade or not nothing_to_do(one, snapshot)]
        if todo:
            phases = Phases()
            with result_only(quiet):
                changed = add_packages(snapshot, todo, options, phases)
            conclude(snapshot, changed, phases, quiet)
        if folders and not process.is_dry():
            output.say(EDITABLE)


def add_system_packages(
    snapshot: Snapshot, names: Sequence[str], options: Options, quiet: bool
) -> None:
    there = system_packages(snapshot.lab.clone.docker)
    for name in (one for one in names if one in SUCCESSORS):
        output.say(f"Debian has {SUCCESSORS[name]} in place of {name}.")
    names = tuple(dict.fromkeys(SUCCESSORS.get(name, name) for name in names))
    for name in names:
        if name in there:
            output.say(f"{name} is there already.")
    fresh = [name for name in names if name not in there]
    if fresh:
        phases = Phases()
        with result_only(quiet):
            changed = set_system_packages(snapshot, (*there, *fresh), options, phases)
        conclude(snapshot, changed, phases, quiet)


def ready_to_install(snapshot: Snapshot) -> Snapshot:
    """The lab, with this host's package settings where a build finds them."""
    if not has_package_settings(snapshot.lab.clone):
        refresh_package_settings(snapshot.settings)
    return snapshot


def nothing_to_do(one: Wanted, snapshot: Snapshot) -> bool:
    """Whether a requirement is met already, said aloud."""
    told = already_there(one, snapshot.lab.clone.docker)
    if told:
        output.say(f"{told}; nothing to do.")
    return bool(told)


@lab_task(
    Takes(words="packages"),
    packages="their names",
    system="system packages instead",
    no_live="leave the running lab as it is",
    no_build="change the requirement files only; the next `up` builds",
)
def remove_package(
    c: Context,  # noqa: ARG001
    packages: Sequence[str] = (),
    system: bool = False,
    no_live: bool = False,
    no_build: bool = False,
) -> None:
    """Remove packages, with what only they needed."""
    wanted = debian_names(packages) if system else names_to_remove(packages)
    options = Options(live=not no_live, build=not no_build)
    with alone("remove-package") as settings:
        snapshot = ready_to_install(take_snapshot(settings))
        docker = settings.clone.docker
        phases = Phases()
        if system:
            there = system_packages(docker)
            refuse_absent(wanted, there, "docker/apt.txt")
            rest = [one for one in there if one not in wanted]
            conclude(snapshot, set_system_packages(snapshot, rest, options, phases), phases)
            return
        refuse_unasked(snapshot, wanted)
        conclude(snapshot, remove_packages(snapshot, wanted, options, phases), phases)
        for kept in (one for one in wanted if one in locked_pins(docker) and not process.is_dry()):
            others = ", ".join(needed_by(kept, in_image(snapshot))) or "another package"
            output.say(f"{kept} stays in the image: {others} needs it.")


def refuse_absent(names: Sequence[str], there: Sequence[str], where: str) -> None:
    absent = [name for name in names if name not in there]
    if absent:
        raise LabError(
            f"{', '.join(absent)}: not in {where}",
            fix="invoke packages (shows what was asked for)",
            code=Code.PACKAGE_UNKNOWN,
        )


@lab_task(json_="as JSON, for programs")
def show_packages(c: Context, json_: bool = False) -> None:  # noqa: ARG001
    """Show what is asked for, locked, built and running."""
    snapshot = read_lab()
    clone = snapshot.lab.clone
    rows = overview_rows(clone, in_image(snapshot), in_lab(snapshot))
    if json_:
        output.say(json.dumps(rows, indent=2))
        return
    cells = [[row[heading] for heading in HEADINGS] for row in rows]
    output.table(HEADINGS, cells, title=snapshot.lab.project)
    for problem in stale_locks(clone.docker):
        output.say(f"{problem}: invoke lock")


@lab_task(yes="do not ask")
def capture(c: Context, yes: bool = False) -> None:  # noqa: ARG001
    """Keep what was installed by hand in the running lab."""
    with alone("capture") as settings:
        snapshot = ready_to_install(take_snapshot(settings))
        require_up(snapshot)
        running, image = in_lab(snapshot), in_image(snapshot)
        names = installed_by_hand(running, image)
        if not names:
            output.say("Nothing was installed by hand.")
            return
        found = requirements_by_hand(running, names)
        versions = ", ".join(f"{name} {running[name].version}" for name in names)
        output.say(f"Installed by hand: {versions}")
        wanted = parse_requirements(" ".join(found.values()), settings.clone)
        refusal = LabError("nothing was added", fix="invoke capture --yes", code=Code.CONSENT)
        question = f"Add {', '.join(found)} for good?"
        if not agreed(yes, question, "Nothing was added.", refusal):
            return
        phases = Phases()
        hold = {name: running[name].version for name in names if not running[name].url}
        changed = add_packages(snapshot, wanted, Options(), phases, hold)
        conclude(snapshot, changed, phases)


@lab_task(
    check="only say whether a lock is stale; needs no engine",
    all_="also the base's locks, TensorBoard's and the tools'",
)
def lock(c: Context, check: bool = False, all_: bool = False) -> None:  # noqa: ARG001
    """Bring the locks up to date, and show what moved."""
    if check:
        clone = find_clone()
        problems = [*stale_locks(clone.docker), *stale_tools(clone)]
        if problems:
            raise stale_lock_failure(problems)
        output.say("Every lock holds what was asked for.")
        return
    with alone("lock") as settings:
        snapshot = ready_to_install(take_snapshot(settings))
        phases = Phases()
        conclude(snapshot, refresh_locks(snapshot, all_, phases), phases)
        if all_:
            show_difference(refresh_tools(settings.clone))
