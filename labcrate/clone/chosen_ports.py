"""The ports that `setup` chose: only those may be chosen again when another program has them.

A port that somebody wrote into .env is a decision: bookmarks, tunnels and firewalls follow it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from labcrate import environment
from labcrate.clone.env_file import fill, read_env, read_text, write_private
from labcrate.clone.place import Clone

RECORD = "ports.json"


def remember_ports(clone: Clone, chosen: Mapping[str, str]) -> None:
    """Add variables and their ports to the record."""
    if chosen:
        clone.state.mkdir(exist_ok=True)
        kept = {**recorded_ports(clone), **chosen}
        write_private(clone.state / RECORD, json.dumps(kept, indent=2) + "\n")


def recorded_ports(clone: Clone) -> dict[str, str]:
    """The record; empty where there is none, or it is damaged."""
    try:
        found = json.loads((clone.state / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_chosen(clone: Clone, variable: str, port: int) -> bool:
    """Whether `setup` chose this port for a variable, and nobody has set another since."""
    if variable in environment.variables():
        return False
    told = (recorded_ports(clone).get(variable), read_env(clone.env_file).get(variable))
    return told == (str(port), str(port))


def choose_ports(clone: Clone, chosen: Mapping[str, str]) -> None:
    """Write other ports into .env, and remember that nobody but the lab chose them."""
    write_private(clone.env_file, fill(read_text(clone.env_file), chosen))
    remember_ports(clone, chosen)
