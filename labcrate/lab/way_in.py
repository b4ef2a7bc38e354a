"""How a browser gets to the lab: its links for programs, and the way from another machine."""

from __future__ import annotations

import platform
import shlex
import sys
import webbrowser
from collections.abc import Mapping
from urllib.parse import urlsplit

from labcrate import environment
from labcrate.clone.page import private_page
from labcrate.clone.place import find_clone
from labcrate.clone.ports import is_loopback, names_this_machine
from labcrate.engine.endpoint import endpoint, login_of, machine_of
from labcrate.lab.compose import JUPYTER
from labcrate.lab.far_lab import far_folder
from labcrate.lab.snapshot import Snapshot

Row = tuple[str, str]
SSH_PORT = "22"


def links_as_json(snapshot: Snapshot) -> dict[str, object]:
    """What `invoke tunnel` asks for from another machine; it knows these names."""
    links = snapshot.links(snapshot.settings.jupyter_token)
    return {"project": snapshot.lab.project, "up": snapshot.is_healthy, "links": links}


def ways_in(links: Mapping[str, str]) -> list[Row]:
    """What to say below the links where the browser is on another machine than the lab's ports."""
    return far_way(links) or way_by_ssh(links)


def far_way(links: Mapping[str, str]) -> list[Row]:
    """The way to an engine on another machine, for links that only that machine can open."""
    address, forwards = endpoint(), tunnel_flags(links)
    machine = machine_of(address)
    if not machine or not forwards:
        return []
    return [
        ("tunnel", f"ssh -N {forwards} {login_of(address)}"),
        ("", f"(the engine is on {machine}: links with 127.0.0.1 work through this tunnel)"),
    ]


def way_by_ssh(links: Mapping[str, str]) -> list[Row]:
    """The way to this machine, for who came in by ssh."""
    forwards = tunnel_flags(links)
    # The client's address and port, then the server's (ssh(1)).
    told = environment.variable("SSH_CONNECTION").split()
    if not forwards or not told:
        return []
    address, port = told[-2:]
    # Who came through another tunnel sees its end here.
    machine = platform.node() if is_loopback(address) else address
    login = f"{environment.user_name() or 'user'}@{machine}"
    flag = "" if port == SSH_PORT else f"-p {port} "
    six = f"{login.replace('@', '@[')}]" if ":" in machine else login
    place = shlex.quote(f"{six}:{far_folder('', find_clone())}")
    option = "" if port == SSH_PORT else f" --port {port}"
    return [
        ("laptop", f"ssh -N {forwards} {flag}{login}"),
        ("", f"(type it there; or in a clone there: invoke tunnel {place}{option})"),
    ]


def tunnel_flags(links: Mapping[str, str]) -> str:
    """The forwards for ssh that make the same links work on another machine."""
    found = [urlsplit(link).netloc for link in links.values() if names_this_machine(link)]
    return " ".join(f"-L {netloc.rpartition(':')[2]}:{netloc}" for netloc in found)


def open_pages(snapshot: Snapshot) -> bool:
    """Open all services in the browser; whether one of this machine can show them."""
    links = snapshot.links(snapshot.settings.jupyter_token)
    if not has_screen() or far_way(links):
        return False
    clone = snapshot.lab.clone
    pages = [private_page(clone, link) if name == JUPYTER else link for name, link in links.items()]
    return [webbrowser.open(page) for page in pages].count(False) == 0


def has_screen() -> bool:
    """Whether a browser can show itself; without one, Python would start a text browser."""
    names = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform == "darwin" or any(map(environment.variable, names))
