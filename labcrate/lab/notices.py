"""What happened to the lab's containers while nobody looked: out of memory, ended, restarted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from labcrate import known
from labcrate.errors import Code, LabError
from labcrate.lab.containers import Container, read_containers

WATCH_S = 6.0
"""Seconds: the engine waits 0.1 s, 0.2 s, 0.4 s ... between the starts of a container that ends at
once. Its reason to end shows while it waits, and is gone as it starts again."""

REFUSED_FIX = (
    "remove that setting (~/.jupyter in the lab's home: docker compose exec jupyter bash; else "
    "compose/ or docker/), then: invoke up"
)


def watch(project: str) -> list[Container]:
    """Read until the reason shows why a container ends again and again, if one does."""
    deadline = time.monotonic() + WATCH_S
    while True:
        seen = list(read_containers(project).values())
        restless = any(one.restarts or one.state == "restarting" for one in seen)
        explained = any(one.out_of_memory for one in seen)
        if explained or not restless or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def notices(containers: Iterable[Container]) -> list[str]:
    """One sentence for each thing that a user must know; nothing for an uneventful container."""
    kinds = (memory_notice, end_notice, write_notice)
    return [text for one in containers for notice in kinds if (text := notice(one))]


def memory_notice(one: Container) -> str:
    if not one.out_of_memory:
        return ""
    if not one.memory:
        return (
            f"{one.service}: this machine ran out of memory, and a process in the lab was killed. "
            "MEMORY_LIMIT in .env keeps the lab from taking all of it."
        )
    limit = f"MEMORY_LIMIT ({one.memory / 2**20:.0f} MiB)"
    return (
        f"{one.service}: out of memory: a process (usually a kernel, whose variables are gone) "
        f"reached {limit} and was killed. Raise it in .env and run `invoke up`, or load less."
    )


def end_notice(one: Container) -> str:
    if one.state == "exited":
        # With `restart: always` it was `docker stop`; an owner's service may have ended.
        how = f"ended or was stopped, exit code {one.exit_code}, at {one.ended} UTC"
        return f"{one.service}: {how}. `invoke up` starts it."
    if not one.restarts:
        return ""
    times = "once" if one.restarts == 1 else f"{one.restarts} times"
    return (
        f"{one.service}: ended and was restarted {times}, last at {one.ended} UTC. The variables "
        "of its kernels are gone, the files are not. `invoke logs` shows what it printed."
    )


def write_notice(one: Container) -> str:
    if not (one.is_running and one.check.cannot_write):
        return ""
    folders = ", ".join(one.check.cannot_write)
    return (
        f"{one.service}: the lab's user cannot write in {folders}: nothing can be saved there. "
        "`invoke doctor` has the fix."
    )


def unhealthy(containers: Sequence[Container], said: str, logs: str) -> LabError:
    """Why the lab did not come up: out of memory, or else what its last words mean."""
    hungry = [memory_notice(one) for one in containers if one.out_of_memory]
    if hungry:
        return LabError(
            "the lab did not become healthy: it is out of memory\n    " + "\n    ".join(hungry),
            fix="set MEMORY_LIMIT in .env higher (0: no limit), then: invoke up",
            code=Code.UNHEALTHY,
        )
    for one in containers:
        if one.check.refused:
            problem = f"{one.service} cannot be reached as the lab publishes it: "
            return LabError(problem + one.check.refused, fix=REFUSED_FIX, code=Code.UNHEALTHY)
    wrong = "".join(f"{one.service}: {one.check.wrong}\n" for one in containers if one.check.wrong)
    return start_failure(f"{wrong}{said}", logs)


def start_failure(said: str, logs: str) -> LabError:
    """What to do about a lab that did not come up: the engine's words first, then the services'."""
    text = f"{said.strip()}\n{logs.strip()}"
    found = known.recognise(said, "start") or known.recognise(logs, "lab")
    if found is None:
        return LabError(
            f"the lab did not become healthy:\n{text}",
            fix="read the last lines above; `invoke logs` shows all of them",
            code=Code.UNHEALTHY,
        )
    return LabError(f"{found.problem}:\n{text}", fix=found.fix, code=found.code)
