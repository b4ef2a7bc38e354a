"""Parts of the facts: one that crashes costs its own line and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from labcrate.doctor.deadline import DeadlineStarter
from labcrate.lab.containers import Unanswered

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")


class Parts:
    """crashed: (part, error) of each part that could not be read."""

    def __init__(self, starter: DeadlineStarter) -> None:
        self.starter = starter
        self.crashed: list[tuple[str, str]] = []

    def read_part(
        self, what: str, default: D, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | D:
        """What `read` returns; the default where it crashes or its question came too late."""
        try:
            return read(*args, **kwargs)
        except Exception as error:
            late = isinstance(error, Unanswered) and self.starter.cut
            if not late:
                self.crashed.append((what, f"{type(error).__name__}: {error}"))
            return default
