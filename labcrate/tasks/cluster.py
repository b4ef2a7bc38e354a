"""cluster: the same lab on several machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from invoke import Context

from labcrate import output, process
from labcrate.clone.settings import Settings, raise_problems
from labcrate.cluster.inventory import FILE
from labcrate.cluster.jobs import run_job
from labcrate.cluster.joining import (
    plan_nodes,
    start_nodes,
    stop_nodes,
    wait_for_nodes,
    without_cards,
)
from labcrate.cluster.members import (
    Member,
    host_problems,
    own_image,
    read_members,
    require_ray,
    without_refused,
)
from labcrate.cluster.node import Plan
from labcrate.cluster.probing import Seen, own_runs, see_hosts, seen_problems
from labcrate.cluster.push import drop_images, drop_replaced, far_members, push_image
from labcrate.cluster.ray import Alive, alive_nodes, jobs_at_work
from labcrate.cluster.whole import Cluster, dashboard_rows, read_cluster
from labcrate.engine.engine import find_engine, require_engine
from labcrate.errors import Code, LabError
from labcrate.tasks.base import alone, finish, lab_task, load_settings
from labcrate.tasks.words import Takes

RUN, DOWN, FORCE, IMAGES = "run", "down", "--force", "--images"


@lab_task(
    Takes(words="what", rest=True),
    what="check, push, up, status, run COMMAND, or down; labcrate/docs/cluster.md explains them",
)
def cluster(c: Context, what: Sequence[str] = ()) -> None:  # noqa: ARG001
    """The same lab on several machines: invoke cluster check|push|up|status|run|down"""
    settings = load_settings()
    verb, *words = what or ("",)
    known = ", ".join((*VERBS, f"{RUN} -- COMMAND", f"{DOWN} [{FORCE}] [{IMAGES}]"))
    if verb == RUN:
        run_on_cluster(settings, words)
    elif verb == DOWN and {*words} <= {FORCE, IMAGES}:
        stop_cluster(force=FORCE in words, images=IMAGES in words)
    elif verb in VERBS and not words:
        VERBS[verb](settings)
    else:
        said = f"`invoke cluster {' '.join(what)}`" if verb else "`invoke cluster` alone"
        raise LabError(
            f"{said} is no command", fix=f"invoke cluster, then one of: {known}", code=Code.SETTINGS
        )


def check_cluster(settings: Settings) -> None:
    """Every host's engine, processor, image and GPU. Changes nothing."""
    found = read_cluster(settings)
    members = read_members(found)
    show_members(members)
    refuse_hosts(members, own_image(found))
    require_ray(found)
    others = own_runs(refuse_seen(plan_nodes(found, members), members))
    if others:
        output.say(
            f"The runs/ of {' and '.join(others)} is not the head's: a checkpoint that one host "
            "writes is not there for the others."
        )
    output.say(f"All {len(members)} hosts are ready. Next: invoke cluster up")


def refuse_hosts(members: Sequence[Member], image: str) -> None:
    """Refuse hosts that cannot be in the cluster. image: the one they must have; "" for any."""
    engine = require_engine(find_engine())
    raise_problems(list(host_problems(members, engine, image)), FILE)


def refuse_seen(plans: Sequence[Plan], members: Sequence[Member]) -> list[Seen]:
    """Look at the hosts from inside, and refuse what would keep a node from joining."""
    running = [member.node for member in members if member.state == "running"]
    seen = see_hosts(plans, running)
    raise_problems(list(seen_problems(seen)), FILE)
    return seen


def push_cluster(_: Settings) -> None:
    """Send the lab's image to the hosts that have another one."""
    with alone("cluster push") as settings:
        found = read_cluster(settings)
        members = read_members(found)
        refuse_hosts(members, "")
        own = own_image(found)
        require_ray(found)
        if not push_image(found, members, own):
            output.say("Every host has the image; nothing was sent.")


