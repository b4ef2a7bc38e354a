"""The doctor's checks of the lab itself: its images, its containers, and what they logged last."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from rich.filesize import decimal

from labcrate import known
from labcrate.doctor.check_folders import INSIDE, opens
from labcrate.doctor.facts import Facts
from labcrate.doctor.findings import Finding
from labcrate.lab.compose import JUPYTER
from labcrate.lab.containers import Container

MIN_SHM = 10**9
"""A batch of 256 pictures of 224 x 224 is 154 MB, and each of a few workers has two under way."""

MIN_FILES = 4096
"""Each worker of a DataLoader opens some files for every batch; 1024 are known to be too few."""

LINE = 160
"""Characters of a log's line that are shown."""


def check_images(facts: Facts) -> Iterator[Finding]:
    """Each image exists and is up to date. Nothing is reported where images are unknown."""
    lab = facts.lab
    old = [name for name in lab.stale if name not in lab.missing]
    if lab.missing:
        yield Finding(
            severity="info",
            check="images",
            problem=f"these images are not built yet: {', '.join(lab.missing)}",
            fix="invoke up (builds and starts)",
        )
    if old:
        yield Finding(
            severity="warning",
            check="images",
            problem="these images are older than the files in docker/ or the settings in .env: "
            f"{', '.join(old)}",
            fix="invoke up",
        )


def check_orphans(facts: Facts) -> Iterator[Finding]:
    """A lab whose clone was deleted comes back with the engine, and nobody can take it down."""
    for lab, folder in facts.lab.orphans:
        yield Finding(
            severity="warning",
            check="orphans",
            problem=f"the lab {lab} is still on the engine, but its clone is gone ({folder})",
            fix=f"invoke clean --lab {lab} --all",
        )


def check_health(facts: Facts) -> Iterator[Finding]:
    """Each service runs and answers; a lab that is down is no fault."""
    for one in facts.lab.containers:
        if found := _health(one):
            yield found


def _health(one: Container) -> Finding | None:
    logs = f"invoke logs --service {one.service} (shows why)"
    if one.out_of_memory:
        problem = f"{one.service} was killed: it needed more memory than it may use"
        fix = "raise MEMORY_LIMIT in .env (0: no limit), then: invoke down up"
    elif one.state == "paused":
        problem, fix = f"{one.service} was paused by hand", "invoke up (lets it go on)"
    elif not one.is_running:
        code = f" with status {one.exit_code}" if one.state == "exited" else ""
        problem, fix = f"{one.service} is {one.state}{code}", f"{logs}, then: invoke up"
    elif one.health == "unhealthy":
        reason = one.check.refused or one.check.wrong
        problem = f"{one.service} runs but does not answer" + (f": {reason}" if reason else "")
        fix = f"{logs}, then: invoke up (restarts it)"
    elif one.restarts:
        problem = f"{one.service} ended and was restarted {one.restarts} times"
        return Finding(severity="warning", check="health", problem=problem, fix=logs)
    else:
        return None
    return Finding(severity="error", check="health", problem=problem, fix=fix)


def check_writable(facts: Facts) -> Iterator[Finding]:
    """The running lab's user can write where it must: a changed LAB_UID leaves the old owner's."""
    settings = facts.settings
    if settings is None:
        return
    seen = {INSIDE / folder.path.name: folder for folder in facts.folders}
    ids = (settings.uid, settings.gid)
    here = facts.owner
    for one in facts.lab.containers:
        for path in map(PurePosixPath, one.check.cannot_write if one.is_running else ()):
            folder = seen.get(path)
            if folder and not opens(folder, *here):
                continue  # check_folders says so
            volume = f"--volume {settings.project}_home:{path}"
            image = f"{settings.project}/{JUPYTER}"
            yield Finding(
                severity="error",
                check="writable",
                problem=f"the lab's user ({settings.uid}) cannot write in {path}",
                fix=f"sudo chown -R {here[0]}:{here[1]} '{folder.path}', unless a line `kind` or "
                "`user` names the cause"
                if folder
                else f"docker run --rm --user 0 {volume} {image} chown -R {ids[0]}:{ids[1]} {path}",
            )


def check_limits(facts: Facts) -> Iterator[Finding]:
    """Shared memory and open files of the running JupyterLab, which DataLoader workers need."""
    for one in facts.lab.containers:
        if one.service != JUPYTER or not one.is_running:
            continue
        if one.shm < MIN_SHM and one.ipc != "host":
            yield Finding(
                severity="warning",
                check="limits",
                problem=f"shared memory is {decimal(one.shm)}: workers of a DataLoader may die",
                fix="set SHM_SIZE=8g in .env, then: invoke down up",
            )
        nofile = re.match(r"\d+", one.inside)
        if nofile and int(nofile[0]) < MIN_FILES:
            yield Finding(
                severity="warning",
                check="limits",
                problem=f"a process in the lab may open {nofile[0]} files, "
                "which is too few for many DataLoader workers",
                fix='set "default-ulimits" (nofile) in /etc/docker/daemon.json, restart the engine',
            )


def check_moved(facts: Facts) -> Iterator[Finding]:
    expected = str(facts.clone.compose)
    other = {one.folder for one in facts.lab.containers if one.folder} - {expected}
    if other:
        yield Finding(
            severity="warning",
            check="moved",
            problem=f"the running lab was started from another place: {', '.join(sorted(other))}",
            fix="invoke up (starts it from here)",
        )


def check_logs(facts: Facts) -> Iterator[Finding]:
    """Known failures in what the services logged last."""
    for one in facts.lab.containers:
        for failure in known.recognise_all(one.logs, "lab"):
            yield Finding(
                severity="warning",
                check="logs",
                problem=f"{one.service} said: {failure.line[:LINE]}\n{failure.problem}",
                fix=failure.fix,
            )
