"""cluster.toml: which machines make the cluster, and how each is reached."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any

from labcrate.clone.place import Clone
from labcrate.clone.rules import Problem
from labcrate.clone.settings import raise_problems
from labcrate.errors import Code, LabError

FILE = "cluster.toml"

EXAMPLE = """\
[hosts.one]                    # the first host is the head
context = "default"            # how docker reaches it: `docker context ls`
address = "192.168.1.10"       # where the other hosts reach it
interface = "eno1"             # which of its network cards has that address: `ip -4 address`
gpu = "auto"                   # auto (the default), on, or off
folder = "/home/me/my-lab"     # may be left out: notebooks/, src/, runs/ and so on, on that host

[hosts.two]
context = "two"
address = "192.168.1.11"
interface = "eno1"
"""

GPU = ("auto", "on", "off")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
CONTEXT = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]*")
INTERFACE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.@-]{0,14}")
"""Linux gives a network card at most 15 characters."""

SEE = "labcrate/docs/cluster.md of the template has an example"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One host of the cluster. folder: the lab's folders on that host; "" mounts none."""

    name: str
    context: str
    address: str
    interface: str
    gpu: str = "auto"
    folder: str = ""

    def docker(self, *arguments: str) -> tuple[str, ...]:
        """A docker command for this host's engine."""
        return ("docker", "--context", self.context, *arguments)


KEYS = tuple(one.name for one in fields(Node) if one.name != "name")
REQUIRED = ("context", "address", "interface")
UNIQUE = ("context", "address")


def read_inventory(clone: Clone) -> tuple[Node, ...]:
    """The hosts of the clone's cluster.toml, the head first."""
    path = clone.root / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LabError(
            f"there is no {FILE} in this clone: it names the cluster's hosts",
            fix=f"write {path} like this, one part for each host:\n\n{EXAMPLE}",
            code=Code.CLUSTER,
        ) from None
    except UnicodeDecodeError:
        raise _unreadable("it is not UTF-8") from None
    return parse_inventory(text)


def _unreadable(why: str) -> LabError:
    return LabError(f"{FILE} cannot be read: {why}", fix=f"correct it; {SEE}", code=Code.CLUSTER)


def parse_inventory(text: str) -> tuple[Node, ...]:
    """The hosts that a text names, or one error with every problem in it."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(str(error)) from None
    raise_problems(list(_problems(content)), FILE)
    return tuple(Node(name=name, **values) for name, values in content["hosts"].items())


def cluster_problem(text: str, fix: str) -> Problem:
    return Problem(text=text, fix=fix, code=Code.CLUSTER)


def _problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    for name in content.keys() - {"hosts"}:
        yield cluster_problem(f"{FILE} has an unknown part {name!r}", "name each host [hosts.NAME]")
    hosts = content.get("hosts")
    if not hosts or not isinstance(hosts, dict):
        yield cluster_problem(f"{FILE} names no host", f"add [hosts.NAME] for each; {SEE}")
        return
    for name, values in hosts.items():
        if not isinstance(values, dict):
            yield cluster_problem(
                f"hosts.{name} is no part of its own", f"write [hosts.{name}]; {SEE}"
            )
            continue
        yield from _of_host(name, values)
    yield from _doubles({name: v for name, v in hosts.items() if isinstance(v, dict)})


def _of_host(name: str, values: Mapping[str, Any]) -> Iterator[Problem]:
    if not NAME.fullmatch(name):
        fix = "use small letters, digits and hyphens, at most 31"
        yield cluster_problem(f"{name!r} cannot be the name of a host", fix)
    for key in values:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            fix = f"did you mean {near[0]}?" if near else f"known are: {', '.join(KEYS)}"
            yield cluster_problem(f"host {name} has an unknown key {key!r}", fix)
    for key in REQUIRED:
        if values.get(key, "") == "":
            yield cluster_problem(f"host {name} has no {key}", f'add {key} = "..."; {SEE}')
    for key, value in values.items():
        if key in KEYS and value != "" and (fix := _wrong(key, value)):
            yield cluster_problem(f"host {name} has {key} = {value!r}", fix)


def _wrong(key: str, value: object) -> str:
    """What a value of a key must be, where it is not; "" where it is."""
    if not isinstance(value, str):
        return "put the value in quotes"
    match key:
        case "context":
            right, fix = (
                bool(CONTEXT.fullmatch(value)),
                "`docker context ls` lists those that there are",
            )
        case "address":
            right, fix = _is_address(value), "use the host's own IPv4 address, not the loopback's"
        case "interface":
            right, fix = (
                bool(INTERFACE.fullmatch(value)),
                "`ip -4 address`, on that host, lists them",
            )
        case "gpu":
            right, fix = value in GPU, f"use one of: {', '.join(GPU)}"
        case _:
            right, fix = _is_folder(value), "use a full path without : or .. in it"
    return "" if right else fix


def _is_address(text: str) -> bool:
    """Whether other hosts can reach this. Ray replaces a loopback address by one of its choice."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


def _is_folder(text: str) -> bool:
    path = PurePosixPath(text)
    return path.is_absolute() and ".." not in path.parts and text.isprintable() and ":" not in text


def _doubles(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Two hosts with one engine or one address: their nodes would fight for the same ports."""
    for key in UNIQUE:
        first: dict[str, str] = {}
        for name, values in hosts.items():
            value = str(values.get(key) or "")
            if value and value in first:
                text = f"the hosts {first[value]} and {name} have the same {key}: {value}"
                yield cluster_problem(text, f"give each host its own {key}, or remove one of them")
            first.setdefault(value, name)
