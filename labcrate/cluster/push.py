"""Bringing the lab's image to the hosts that have another one, or none: the layers they lack."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from rich.filesize import decimal

from labcrate import labels, output, process
from labcrate.cluster.inventory import Node
from labcrate.cluster.members import Member, engine_id, image_key, layers_of
from labcrate.cluster.thin import SAID
from labcrate.cluster.whole import Cluster
from labcrate.errors import Code, LabError

PIPE = (
    'context=$1 image=$2; shift 2; docker save "$image" | "$@" | docker --context "$context" load'
)
"""A pipe needs a shell; the names are its arguments, never a part of its text."""

THIN = (sys.executable, "-I", str(Path(__file__).with_name("thin.py")))
PASSED = re.compile(SAID.format(r"(\d+)", r"(\d+)"))


def push_image(cluster: Cluster, members: Sequence[Member], own: str) -> list[str]:
    """Send the image where it differs; the names of the hosts that it was sent to."""
    lacking = [one.node for one in members if one.image != own]
    for node in lacking:
        send_image(cluster, node, own)
    return [node.name for node in lacking]


def drop_images(cluster: Cluster, members: Sequence[Member]) -> None:
    """Remove the lab's image where `push` sent it; this lab's own engine keeps it."""
    far = far_members(members)
    for member in far:
        if member.image:
            command = member.node.docker("image", "rm", cluster.image)
            done = process.change(command, timeout_s=120)
            if not done.ok:
                raise LabError(
                    f"the image stays on host {member.node.name}: {done.text.strip()}",
                    fix="stop what uses it, then: invoke cluster down --images",
                    code=Code.CLUSTER,
                )
    drop_replaced(cluster, far)


def drop_replaced(cluster: Cluster, far: Sequence[Member]) -> None:
    """Remove images of the lab that a newer one took the name of, where no container has them."""
    ours = f"label={labels.PROJECT}={cluster.settings.project}"
    for member in far:
        command = member.node.docker("image", "prune", "--force", "--filter", ours)
        process.change(command, timeout_s=120)


def far_members(members: Sequence[Member]) -> list[Member]:
    """The hosts whose engine is not this lab's own, and answers."""
    own = engine_id(("docker",))
    return [one for one in members if one.ident != own and not one.refusal]


def send_image(cluster: Cluster, node: Node, own: str) -> None:
    """Send what the host lacks, or all of it where its engine does not take that.

    own: the key of the image; whether all of it came is asked, for a pipe ends as its last part.
    """
    started = time.monotonic()
    there = known_layers(node, layers_of(own))
    for known in (there, ()) if there else ((),):
        command = ("sh", "-c", PIPE, "sh", node.context, cluster.image, *THIN, *known)
        what = "what it lacks of " if known else ""
        into = f"docker save | docker --context {node.context} load"
        output.say(f"Sending {what}{cluster.image} to {node.name}: {into}")
        # Not shown itself: it names each layer that the host has.
        done = process.change(command, timeout_s=None, quiet=True)
        if process.is_dry():
            return
        if done.ok and image_key(node.docker(), cluster.image) == own:
            passed = PASSED.search(done.text)
            sent, whole = map(int, passed.groups()) if passed else (0, 0)
            what = f"{node.name}: has the image; {decimal(sent)} of {decimal(whole)} were sent"
            output.seconds(what, time.monotonic() - started)
            return
    raise LabError(
        f"the image did not reach host {node.name}: {done.text.strip()[-500:]}",
        fix="make room on its disk, or fix the connection, then: invoke cluster push",
        code=Code.CLUSTER,
    )


def known_layers(node: Node, layers: Sequence[str]) -> tuple[str, ...]:
    """Those of an image's layers that a host has, in one of its images, above the same ones.

    A layer that also comes further up in the image is not among them: it is needed there.
    """
    listed = process.ask(node.docker("image", "ls", "--quiet", "--no-trunc")).stdout.split()
    if not listed:
        return ()
    show = node.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", *set(listed))
    most = 0
    for line in process.ask(show).stdout.splitlines():
        pairs = zip(layers, json.loads(line) or (), strict=False)
        most = max(most, len(list(takewhile(lambda pair: pair[0] == pair[1], pairs))))
    return tuple(one for one in layers[:most] if one not in layers[most:])
