"""Ports of the lab that another program took: chosen again where `setup` chose them."""

from __future__ import annotations

import itertools

from labcrate import output, process
from labcrate.clone.chosen_ports import choose_ports, is_chosen
from labcrate.clone.env_file import read_env
from labcrate.clone.ports import free_port, named_ports
from labcrate.clone.settings import load, raise_problems
from labcrate.lab.compose import Port
from labcrate.lab.snapshot import (
    VARIABLES,
    Snapshot,
    held_ports,
    take_snapshot,
    taken_port,
    taken_ports,
)


def settle_ports(snapshot: Snapshot, *services: str) -> Snapshot:
    """The lab with ports that are free: its own, or others in place of those that `setup` chose.

    services: whose ports are meant; default: all. LabError: one that somebody set is taken. Then
    .env stays as it is.
    """
    clone = snapshot.lab.clone
    held = [one for one in held_ports(snapshot) if not services or one[0] in services]
    if not all(is_movable(snapshot, service, port) for service, port, _ in held):
        raise_problems([taken_port(name, port.number, who) for name, port, who in held])
    if not held:
        return snapshot
    taken = {port.number for one in snapshot.model.services.values() for port in one.ports}
    # That of a service that is off, too: two alike in .env are refused.
    taken |= named_ports(read_env(clone.env_file))
    chosen = {}
    for service, port, who in held:
        number = next_port(snapshot, port, taken)
        taken.add(number)
        variable = VARIABLES[service]
        chosen[variable] = str(number)
        output.say(f"{variable}={port.number} is taken by {who}: {variable}={number} from now on.")
    if process.is_dry():
        return snapshot
    choose_ports(clone, chosen)
    again = take_snapshot(load(clone), snapshot.lab.profiles)
    if not services:
        raise_problems(list(taken_ports(again)))
    return again


def next_port(snapshot: Snapshot, port: Port, taken: set[int]) -> int:
    """A port after a taken one: free here, or, on another machine, had by no container there."""
    if not snapshot.machine:
        return free_port(port.number + 1, taken, port.address or "0.0.0.0")  # noqa: S104
    held = {number for one in snapshot.everyone for number in one.ports} | taken
    return next(number for number in itertools.count(port.number + 1) if number not in held)


def is_movable(snapshot: Snapshot, service: str, port: Port) -> bool:
    """Whether `setup` chose the port of a service, and nobody edited it."""
    variable = VARIABLES.get(service, "")
    return is_chosen(snapshot.lab.clone, variable, port.number)
