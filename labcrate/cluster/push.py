"""Bringing the lab's image to the hosts that have another one, or none."""

from __future__ import annotations

import time
from collections.abc import Sequence

from labcrate import output, process
from labcrate.cluster.inventory import Node
from labcrate.cluster.members import Member, engine_id, image_key
from labcrate.cluster.whole import Cluster
from labcrate.errors import Code, LabError

PIPE = 'docker save "$2" | docker --context "$1" load'
"""A pipe needs a shell; the names are its arguments, never a part of its text."""


def push_image(cluster: Cluster, members: Sequence[Member], own: str) -> list[str]:
    """Send the image where it differs; the names of the hosts that it was sent to."""
    lacking = [one.node for one in members if one.image != own]
    for node in lacking:
        send_image(cluster, node, own)
    return [node.name for node in lacking]


def drop_images(cluster: Cluster, members: Sequence[Member]) -> None:
    """Remove the lab's image where `push` sent it; this lab's own engine keeps it."""
    own = engine_id(("docker",))
    for member in members:
        if member.image and member.ident != own and not member.refusal:
            command = member.node.docker("image", "rm", cluster.image)
            done = process.change(command, timeout_s=120)
            if not done.ok:
                raise LabError(
                    f"the image stays on host {member.node.name}: {done.text.strip()}",
                    fix="stop what uses it, then: invoke cluster down --images",
                    code=Code.CLUSTER,
                )


def send_image(cluster: Cluster, node: Node, own: str) -> None:
    started = time.monotonic()
    done = process.change(("sh", "-c", PIPE, "sh", node.context, cluster.image), timeout_s=None)
    if process.is_dry():
        return
    # The pipe ends with what `load` said; whether all of it came is asked.
    if not done.ok or image_key(node.docker(), cluster.image) != own:
        raise LabError(
            f"the image did not reach host {node.name}: {done.text.strip()[-500:]}",
            fix="make room on its disk, or fix the connection, then: invoke cluster push",
            code=Code.CLUSTER,
        )
    output.seconds(f"{node.name}: has the image", time.monotonic() - started)
