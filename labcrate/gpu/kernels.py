"""The kernels of this lab that hold memory of a card, and what they are at."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labcrate import process
from labcrate.gpu.holders import TOP_S
from labcrate.gpu.usage import Program
from labcrate.lab.jupyter import get
from labcrate.lab.snapshot import Snapshot

KERNEL = re.compile(r"^\s*(\d+)\s.*\bkernel-([0-9a-f-]{36})\.json", re.MULTILINE)
"""A kernel in a list of processes: the host's id, and the file that names the kernel."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel. state: idle or busy. since: when it last did something; UTC."""

    notebook: str
    state: str
    since: str
    mib: int | None


def kernels_on_cards(snapshot: Snapshot, programs: Sequence[Program]) -> tuple[Kernel, ...]:
    """The lab's kernels among these programs; () where JupyterLab does not say what they are."""
    if snapshot.jupyter is None or not programs:
        return ()
    top = process.ask(("docker", "top", snapshot.jupyter.id, "-eo", "pid,args"), timeout_s=TOP_S)
    idents = {int(pid): ident for pid, ident in KERNEL.findall(top.stdout if top.ok else "")}
    if not any(one.pid in idents for one in programs):
        return ()
    answer = get(snapshot, "/api/sessions")
    if answer is None or answer.status != http.client.OK:
        return ()
    return tuple(match_kernels(programs, idents, json.loads(answer.body)))


def match_kernels(
    programs: Sequence[Program], idents: Mapping[int, str], sessions: Sequence[Mapping[str, Any]]
) -> Iterator[Kernel]:
    """The kernels behind programs. idents: process -> kernel. sessions: as JupyterLab says them."""
    known = {one["kernel"]["id"]: one for one in sessions if one.get("kernel")}
    for one in programs:
        session = known.get(idents.get(one.pid, ""))
        if session is None:
            continue
        kernel = session["kernel"]
        yield Kernel(
            notebook=str(session.get("path") or session.get("name") or "a console"),
            state=str(kernel.get("execution_state", "")),
            since=str(kernel.get("last_activity", ""))[:16].replace("T", " "),
            mib=one.mib,
        )
