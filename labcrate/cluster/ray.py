"""What Ray's dashboard on the head says: nodes and jobs. Parsers are pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labcrate import process
from labcrate.cluster.node import SCRIPT
from labcrate.cluster.whole import Cluster
from labcrate.errors import Code, LabError

NODES, JOBS = "/api/v0/nodes?detail=true", "/api/jobs/"
AT_WORK = ("PENDING", "RUNNING")
STOPPED_CODE = 143
"""Exit code for a job that was stopped, as a shell has it for SIGTERM."""


@dataclass(frozen=True, kw_only=True)
class Alive:
    """A node that joined. ident: Ray's own; a node that is started anew gets another."""

    address: str
    ident: str
    cpus: int
    gpus: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job. code: its own exit code; None while it runs, and where Ray knows none."""

    name: str
    status: str
    code: int | None = None
    message: str = ""

    @property
    def at_work(self) -> bool:
        return self.status in AT_WORK


def ask_dashboard(cluster: Cluster, path: str) -> Any:
    """What the dashboard answers, or None where the head, or Ray on it, does not."""
    command = cluster.head.docker("exec", cluster.container, "python", SCRIPT, "ask", path)
    answer = process.ask(command, timeout_s=15)
    try:
        return json.loads(answer.stdout) if answer.ok else None
    except json.JSONDecodeError:
        return None


def alive_nodes(cluster: Cluster) -> dict[str, Alive]:
    """The nodes that are in the cluster now, by address."""
    return parse_nodes(ask_dashboard(cluster, NODES) or {})


def parse_nodes(answer: Mapping[str, Any]) -> dict[str, Alive]:
    rows = ((answer.get("data") or {}).get("result") or {}).get("result") or ()
    found = {}
    for row in rows:
        if row.get("state") == "ALIVE":
            has = row.get("resources_total") or {}
            cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
            address, ident = row["node_ip"], str(row.get("node_id"))
            found[address] = Alive(address=address, ident=ident, cpus=cpus, gpus=gpus)
    return found


def jobs_at_work(cluster: Cluster) -> list[str]:
    """The names of the jobs that run, or are about to."""
    jobs = [parse_job(row) for row in ask_dashboard(cluster, JOBS) or ()]
    return [job.name for job in jobs if job.at_work]


def find_job(cluster: Cluster, name: str) -> Job | None:
    row = ask_dashboard(cluster, f"{JOBS}{name}")
    return parse_job(row) if row else None


def parse_job(row: Mapping[str, Any]) -> Job:
    return Job(
        name=str(row.get("submission_id") or row.get("job_id") or ""),
        status=str(row.get("status", "")),
        code=row.get("driver_exit_code"),
        message=str(row.get("message") or ""),
    )


def exit_code_of_job(job: Job | None, name: str) -> int:
    """The exit code that a job ended with. A signal's is 128 and its number, as in a shell."""
    if job is None:
        raise LabError(
            f"nobody knows how the job {name} ended: the head does not answer, or began anew",
            fix="invoke cluster status",
            code=Code.CLUSTER,
        )
    if job.at_work:
        raise LabError(
            f"the job {name} goes on, and what it prints can no longer be read here",
            fix="`invoke cluster status` shows when it is done; the dashboard has its output",
            code=Code.CLUSTER,
        )
    if job.status == "SUCCEEDED":
        return 0
    if job.status == "STOPPED":
        return STOPPED_CODE
    if job.code is None:
        text = job.message.strip() or job.status
        raise LabError(
            f"the job {name} did not run: {text}",
            fix="fix what it says, then run it again",
            code=Code.CLUSTER,
        )
    return job.code if job.code >= 0 else 128 - job.code
