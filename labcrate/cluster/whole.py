"""The cluster of one clone: its hosts, its names on their engines, and the files that it keeps."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from labcrate import process
from labcrate.clone.env_file import write_private
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.cluster.inventory import Node, read_inventory
from labcrate.cluster.node import DASHBOARD_PORT, FIXED, Plan, node_overlay
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.way_in import Row

OWN_FILE = "cluster.yaml"
"""In compose/: what the owner wants of every node, too."""

COMPOSE_S = 120.0
"""Seconds for one Compose command: a node starts in 1, and has 10 to stop."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A lab on several hosts, the head first."""

    settings: Settings
    nodes: tuple[Node, ...]

    @property
    def head(self) -> Node:
        return self.nodes[0]

    @property
    def clone(self) -> Clone:
        return self.settings.clone

    @property
    def project(self) -> str:
        """Compose's name for it. Not the lab's: its `down` would take the nodes along."""
        return f"{self.settings.project}-cluster"

    @property
    def container(self) -> str:
        """The name of the node's container, on every host."""
        return f"{self.project}-node-1"

    @property
    def image(self) -> str:
        """The name of the lab's image, on every host."""
        return Lab(settings=self.settings).image(JUPYTER)

    @property
    def folder(self) -> Path:
        return self.token_file.parent

    @property
    def token_file(self) -> Path:
        return token_file(self.clone)

    def compose(self, node: Node, *arguments: str) -> tuple[str, ...]:
        """A Compose command for one host; the token comes from a file, so nothing shows it."""
        files = [str(FIXED), str(self.folder / f"{node.name}.json")]
        if (self.clone.compose / OWN_FILE).exists():
            files.append(f"compose/{OWN_FILE}")
        named = ("compose", "--project-name", self.project, "--project-directory", "compose")
        env = ("--env-file", ".env", "--env-file", str(self.token_file))
        given = [part for name in files for part in ("-f", name)]
        return node.docker(*named, *env, *given, *arguments)

    def change(self, node: Node, *arguments: str) -> process.Result:
        """Change something on one host."""
        command = self.compose(node, *arguments)
        return process.change(command, timeout_s=COMPOSE_S, cwd=self.clone.root)


def token_file(clone: Clone) -> Path:
    """Where the token is from `up` to `down`, in the folder with all that the cluster keeps."""
    return clone.state / "cluster" / "token.env"


def read_cluster(settings: Settings) -> Cluster:
    return Cluster(settings=settings, nodes=read_inventory(settings.clone))


def write_files(cluster: Cluster, plans: tuple[Plan, ...]) -> None:
    """What Compose reads of each host, and a token where there is none yet."""
    if process.is_dry():
        return
    cluster.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not cluster.token_file.exists():
        write_private(cluster.token_file, f"CLUSTER_TOKEN={secrets.token_hex(32)}\n")
    for plan in plans:
        write_private(cluster.folder / f"{plan.node.name}.json", node_overlay(plan))


def dashboard_rows(clone: Clone, head: str = "the first host of cluster.toml") -> list[Row]:
    """Where the dashboard of a cluster is that was started and not stopped; asks nobody."""
    token = token_file(clone)
    if not token.exists():
        return []
    return [
        ("dashboard", f"http://127.0.0.1:{DASHBOARD_PORT}/ on {head}"),
        ("its token", f"{token} (in its one line, after the =)"),
    ]
