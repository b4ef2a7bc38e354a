"""What the tasks ask the running JupyterLab, over its own API."""

from __future__ import annotations

import http.client
import urllib.parse
from dataclasses import dataclass

from labcrate.lab.compose import JUPYTER
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
    address = urllib.parse.urlsplit(snapshot.model.services[JUPYTER].link()).netloc
    if not address:
        return None
    connection = http.client.HTTPConnection(address, timeout=ANSWER_S)
    headers = {"Authorization": f"token {snapshot.settings.jupyter_token}"}
    try:
        connection.request("GET", snapshot.base_url.rstrip("/") + path, headers=headers)
        answer = connection.getresponse()
        return Answer(status=answer.status, body=answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def token_opens(snapshot: Snapshot) -> bool:
    """Whether the running JupyterLab accepts the token of .env.

    On another machine it is not asked: the token would cross the network, or reach a stranger on
    a port of this one.
    """
    if snapshot.machine:
        return True
    answer = get(snapshot, "/api/status")
    return answer is not None and answer.status == http.client.OK
