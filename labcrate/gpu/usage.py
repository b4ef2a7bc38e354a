"""What the cards do at this moment: memory, load and processes, as nvidia-smi says it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labcrate import process
from labcrate.gpu.cards import SMI_S, Ask

LOADS = ("--query-gpu=uuid,utilization.gpu,memory.used,memory.total", "--format=csv,noheader")
PROCESSES = (
    "--query-compute-apps=gpu_uuid,pid,process_name,used_memory",
    "--format=csv,noheader",
)
FIELDS = 4
"""Values in a line of either answer, at least: a program's name may have a comma."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One card. Memory in MiB, load in percent; None where the driver does not report it."""

    uuid: str
    percent: int | None = None
    used_mib: int | None = None
    total_mib: int | None = None


@dataclass(frozen=True, kw_only=True)
class Program:
    """A process that computes on a card. pid: the host's. mib: None where it is not reported.

    user: the account that runs it; "" where this user may not see that.
    """

    uuid: str
    pid: int
    name: str
    mib: int | None = None
    user: str = ""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Both of all cards, at one moment; empty where there is no nvidia-smi."""

    loads: tuple[Load, ...] = ()
    programs: tuple[Program, ...] = ()


def parse_loads(text: str) -> tuple[Load, ...]:
    """The cards in nvidia-smi's answer to LOADS; other lines (warnings) are skipped."""
    rows = (_values(line) for line in text.splitlines())
    return tuple(
        Load(
            uuid=row[0],
            percent=_number(row[1]),
            used_mib=_number(row[2]),
            total_mib=_number(row[3]),
        )
        for row in rows
        if len(row) == FIELDS
    )


def parse_programs(text: str) -> tuple[Program, ...]:
    """The processes in nvidia-smi's answer to PROCESSES; one on two cards is in it twice."""
    rows = (_values(line) for line in text.splitlines())
    return tuple(
        Program(uuid=row[0], pid=int(row[1]), name=", ".join(row[2:-1]), mib=_number(row[-1]))
        for row in rows
        if len(row) >= FIELDS and row[1].isdigit()
    )


def _values(line: str) -> list[str]:
    return [value.strip() for value in line.split(",")]


def _number(text: str) -> int | None:
    """5759 of `5759 MiB`; None of `[N/A]`."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else None


def read_usage(smi: str, ask: Ask = process.ask, proc: Path = Path("/proc")) -> Usage:
    """Ask nvidia-smi. smi: how it is started; "": there is none. proc: for tests."""
    if not smi:
        return Usage()
    loads = ask((smi, *LOADS), timeout_s=SMI_S)
    programs = ask((smi, *PROCESSES), timeout_s=SMI_S)
    return Usage(
        loads=parse_loads(loads.stdout if loads.ok else ""),
        programs=with_users(parse_programs(programs.stdout if programs.ok else ""), proc),
    )


def with_users(programs: Sequence[Program], proc: Path) -> tuple[Program, ...]:
    """The same with the accounts that run them, as far as /proc shows them."""
    return tuple(
        Program(uuid=p.uuid, pid=p.pid, name=p.name, mib=p.mib, user=_owner(proc / str(p.pid)))
        for p in programs
    )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (OSError, KeyError):
        return ""
