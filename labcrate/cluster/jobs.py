"""A job of the cluster: src/ goes to every node with it, and its exit code comes back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from labcrate import output, process
from labcrate.cluster.node import SCRIPT
from labcrate.cluster.ray import Job, exit_code_of_job, find_job
from labcrate.cluster.whole import Cluster
from labcrate.errors import Code, LabError

PIPE = (
    'tar -C "$1" -c . | '
    'docker --context "$2" exec --interactive "$3" tar -x --one-top-level="$4" -C /tmp'
)
"""Not `docker cp -a`: it wants the user's number among the names of the engine's machine."""

END_S = 10.0
"""Seconds between the last line of a job's output and its end in Ray's records."""


def run_job(cluster: Cluster, command: Sequence[str]) -> int:
    """Run a command in a copy of src/ on the head, show what it prints; its own exit code.

    Whatever ends the wait for it stops the job.
    """
    job = f"job-{secrets.token_hex(3)}"
    folder = f"/tmp/{job}"  # noqa: S108 - in the container
    send_code(cluster, folder)
    inside = cluster.head.docker("exec", cluster.container)

    def stop(_: BaseException) -> None:
        output.say(f"Stopping {job}.")
        process.change((*inside, "python", SCRIPT, "stop", job), timeout_s=15, quiet=True)

    run = (*inside, "python", SCRIPT, "run", job, folder, *command)
    status = process.attach(run, at_once=stop)
    if process.is_dry():
        return 0
    process.change((*inside, "rm", "-rf", folder), quiet=True)
    found = ended_job(cluster, job)
    if found is None and status:
        raise LabError(
            f"the job {job} was not started",
            fix="see what Ray says above; `invoke cluster status` shows whether the head runs",
            code=Code.CLUSTER,
        )
    return exit_code_of_job(found, job)


def send_code(cluster: Cluster, folder: str) -> None:
    """A copy of src/ in the head's container, which the job's user owns."""
    head, source = cluster.head, f"{cluster.settings.root_dir}/src"
    command = ("sh", "-c", PIPE, "sh", source, head.context, cluster.container, folder)
    done = process.change(command, quiet=True)
    if not done.ok:
        raise LabError(
            f"src/ did not reach the head, {head.name}: {done.text.strip()}",
            fix="invoke cluster up",
            code=Code.CLUSTER,
        )


def ended_job(cluster: Cluster, job: str) -> Job | None:
    """The job as Ray knows it, once it has ended, or after a while."""
    deadline = time.monotonic() + END_S
    while True:
        found = find_job(cluster, job)
        if (found and not found.at_work) or time.monotonic() > deadline:
            return found
        time.sleep(0.5)
