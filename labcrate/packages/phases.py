"""What a change of the packages may do, what it did, and how long each part of it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from labcrate import output


@dataclass(frozen=True, kw_only=True)
class Options:
    """live: into the running lab, too. build: at once. upgrade: what the lock had may move.

    settle: all of the lock goes into the layer of the settled packages.
    """

    live: bool = True
    build: bool = True
    upgrade: bool = False
    settle: bool = False


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What a change did; empty in a dry run.

    rows: (name, where before, where after) of each entry of the lock that changed; "": not there.
    removed: what packages.in or apt.txt no longer asks for. live: the running lab was changed.
    built: there is a new image.
    """

    rows: tuple[tuple[str, str, str], ...] = ()
    removed: tuple[str, ...] = ()
    live: bool = False
    built: bool = False


@dataclass
class Phases:
    """How long each phase took, in seconds; each is announced as it begins."""

    seconds: dict[str, float] = field(default_factory=dict)

    def announce(self, name: str, what: str) -> None:
        output.say(f"{name}: {what}")
        self.seconds[name] = 0.0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started

    @contextmanager
    def __call__(self, name: str, what: str) -> Iterator[None]:
        self.announce(name, what)
        with self.timed(name):
            yield