def start_cluster(_: Settings) -> None:
    """Start a node on each host and wait until all have joined."""
    with alone("cluster up") as settings:
        found = read_cluster(settings)
        members = read_members(found)
        refuse_hosts(members, own_image(found))
        require_ray(found)
        plans = plan_nodes(found, members)
        refuse_seen(plans, members)
        for plan in plans:
            output.row(plan.node.name, f"gpu: {plan.choice.line}")
        jobs = jobs_at_work(found) if members[0].state == "running" else []
        if jobs:
            output.say(f"Jobs run ({', '.join(jobs)}): no node that runs is replaced.")
        started = time.monotonic()
        replaced = start_nodes(found, plans, keep=bool(jobs))
        if process.is_dry():
            return
        alive = wait_for_nodes(found, replaced)
        drop_replaced(found, far_members(members))
    output.seconds(f"{len(alive)} node{'s' if len(alive) > 1 else ''}", time.monotonic() - started)
    show_nodes(found, members, alive)
    for node in without_cards(plans, alive):
        output.say(f"{node.name} has a GPU, and Ray finds none in its node: it goes on without.")
    output.row("stop", "invoke cluster down")


def show_cluster(settings: Settings) -> None:
    """Which hosts are in the cluster, and which jobs run."""
    found = read_cluster(settings)
    members = read_members(found)
    alive = {} if members[0].refusal else alive_nodes(found)
    show_nodes(found, members, alive)
    jobs = jobs_at_work(found) if alive else []
    output.row("jobs", ", ".join(jobs) or "none")
    missing = [node.name for node in found.nodes if node.address not in alive]
    if missing:
        raise LabError(
            f"not in the cluster: {', '.join(missing)}", fix="invoke cluster up", code=Code.NOT_UP
        )


def run_on_cluster(settings: Settings, words: Sequence[str]) -> None:
    """Run a command on the cluster and end with its exit code."""
    command = list(words[1:] if words[:1] == ["--"] else words)
    if not command:
        raise LabError(
            "there is no command to run",
            fix="invoke cluster run -- python train.py (a file of src/)",
            code=Code.SETTINGS,
        )
    found = read_cluster(settings)
    if not process.is_dry() and not alive_nodes(found):
        raise LabError(
            f"the head, {found.head.name}, does not answer",
            fix="invoke cluster up",
            code=Code.NOT_UP,
        )
    finish(run_job(found, command))


def stop_cluster(*, force: bool, images: bool) -> None:
    """Stop every node that can be reached. images: remove what `push` sent, too."""
    with alone("cluster down") as settings:
        found = read_cluster(settings)
        members = read_members(found)
        jobs = jobs_at_work(found) if members[0].state == "running" and not force else []
        if jobs:
            raise LabError(
                f"jobs run, and would be lost: {', '.join(jobs)}",
                fix="wait for them, or: invoke cluster down --force",
                code=Code.BUSY,
            )
        stop_nodes(found, members)
        if images:
            drop_images(found, members)


def show_members(members: Sequence[Member]) -> None:
    for member in members:
        engine = member.engine
        version = ".".join(map(str, engine.version))
        said = f"engine {version}, {engine.architecture}, {member.node.address}"
        output.row(member.node.name, "no engine answers" if member.refusal else said)


def show_nodes(found: Cluster, members: Sequence[Member], alive: dict[str, Alive]) -> None:
    for member in members:
        node = alive.get(member.node.address)
        has = f"in the cluster: {node.cpus} CPUs, {node.gpus} GPUs" if node else "missing"
        if not node and member in without_refused(members):
            has += f" (its container: {member.state or 'none'})"
        output.row(member.node.name, has)
    for row in dashboard_rows(found.clone, f"{found.head.name} ({found.head.address})"):
        output.row(*row)


VERBS: dict[str, Callable[[Settings], None]] = {
    "check": check_cluster,
    "push": push_cluster,
    "up": start_cluster,
    "status": show_cluster,
}
