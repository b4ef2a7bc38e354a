"""The doctor's checks of the lab itself: its images, its containers, and what they said last."""

from __future__ import annotations

import re
from collections.abc import Iterator

from labcrate import signatures
from labcrate.checks import Finding
from labcrate.cleanup import human
from labcrate.facts import Facts

MIN_SHM = 10**9
"""A batch of 256 pictures of 224 x 224 is 154 MB, and each of a few workers has two under way."""

MIN_FILES = 4096
"""Each worker of a DataLoader opens some files for every batch; 1024 are known to be too few."""


def images(facts: Facts) -> Iterator[Finding]:
    if facts.engine is None or facts.settings is None:
        return
    if len(facts.images) < 2:
        yield Finding(
            severity="info",
            check="images",
            problem="the lab's images are not built yet",
            fix="invoke up (builds and starts)",
        )
    elif facts.stale:
        yield Finding(
            severity="warning",
            check="images",
            problem="the images are older than the files in docker/ or the settings in .env",
            fix="invoke up",
        )


def orphans(facts: Facts) -> Iterator[Finding]:
    """A lab whose clone was deleted comes back with the engine, and nobody can take it down."""
    for lab, folder in facts.orphans:
        yield Finding(
            severity="warning",
            check="orphans",
            problem=f"the lab {lab} is still on the engine, and its clone is gone ({folder})",
            fix=f"COMPOSE_PROJECT_NAME={lab} invoke clean --all",
        )


def health(facts: Facts) -> Iterator[Finding]:
    """Each service runs and answers; a lab that is down is no fault."""
    for one in facts.containers:
        logs = f"invoke logs --service {one.service}"
        if one.oom:
            yield Finding(
                severity="error",
                check="health",
                problem=f"{one.service} was killed: it took more memory than it may",
                fix="raise MEMORY_LIMIT in .env (0: no limit), then: invoke down up",
            )
        elif one.status != "running":
            code = f" with status {one.exit_code}" if one.status == "exited" else ""
            yield Finding(
                severity="error",
                check="health",
                problem=f"{one.service} is {one.status}{code}",
                fix=f"{logs} tells why; then: invoke up",
            )
        elif one.health == "unhealthy":
            yield Finding(
                severity="error",
                check="health",
                problem=f"{one.service} runs and does not answer",
                fix=f"{logs} tells why; then: invoke down up",
            )
        elif one.restarts:
            yield Finding(
                severity="warning",
                check="health",
                problem=f"{one.service} ended and was started anew {one.restarts} times",
                fix=f"{logs} tells why",
            )


def limits(facts: Facts) -> Iterator[Finding]:
    """Shared memory and open files of the running JupyterLab, which DataLoader workers need."""
    for one in facts.containers:
        if one.service != "jupyter" or one.status != "running":
            continue
        if one.shm < MIN_SHM and one.ipc != "host":
            yield Finding(
                severity="warning",
                check="limits",
                problem=f"shared memory is {human(one.shm)}: workers of a DataLoader may die",
                fix="set SHM_SIZE=8g in .env, then: invoke down up",
            )
        nofile = re.match(r"\d+", one.inside)
        if nofile and int(nofile[0]) < MIN_FILES:
            yield Finding(
                severity="warning",
                check="limits",
                problem=f"a process in the lab may open {nofile[0]} files: few for many workers",
                fix='set "default-ulimits" (nofile) in /etc/docker/daemon.json, restart the engine',
            )


def moved(facts: Facts) -> Iterator[Finding]:
    expected = str(facts.clone / "compose")
    other = {one.folder for one in facts.containers if one.folder} - {expected}
    if other:
        yield Finding(
            severity="warning",
            check="moved",
            problem=f"the running lab was started from another place: {', '.join(sorted(other))}",
            fix="invoke up (starts it from here)",
        )


def logs(facts: Facts) -> Iterator[Finding]:
    """Known failures in what the services said last."""
    for one in facts.containers:
        for known in signatures.every(one.logs, "lab"):
            yield Finding(
                severity="warning",
                check="logs",
                problem=f"{one.service} said: {known.line[:160]}\n{known.problem}",
                fix=known.fix,
            )
