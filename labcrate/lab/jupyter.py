"""What the tasks ask the running JupyterLab, over its own API."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labcrate.lab.compose import JUPYTER
from labcrate.lab.inside import ask_lab
from labcrate.lab.snapshot import Snapshot

ANSWER_S = 5.0
"""Seconds for one answer; a healthy server needs some milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes


def get(snapshot: Snapshot, path: str) -> Answer | None:
    """What the server answers to the token of .env; None where nobody answers."""
    # http.client knows no proxy: the token must not travel to one.
    address = urllib.parse.urlsplit(snapshot.model.services[JUPYTER].link).netloc
    if not address:
        return None
    connection = http.client.HTTPConnection(address, timeout=ANSWER_S)
    headers = {"Authorization": f"token {snapshot.settings.jupyter_token}"}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return Answer(status=answer.status, body=answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def token_opens(snapshot: Snapshot) -> bool:
    """Whether the running JupyterLab accepts the token of .env."""
    answer = get(snapshot, "/api/status")
    return answer is not None and answer.status == http.client.OK


def busy_kernels(snapshot: Snapshot) -> list[str]:
    """The notebooks, or the kernels without one, that compute right now."""
    answer = get(snapshot, "/api/sessions")
    kernels = get(snapshot, "/api/kernels")
    if answer is None or kernels is None:
        return []
    if {answer.status, kernels.status} != {http.client.OK}:
        return []
    sessions: list[dict[str, Any]] = json.loads(answer.body)
    paths = {one["kernel"]["id"]: one["path"] for one in sessions if one.get("kernel")}
    found: list[dict[str, Any]] = json.loads(kernels.body)
    said = [one["id"] for one in found if one["execution_state"] == "busy"]
    at_work = computing(snapshot, said) if said else ()
    return [paths.get(one) or f"kernel {one[:8]}" for one in at_work]


def computing(snapshot: Snapshot, kernels: Sequence[str]) -> list[str]:
    """Of the kernels that JupyterLab calls busy, those that are; all, where that cannot be asked.

    JupyterLab remembers what it last heard, and of a kernel that was killed at work that is "busy".
    """
    done = ask_lab(snapshot.lab, "busy", *kernels)
    found: list[str] = json.loads(done.stdout) if done.ok else list(kernels)
    return found
