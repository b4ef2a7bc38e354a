"""The list of all acts, by their IDs in docs/owner.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from owner import Owner

Act = Callable[[Owner], AbstractContextManager[None]]

ACTS: dict[str, Act] = {}


def act(body: Callable[[Owner], Iterator[None]]) -> Act:
    """Register an act under the name of its function. It yields for the test command."""
    made = contextmanager(body)
    ACTS[body.__name__.replace("_", "-")] = made
    return made
