"""Addresses and ports of this machine: which are free, and which process has one."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from labcrate.errors import Code, LabError

LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp (include/net/tcp_states.h)."""


LAST_PORT = 65535

PORTS = ("JUPYTER_PORT", "TENSORBOARD_PORT", "SEARCH_PORT")
"""The template's own, as .env names them."""


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches what is published there; a name counts as no."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def names_this_machine(address: str) -> bool:
    """Whether a URL or `host:port` is on the loopback, which in a container is the container."""
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or host.endswith(".localhost") or is_loopback(host)


def named_ports(values: Mapping[str, str]) -> set[int]:
    """The ports that .env names for the template's own services, also for one that is off."""
    return {int(values[name]) for name in PORTS if values.get(name, "").isdigit()}


def free_port(first: int, taken: set[int], address: str = "127.0.0.1") -> int:
    """The first port from `first` on that nobody listens on at an address."""
    for port in range(first, LAST_PORT + 1):
        if port not in taken and port_is_free(address, port):
            return port
    raise LabError("no free port", fix="set the ports in .env by hand", code=Code.PORT_TAKEN)


def port_is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def process_on(port: int) -> str:
    """The process that listens on a TCP port, as far as /proc lets this user see it."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == LISTENS:
                inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) in inodes:
                pid = link.parts[2]
                return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
        except OSError:
            continue
    return "another process"
