"""Who has which card: the labs of all clones of all users of the engine, and other processes.

The labels of running containers are the only record, so nothing has to be cleaned up after a crash.
Pure functions, and two readings at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from labcrate import output, process
from labcrate.engine.engine import Engine
from labcrate.gpu.cards import Card, Host
from labcrate.gpu.devices import CDI, offered_names, selected_cards
from labcrate.gpu.offer import parse_choice
from labcrate.gpu.usage import Program
from labcrate.lab.containers import Container, all_containers, inspect_containers

HOLDING = ("running", "paused", "restarting")
"""The states of a container that has its cards. One that ended has none."""

TOP_S = 10.0
"""Seconds for the list of one container's processes; 0.1 s is usual."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A lab's container, or another process, that has a card.

    lab: "" for a process that is of no lab's container. own: of this clone. since: UTC. programs:
    the container's processes on this card, or the one process.
    """

    lab: str = ""
    run: str = ""
    own: bool = False
    since: str = ""
    programs: tuple[Program, ...] = ()

    @property
    def name(self) -> str:
        """Who it is, for a message. Labels and names of programs are written by others."""
        if self.lab:
            whole = f"the run {self.run} of {self.lab}" if self.run else self.lab
            return output.printable(whole) + " (this lab)" * self.own
        one = self.programs[0]
        user = f" of {one.user}" if one.user else ""
        return output.printable(f"{one.name}, process {one.pid}{user}")

    @property
    def told(self) -> str:
        return f"{self.name}, since {self.since} UTC" if self.since else self.name

    @property
    def mib(self) -> int | None:
        """The memory that it has on the card; None where that is not known."""
        known = [one.mib for one in self.programs if one.mib is not None]
        return sum(known) if known else None


def known_cards(engine: Engine, host: Host) -> tuple[Card, ...]:
    """The machine's cards; where nvidia-smi does not list them, those that the engine offers."""
    if host.cards:
        return host.cards
    names = offered_names("gpu-cdi", engine, host)
    whole = [name for name in names if name.isdigit()] or [n for n in names if n.startswith("GPU-")]
    return tuple(
        Card(
            index=int(name) if name.isdigit() else place,
            uuid=name,
            name="",
            capability=None,
            memory_mib=0,
            mig=False,
            driver="",
        )
        for place, name in enumerate(whole)
    )


def held_cards(label: str, cards: Sequence[Card]) -> tuple[Card, ...]:
    """The cards of a container with this label."""
    choice = parse_choice(label)
    names = tuple(name.removeprefix(CDI) for name in choice.devices) if choice else ()
    return selected_cards(cards, names)


def holders_of(
    card: Card,
    cards: Sequence[Card],
    containers: Sequence[Container],
    programs: Sequence[Program],
    pids: Mapping[str, frozenset[int]],
    project: str,
) -> tuple[Holder, ...]:
    """Who has a card: labs first; nobody has one that is free.

    project: this clone's. pids: a container's processes, by its id. A container that holds several
    cards counts on each, whatever its processes use.
    """
    here = [one for one in programs if one.uuid == card.uuid]
    used = {one.pid for one in here}
    labs = [
        Holder(
            lab=one.lab or one.project,
            run=one.run,
            own=one.project == project,
            since=one.started[:16],
            programs=tuple(p for p in here if p.pid in pids.get(one.id, ())),
        )
        for one in containers
        if card in held_cards(one.gpu, cards) or used & pids.get(one.id, frozenset())
    ]
    theirs: frozenset[int] = frozenset().union(*pids.values())
    others = [Holder(programs=(one,)) for one in here if one.pid not in theirs]
    return (*labs, *others)


def containers_with_cards(listed: Sequence[Container] | None = None) -> tuple[Container, ...]:
    """Every container of a lab, of any clone, that has a GPU now. listed: `docker ps`, if known."""
    everyone = all_containers() if listed is None else listed
    of_labs = [one for one in everyone if one.lab and one.state in HOLDING]
    return tuple(one for one in inspect_containers(of_labs) if one.gpu and one.state in HOLDING)


def processes_of(containers: Sequence[Container]) -> dict[str, frozenset[int]]:
    """The host's ids of each container's processes; none of one that has just ended."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(_pids, [one.id for one in containers])
        return dict(zip((one.id for one in containers), found, strict=True))


def _pids(ident: str) -> frozenset[int]:
    answer = process.ask(("docker", "top", ident, "-eo", "pid"), timeout_s=TOP_S)
    lines = answer.stdout.split() if answer.ok else ()
    return frozenset(int(word) for word in lines if word.isdigit())
