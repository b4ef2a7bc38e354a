"""One changing task at a time in a clone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from labcrate import output, process
from labcrate.clone.env_file import if_there_is_room, writable
from labcrate.clone.ownership import closed
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError


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
    lock = filelock.FileLock(clone.state / "lock")
    holder = clone.state / "holder"
    # Without room for the lock itself, `down` and `clean` go on: they make room.
    with if_there_is_room():
        clone.state.mkdir(exist_ok=True)
        try:
            # Not 0: who took it this very moment has yet to leave its name.
            lock.acquire(timeout=0.3)
        except filelock.Timeout:
            who = (holder.read_text() if holder.exists() else "") or "another task"
            output.say(f"Waiting for {who} in this clone (Ctrl-C to give up).")
            lock.acquire()
    try:
        with if_there_is_room():
            holder.write_text(f"`invoke {what}` (process {os.getpid()})")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
