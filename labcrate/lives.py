"""What became of the lab's containers (out of memory, ended, started again), in sentences."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from labcrate import shell
from labcrate.errors import Code, LabError
from labcrate.stack import Stack, running, start_failure


@dataclass(frozen=True, kw_only=True)
class Life:
    """One container's own account. memory: its limit in bytes, 0 for none.

    out_of_memory: the kernel ended a process of it since it started, or the whole of it.
    """

    service: str
    status: str
    exit_code: int = 0
    restarts: int = 0
    ended: str = ""
    out_of_memory: bool = False
    memory: int = 0


def parse(service: str, seen: dict[str, Any]) -> Life:
    """Read one element of the answer of `docker container inspect`."""
    state = seen["State"]
    return Life(
        service=service,
        status=state["Status"],
        exit_code=state["ExitCode"],
        restarts=seen["RestartCount"],
        ended=state["FinishedAt"][:19].replace("T", " "),
        out_of_memory=state["OOMKilled"],
        memory=seen["HostConfig"]["Memory"],
    )


def read(lab: Stack) -> list[Life]:
    """The lives of the lab's containers, as far as there are any."""
    ids = {name: one.id for name, one in running(lab).items()}
    if not ids:
        return []
    answer = shell.capture(("docker", "container", "inspect", *ids.values()))
    seen = json.loads(answer.stdout or "[]")
    return [parse(name, one) for name, one in zip(ids, seen, strict=False)]


WATCH_S = 6.0
"""Seconds: the engine waits 0.1 s, 0.2 s, 0.4 s ... between the starts of a container that ends at
once. Its reason to end shows while it waits, and is gone as it starts again."""


def watch(lab: Stack) -> list[Life]:
    """Read until the reason shows why a container ends again and again, if one does."""
    deadline = time.monotonic() + WATCH_S
    while True:
        seen = read(lab)
        restless = any(life.restarts or life.status == "restarting" for life in seen)
        known = any(life.out_of_memory for life in seen)
        if known or not restless or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def notices(lives: Iterable[Life]) -> list[str]:
    """What a user must be told, one sentence each; nothing for a life without events."""
    return [text for life in lives for text in (memory_notice(life), restart_notice(life)) if text]


def memory_notice(life: Life) -> str:
    if not life.out_of_memory:
        return ""
    if not life.memory:
        return (
            f"{life.service}: this machine ran out of memory, and a process in the lab was killed. "
            "MEMORY_LIMIT in .env keeps the lab from taking all of it."
        )
    limit = f"MEMORY_LIMIT ({life.memory / 2**20:.0f} MiB)"
    return (
        f"{life.service}: out of memory: a process (mostly a kernel, whose variables are gone) "
        f"reached {limit} and was killed. Raise it in .env and run `invoke up`, or load less."
    )


def restart_notice(life: Life) -> str:
    if life.status == "exited":
        return (
            f"{life.service}: stopped by itself, exit code {life.exit_code}, at {life.ended} UTC."
        )
    if not life.restarts:
        return ""
    times = "once" if life.restarts == 1 else f"{life.restarts} times"
    return (
        f"{life.service}: ended and was started again {times}, last at {life.ended} UTC; "
        "what its kernels held is gone, the files are not. `invoke logs` shows what it said."
    )


def unhealthy(lives: Sequence[Life], said: str, logs: str) -> LabError:
    """Why the lab did not come up: out of memory, or else what its last words mean."""
    hungry = [memory_notice(life) for life in lives if life.out_of_memory]
    if hungry:
        return LabError(
            "the lab did not become healthy: it is out of memory\n    " + "\n    ".join(hungry),
            fix="set MEMORY_LIMIT in .env higher (0: no limit), then: invoke up",
            code=Code.UNHEALTHY,
        )
    return start_failure(said, logs)
