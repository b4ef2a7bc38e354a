"""What the tasks ask the running JupyterLab, over its own API."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labcrate import live, stack
from labcrate.stack import Stack

ANSWER_S = 5.0
"""Seconds for one answer; a healthy server needs some milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    body: bytes


def get(lab: Stack, path: str) -> Answer | None:
    """What the server answers to the token of .env; None where nobody answers."""
    # http.client knows no proxy: the token must not travel to one.
    address = urllib.parse.urlsplit(stack.urls(lab)["jupyter"]).netloc
    connection = http.client.HTTPConnection(address, timeout=ANSWER_S)
    headers = {"Authorization": f"token {lab.settings.jupyter_token}"}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return Answer(status=answer.status, body=answer.read())
    except OSError:
        return None
    finally:
        connection.close()


def token_opens(lab: Stack) -> bool:
    """Whether the running JupyterLab takes the token of .env."""
    answer = get(lab, "/api/status")
    return answer is not None and answer.status == 200


def busy_kernels(lab: Stack) -> list[str]:
    """The notebooks, or the kernels without one, that compute right now."""
    answer = get(lab, "/api/sessions")
    kernels = get(lab, "/api/kernels")
    if answer is None or kernels is None or {answer.status, kernels.status} != {200}:
        return []
    sessions: list[dict[str, Any]] = json.loads(answer.body)
    paths = {one["kernel"]["id"]: one["path"] for one in sessions if one.get("kernel")}
    found: list[dict[str, Any]] = json.loads(kernels.body)
    said = [one["id"] for one in found if one["execution_state"] == "busy"]
    return [paths.get(one) or f"kernel {one[:8]}" for one in (at_work(lab, said) if said else ())]


def at_work(lab: Stack, kernels: Sequence[str]) -> list[str]:
    """Of the kernels that JupyterLab calls busy, those that are; all, where that cannot be asked.

    JupyterLab tells what it last heard, and of a kernel that was killed at work that is "busy".
    """
    done = live.ask(lab, "busy", *kernels)
    found: list[str] = json.loads(done.stdout) if done.ok else list(kernels)
    return found
