"""The nodes of the cluster come and go, and who is missing is named."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence

from labcrate import known, output, process
from labcrate.cluster.inventory import Node
from labcrate.cluster.members import Member, choose_for
from labcrate.cluster.node import Plan
from labcrate.cluster.ray import Alive, alive_nodes
from labcrate.cluster.whole import Cluster, write_files
from labcrate.errors import Code, LabError

JOIN_S = 90.0
"""Seconds until all nodes must have joined: 8 are usual, a slow disk reads Ray for tens."""

NO_FOLDER = re.compile(r"bind source path does not exist: (.+)")

TAIL = "15"
"""Lines that are shown of a node that is missing."""


def plan_nodes(cluster: Cluster, members: Sequence[Member]) -> tuple[Plan, ...]:
    """What each host is to run, the head first."""
    return tuple(
        Plan(
            node=member.node,
            head=cluster.head,
            settings=cluster.settings,
            choice=choose_for(member),
            image=cluster.image,
        )
        for member in members
    )


def start_nodes(cluster: Cluster, plans: Sequence[Plan], *, keep: bool) -> set[str]:
    """Start a node on each host. keep: replace none that runs, because jobs run on them.

    Returns Ray's numbers of the nodes that were replaced: it takes a while to miss those.
    """
    write_files(cluster, tuple(plans))
    kept = ("--no-recreate",) if keep else ()
    before, replaced = alive_nodes(cluster), set()
    for plan in plans:
        ran = started_at(cluster, plan.node)
        done = cluster.change(plan.node, "up", "--detach", *kept)
        if not done.ok:
            raise not_started(plan.node, done.text)
        known_before = before.get(plan.node.address)
        if known_before and started_at(cluster, plan.node) != ran:
            replaced.add(known_before.ident)
    return replaced


def started_at(cluster: Cluster, node: Node) -> str:
    """Which container a host's node is, and since when it runs; "" where there is none."""
    shown = "{{.Id}} {{.State.StartedAt}}"
    command = node.docker("container", "inspect", "--format", shown, cluster.container)
    return process.ask(command, timeout_s=15).stdout.strip()


def not_started(node: Node, said: str) -> LabError:
    """Why a host's engine did not start its node."""
    why, fix = said.strip()[-800:], "fix what it says, then: invoke cluster up"
    if lost := NO_FOLDER.search(said):
        why, fix = lost[0], f"make {lost[1]} on {node.name}, or correct `folder` in cluster.toml"
    problem = f"host {node.name} did not start its node: {why}"
    return LabError(problem, fix=fix, code=Code.CLUSTER)


def wait_for_nodes(cluster: Cluster, replaced: Collection[str] = ()) -> dict[str, Alive]:
    """The nodes by address, once all have joined. LabError: some did not, and what they say.

    replaced: Ray's numbers of nodes that do not count: each was started anew since.
    """
    deadline = time.monotonic() + JOIN_S
    while True:
        found = alive_nodes(cluster).items()
        alive = {address: one for address, one in found if one.ident not in replaced}
        missing = [node for node in cluster.nodes if node.address not in alive]
        if not missing:
            return alive
        if time.monotonic() > deadline:
            raise missing_nodes(cluster, missing)
        time.sleep(1)


def without_cards(plans: Sequence[Plan], alive: Mapping[str, Alive]) -> list[Node]:
    """The hosts whose node was given a GPU, and where Ray finds none. LabError: one must have it.

    The lab's own proof, a kernel on the card, is not made here.
    """
    found = [p.node for p in plans if p.choice.overlay and not alive[p.node.address].gpus]
    for node in found:
        if node.gpu == "on":
            raise LabError(
                f"host {node.name} gives its node a GPU, and Ray finds none in it",
                fix=f"docker --context {node.context} run --rm --gpus all ubuntu nvidia-smi must "
                "work; or set gpu to auto or off in cluster.toml",
                code=Code.GPU_PROOF,
            )
    return found


def missing_nodes(cluster: Cluster, missing: Sequence[Node]) -> LabError:
    """Who did not join, and the last that each said."""
    names = ", ".join(node.name for node in missing)
    text = "\n".join(f"--- {node.name}:\n{last_lines(cluster, node)}" for node in missing)
    found = known.recognise(text, "cluster")
    if found:
        why, fix = f": {found.problem}", found.fix
    elif len(missing) == len(cluster.nodes):
        why, fix = "", f"the head, {cluster.head.name}, must start first: see what it says above"
    else:
        why, fix = (
            "",
            "let the firewall pass the ports of docs/cluster.md; see what each says above",
        )
    problem = f"did not join within {JOIN_S:.0f} s: {names}{why}\n{text}"
    return LabError(problem, fix=fix, code=Code.CLUSTER)


def last_lines(cluster: Cluster, node: Node) -> str:
    answer = process.ask(node.docker("logs", "--tail", TAIL, cluster.container), timeout_s=15)
    return answer.text.strip()


def stop_nodes(cluster: Cluster, members: Sequence[Member]) -> None:
    """Stop every node that can be reached, the head last, then say who could not be.

    Where all are gone, so is the token: the next cluster has another one.
    """
    left = []
    for member in reversed(members):
        if member.refusal:
            left.append(member)
        elif member.state:
            stop_node(cluster, member.node)
    if left:
        names = " and ".join(member.node.name for member in left)
        raise LabError(
            f"the others are down, and {names} cannot be reached: "
            f"{left[0].refusal.problem if left[0].refusal else ''}",
            fix="once it is back: invoke cluster down (a node that is left joins no other cluster);"
            " a host that is gone for good: take it out of cluster.toml",
            code=Code.CLUSTER,
        )
    if not process.is_dry():
        cluster.token_file.unlink(missing_ok=True)


def stop_node(cluster: Cluster, node: Node) -> None:
    """Stop and remove a host's node, by its name: this needs no file of ours."""
    name = cluster.container
    stopped = process.change(node.docker("stop", name), timeout_s=60)
    removed = process.change(node.docker("rm", "--force", name), timeout_s=60)
    if not removed.ok and "no such container" not in removed.text.lower():
        raise LabError(
            f"the node of host {node.name} could not be stopped: {stopped.text}{removed.text}",
            fix="invoke cluster down",
            code=Code.CLUSTER,
        )
    output.row(node.name, "down")
