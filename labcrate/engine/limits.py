"""Limits of .env that an engine cannot enforce."""

from __future__ import annotations

from labcrate import output
from labcrate.engine.engine import Engine

IGNORES_MEMORY = "this engine cannot enforce MEMORY_LIMIT, so a kernel may take all memory"
DELEGATE = (
    "give the engine the memory controller (rootless: `Delegate=yes`, see "
    "labcrate/docs/engines.md), or set MEMORY_LIMIT=0 in .env"
)


def report_limits(engine: Engine, memory_limit: int) -> None:
    """Say that a limit is ignored. memory_limit: in bytes; 0: none."""
    if memory_limit and not engine.limits_memory:
        output.say_error(f"{IGNORES_MEMORY}\n  fix: {DELEGATE}")
