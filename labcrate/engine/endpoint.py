"""Where the engine is that `docker` is set to, without asking it: here, or on another machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from labcrate import environment
from labcrate.clone.ports import names_this_machine

SCHEMES = ("ssh://", "tcp://", "http://", "https://")
"""Of addresses that may lead to another machine; a socket is a file of this one."""


def endpoint() -> str:
    """The engine's address; "": Docker's own default. In the order of Docker's client.

    Its file of a context lies in a folder that is named after the digest of the context's name.
    """
    if host := environment.variable("DOCKER_HOST"):
        return host
    home = Path(environment.variable("DOCKER_CONFIG") or "~/.docker").expanduser()
    chosen = _read(home / "config.json").get("currentContext")
    name = environment.variable("DOCKER_CONTEXT") or str(chosen or "default")
    if name == "default":
        return ""
    digest = hashlib.sha256(name.encode()).hexdigest()
    found: Any = _read(home / "contexts" / "meta" / digest / "meta.json")
    for key in ("Endpoints", "docker", "Host"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def leads_away(address: str) -> bool:
    """Whether an engine's address may be another machine's: by its form, or through a tunnel."""
    return address.startswith(SCHEMES)


def machine_of(address: str) -> str:
    """The host name of the other machine that an engine is on; "" where it is this one."""
    if not leads_away(address) or names_this_machine(address):
        return ""
    return urlsplit(address).hostname or ""


def login_of(address: str) -> str:
    """How ssh gets to an engine's machine: `user@host`, with sshd's port where the address has it.

    Only an address of ssh names a user and sshd's port.
    """
    parts = urlsplit(address)
    if parts.scheme != "ssh":
        return parts.hostname or ""
    user = f"{parts.username}@" if parts.username else ""
    port = f"-p {parts.port} " if parts.port else ""
    return f"{port}{user}{parts.hostname}"


def _read(path: Path) -> dict[str, Any]:
    """A JSON file of Docker's client; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
