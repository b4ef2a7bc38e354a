"""What each host of the cluster is now, asked of its engine, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from labcrate import process
from labcrate.clone.rules import Problem
from labcrate.cluster.inventory import Node, cluster_problem
from labcrate.cluster.whole import Cluster
from labcrate.engine.engine import Engine, find_engine, require_engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Host, read_host
from labcrate.gpu.devices import ALL
from labcrate.gpu.offer import Choice, choose_gpu

SAME = "{{.Created}} {{json .RootFS.Layers}}"
"""What is equal for one image on two engines. Its id is not: it depends on how they store it."""

EXTRA = ("ray", "aiohttp-cors")
"""Packages of `ray[default]`: plain `ray` has no dashboard, and so no jobs."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A host as it is. refusal: why its engine cannot be used. image: see SAME; "" without one.

    ident: the engine's own. state: of the node's container; "" where there is none.
    """

    node: Node
    engine: Engine = Engine()  # noqa: RUF009 - frozen
    refusal: LabError | None = None
    ident: str = ""
    image: str = ""
    state: str = ""


def read_members(cluster: Cluster) -> tuple[Member, ...]:
    """All hosts, asked at the same time: one that is gone costs its time limit once."""
    with ThreadPoolExecutor(max_workers=len(cluster.nodes)) as pool:
        return tuple(pool.map(lambda node: read_member(cluster, node), cluster.nodes))


def read_member(cluster: Cluster, node: Node) -> Member:
    def ask(argv: Sequence[str], **options: Any) -> process.Result:
        return process.ask(node.docker(*argv[1:]), **options)

    try:
        engine = require_engine(find_engine(ask))
    except LabError as error:
        return Member(node=node, refusal=error)
    state = ask(
        ("docker", "container", "inspect", "--format", "{{.State.Status}}", cluster.container)
    )
    return Member(
        node=node,
        engine=engine,
        ident=engine_id(node.docker()),
        image=image_key(node.docker(), cluster.image),
        state=state.stdout.strip(),
    )


def engine_id(docker: Sequence[str]) -> str:
    """The engine's own name for itself: two contexts may lead to one engine."""
    return process.ask((*docker, "info", "--format", "{{.ID}}")).stdout.strip()


def image_key(docker: Sequence[str], image: str) -> str:
    """What tells an image from another of its name; "" where there is none."""
    answer = process.ask((*docker, "image", "inspect", "--format", SAME, image))
    return answer.stdout.strip() if answer.ok else ""


def layers_of(key: str) -> list[str]:
    """The layers of an image, the lowest first, of its key."""
    return list(json.loads(key.partition(" ")[2]))


def own_image(cluster: Cluster) -> str:
    """The key of the image that this lab's own engine has, which every host must have."""
    own = image_key(("docker",), cluster.image)
    if not own:
        raise LabError(
            f"there is no image {cluster.image} on this lab's own engine",
            fix="invoke build",
            code=Code.NOT_UP,
        )
    return own


def require_ray(cluster: Cluster) -> None:
    """Refuse an image without Ray, and one without its dashboard."""
    code = "import sys, importlib.metadata as m; [m.version(name) for name in sys.argv[1:]]"
    run = ("docker", "run", "--rm", "--network", "none", cluster.image, "python", "-c", code)
    answer = process.ask((*run, *EXTRA), timeout_s=60)
    if answer.ok:
        return
    if "PackageNotFoundError" not in answer.text:
        raise LabError(
            f"the lab's image does not start: {answer.text.strip()[-500:]}",
            fix="invoke doctor",
            code=Code.CLUSTER,
        )
    raise LabError(
        "the lab's image has no Ray, or not all that a cluster needs of it",
        fix='invoke add-package "ray[default]", then: invoke cluster push',
        code=Code.CLUSTER,
    )


def host_problems(members: Sequence[Member], engine: Engine, image: str) -> Iterator[Problem]:
    """What keeps hosts from being in the cluster.

    engine: the lab's own. image: the key of the one that they must have; "" where any will do.
    """
    for member in members:
        name = member.node.name
        if member.refusal:
            context = f"docker --context {member.node.context} info"
            fix = f"`{context}` must work; or take {name} out of cluster.toml"
            yield cluster_problem(f"host {name}: {member.refusal.problem}", fix)
            continue
        for text, fix in (*_of_engine(member, engine), *_of_image(member, image)):
            yield cluster_problem(f"host {name} {text}", fix)
    yield from _one_engine_twice(members)


def _of_engine(member: Member, engine: Engine) -> Iterator[tuple[str, str]]:
    if member.engine.rootless or member.engine.desktop:
        kind = "a rootless engine" if member.engine.rootless else "Docker Desktop"
        text = f"has {kind}, whose containers cannot use the host's own network"
        yield text, "use Docker Engine there, as root's service"
    if member.engine.architecture != engine.architecture:
        text = f"is {member.engine.architecture}, and the lab's image is for {engine.architecture}"
        yield text, "take it out of cluster.toml: one image runs on all hosts"


def _of_image(member: Member, image: str) -> Iterator[tuple[str, str]]:
    if image and member.image != image:
        text = "has another image of the lab" if member.image else "does not have the lab's image"
        yield text, "invoke cluster push"


def _one_engine_twice(members: Sequence[Member]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for member in members:
        if member.ident in first:
            text = f"the hosts {first[member.ident]} and {member.node.name} are one engine"
            yield cluster_problem(text, "remove one of them from cluster.toml")
        elif member.ident:
            first[member.ident] = member.node.name


def choose_for(member: Member) -> Choice:
    """The GPU of a host, as `up` chooses the lab's. LabError: `gpu = "on"`, and there is none."""
    here = Host() if member.engine.remote or member.node.gpu == "off" else read_host()
    try:
        return choose_gpu(member.node.gpu, ALL, member.engine, here)
    except LabError as error:
        raise LabError(
            f"host {member.node.name}: {error.problem}", fix=error.fix, code=error.code
        ) from None


def without_refused(members: Sequence[Member]) -> tuple[Member, ...]:
    """Those whose engine can be used."""
    return tuple(member for member in members if not member.refusal)
