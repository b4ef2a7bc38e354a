"""How a browser gets to the lab: its links for programs, and from where they lead to it."""

from __future__ import annotations

from labcrate.lab.snapshot import Snapshot


def links_as_json(snapshot: Snapshot) -> dict[str, object]:
    """What `invoke tunnel` asks for from another machine; it knows these names."""
    links = snapshot.links(snapshot.settings.jupyter_token)
    return {"project": snapshot.lab.project, "up": snapshot.is_healthy, "links": links}
