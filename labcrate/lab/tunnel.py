"""The tunnel to a lab on another machine: its ports on this machine's loopback, over ssh."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from labcrate import known, output, process
from labcrate.clone.ports import free_port
from labcrate.errors import Code, LabError
from labcrate.lab.far_lab import Place, ssh_failed

ALIVE = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")
"""A connection that died without a word is given up after 45 s."""

OWN = ("-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes")
"""A connection of its own: in one that others share, the forwards would outlive the tunnel."""

HERE = "127.0.0.1"
POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Forward:
    """A port of this machine's loopback, and where it leads: `far`, as the machine there names it.

    link: what to open here.
    """

    local: int
    far: str
    link: str

    @property
    def flags(self) -> tuple[str, str]:
        return "-L", f"{HERE}:{self.local}:{self.far}"


def choose_forwards(links: Mapping[str, str]) -> dict[str, Forward]:
    """A free port here for each service: the number that it has over there, or a later one."""
    taken: set[int] = set()
    found = {}
    for name, link in links.items():
        parts = urlsplit(link)
        if parts.port is None:
            continue
        local = free_port(parts.port, taken)
        taken.add(local)
        here = parts._replace(netloc=f"{HERE}:{local}").geturl()
        found[name] = Forward(local=local, far=parts.netloc, link=here)
    return found


@dataclass
class Tunnel:
    """An ssh that holds forwards, while it runs. told: what was said about it already."""

    place: Place
    forwards: Collection[Forward]
    is_open: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    told: set[str] = field(default_factory=set)

    def hold(self, opened: Callable[[], None]) -> None:
        """Hold the tunnel until something ends it. opened: called once all ports lead there.

        LabError: it could not be made, or it was cut. Ctrl-C is the user's way to end it.
        """
        flags = [part for one in self.forwards for part in one.flags]
        command = self.place.ssh("-N", *OWN, *ALIVE, *flags)
        if process.is_dry():
            process.stream(command)
            return
        watcher = threading.Thread(target=self.watch, args=(opened,), daemon=True)
        watcher.start()
        try:
            done = process.stream(command, line=self.hear)
        finally:
            self.ended.set()
            watcher.join()
        raise self.cut(done.stdout) if self.is_open else ssh_failed(self.place, done.text)

    def watch(self, opened: Callable[[], None]) -> None:
        """Say when the tunnel is open: ssh listens only once the login is done."""
        while not self.ended.wait(POLL_S):
            if all(listens(one.local) for one in self.forwards):
                self.is_open = True
                opened()
                return

    def hear(self, line: str) -> None:
        """What ssh says meanwhile, once: a page that asks again and again makes it say it often."""
        found = known.recognise(line, "ssh")
        if found and not self.is_open:
            return  # That is why the tunnel cannot be made: the error will say it.
        text = f"{found.problem}; {found.fix}" if found else output.printable(line)
        if text not in self.told:
            self.told.add(text)
            output.say(text)

    def cut(self, said: str) -> LabError:
        lines = said.splitlines()
        return LabError(
            f"the tunnel to {self.place.login} was cut",
            why=output.printable(lines[-1]) if lines else "",
            fix="the same command again; the lab over there runs on, with its kernels",
            code=Code.TUNNEL,
        )


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of this machine's loopback."""
    try:
        with socket.create_connection((HERE, port), timeout=1):
            return True
    except OSError:
        return False
