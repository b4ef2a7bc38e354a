"""One changing task at a time in a clone.

The lock is flock's: the system gives it back however its holder ends. The processes that a holder
waits for keep it too. So where a task is killed, the next one waits until the Compose that the
killed one had started is done.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from labcrate import output, process
from labcrate.clone.env_file import if_there_is_room, writable
from labcrate.clone.ownership import closed
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError

QUIET_S = 0.3
"""Seconds to wait without a word. A task that has just taken the lock leaves its name a moment
later."""


def refuse_read_only(clone: Clone) -> None:
    if not writable(clone.root):
        raise LabError(
            f"this clone is read-only: {clone.root}",
            fix="clone it to a place that you can write to",
            code=Code.FOLDER,
        )
    if clone.state.is_dir() and not writable(clone.state):
        raise closed(clone, clone.state)


@contextmanager
def locked(clone: Clone, what: str) -> Iterator[None]:
    """Hold the clone's lock; a second task says whom it waits for. what: the verb."""
    if process.is_dry():
        # A dry run changes nothing, so it need not wait, and must not make .labcrate either.
        yield
        return
    refuse_read_only(clone)
    holder = clone.state / "holder"
    lock: IO[str] | None = None
    # Without room for the lock itself, `down` and `clean` go on: they make room.
    with if_there_is_room():
        clone.state.mkdir(exist_ok=True)
        lock = _taken(clone.state / "lock", holder)
    try:
        with if_there_is_room():
            holder.write_text(f"`invoke {what}` (process {os.getpid()})")
        with process.keeping(lock):
            yield
    finally:
        holder.unlink(missing_ok=True)
        if lock:
            # Not by closing alone: a process that runs on may have the file open, too.
            fcntl.flock(lock, fcntl.LOCK_UN)
            lock.close()


def _taken(path: Path, holder: Path) -> IO[str]:
    """The lock's file, open and locked. Whoever removes .labcrate by hand removes it, too."""
    while True:
        lock = path.open("a")
        try:
            _wait_for(lock, holder)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()


def _wait_for(lock: IO[str], holder: Path) -> None:
    deadline = time.monotonic() + QUIET_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(QUIET_S / 10)
        else:
            return
    who = (holder.read_text() if holder.exists() else "") or "another task"
    output.say(f"Waiting for {who} in this clone (Ctrl-C to give up).")
    fcntl.flock(lock, fcntl.LOCK_EX)
