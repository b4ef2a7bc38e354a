"""What only a container on a host can see: its network cards, its ports, its clock, its runs/."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from labcrate import labels, process
from labcrate.clone.rules import Problem
from labcrate.cluster.inventory import Node, cluster_problem
from labcrate.cluster.joining import not_started
from labcrate.cluster.node import Plan, mount

SCRIPT = Path(__file__).with_name("inside") / "probe.py"

APART_S = 2.0
"""Seconds that a host's clock may differ: logs and the times of checkpoints are compared."""

PROBE_S = 60.0
"""Seconds for one container: 1 is usual."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A host from inside. apart: seconds between its clock and this machine's, at least.

    cards: the address of each network card. shared: whether its runs/ is the head's; None where
    one of them has none. wrong: why runs/ could not be written.
    """

    plan: Plan
    apart: float = 0.0
    cards: dict[str, str] = field(default_factory=dict)
    taken: tuple[int, ...] = ()
    shared: bool | None = None
    wrong: str = ""

    @property
    def node(self) -> Node:
        return self.plan.node


def see_hosts(plans: Sequence[Plan], running: Sequence[Node]) -> list[Seen]:
    """All hosts from inside. running: those whose node runs, and so has its ports.

    The head writes a file into its runs/, the others look for it, and the head removes it.
    """
    head, *others = plans
    name = f".cluster-{secrets.token_hex(6)}"
    writes = bool(head.node.folder) and any(plan.node.folder for plan in others)
    first = see_host(head, head.node in running, write=name if writes else "")
    try:
        with ThreadPoolExecutor(max_workers=len(plans)) as pool:
            asked = [
                pool.submit(
                    see_host,
                    plan,
                    plan.node in running,
                    read=name if writes and plan.node.folder else "",
                )
                for plan in others
            ]
            return [first, *(one.result() for one in asked)]
    finally:
        if writes:
            see_host(head, True, remove=name)


def see_host(
    plan: Plan, running: bool, *, write: str = "", read: str = "", remove: str = ""
) -> Seen:
    """Run the probe on one host. LabError: its engine starts no such container."""
    asked = {"ports": () if running else plan.ports, "write": write, "read": read, "remove": remove}
    before = time.time()
    answer = process.ask(
        (*probe_command(plan), json.dumps(asked)),
        stdin=SCRIPT.read_text(encoding="utf-8"),
        timeout_s=PROBE_S,
    )
    after = time.time()
    if not answer.ok:
        raise not_started(plan.node, answer.text)
    said = json.loads(answer.stdout)
    return Seen(
        plan=plan,
        apart=max(before - said["time"], said["time"] - after, 0.0),
        cards=said["cards"],
        taken=tuple(said["taken"]),
        shared=said["seen"] if read else None,
        wrong=said["wrong"],
    )


def probe_command(plan: Plan) -> tuple[str, ...]:
    """A container with what a node gets, but for the GPU."""
    settings, node = plan.settings, plan.node
    runs = mount(node.folder, "runs")
    mounted = f"type=bind,source={runs['source']},target={runs['target']}"
    closed = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")
    return node.docker(
        *("run", "--rm", "--interactive", "--network", "host", *closed),
        *("--user", f"{settings.uid}:{settings.gid}"),
        *("--label", f"{labels.PROJECT}={settings.project}"),
        *(("--mount", mounted) if node.folder else ()),
        *(plan.image, "python", "-"),
    )


def seen_problems(seen: Sequence[Seen]) -> Iterator[Problem]:
    """What a host lacks, from inside."""
    for one in seen:
        for text, fix in (*_of_network(one), *_of_clock(one), *_of_runs(one)):
            yield cluster_problem(f"host {one.node.name}: {text}", fix)


def _of_network(one: Seen) -> Iterator[tuple[str, str]]:
    node = one.node
    has = one.cards.get(node.interface)
    real = {card: address for card, address in one.cards.items() if card != "lo" and address}
    listed = ", ".join(f"{card} ({address})" for card, address in sorted(real.items()))
    if has is None:
        yield f"there is no network card {node.interface}", f"set interface to one of: {listed}"
    elif has != node.address:
        text = f"{node.interface} has the address {has or 'none'}, not {node.address}"
        yield text, f"set address and interface to one of: {listed}"
    if one.taken:
        ports = ", ".join(map(str, one.taken))
        text = f"port {ports} is taken by something else"
        yield text, f"on {node.name}, `sudo ss -ltnp` names the program: stop it"


def _of_clock(one: Seen) -> Iterator[tuple[str, str]]:
    if one.apart > APART_S:
        text = f"its clock is {one.apart:.0f} s apart from this machine's"
        yield text, "set both by NTP: sudo timedatectl set-ntp true"


def _of_runs(one: Seen) -> Iterator[tuple[str, str]]:
    if one.wrong:
        uid = one.plan.settings.uid
        yield f"its runs/ is not writable: {one.wrong}", f"let user {uid} write {one.node.folder}"


def own_runs(seen: Sequence[Seen]) -> list[str]:
    """The hosts whose runs/ is another folder than the head's."""
    return [one.node.name for one in seen if one.shared is False]
