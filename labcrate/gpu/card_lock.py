"""One lock for all users of this machine: who chooses a free card holds it until his lab has it.

It is flock's, so the system gives it back however its holder ends. The file holds nothing.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from labcrate import output, process
from labcrate.errors import Code, LabError

PLACES = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - opened with care below
"""Folders of the machine that all users can write to, best first. All users find the same one."""

NAME = "labcrate-gpu.lock"

STICKY = 0o1777
"""The mode of such a folder: everyone may write, and remove only what is his own."""

QUIET_S = 1.0
"""Seconds to wait without a word: another lab starts in two."""


@contextmanager
def cards_locked(*, kept: bool = True) -> Iterator[Callable[[], None]]:
    """Hold the lock; what it yields gives it back earlier.

    kept: processes that are waited for keep it, too. Where a task is killed, the Compose that it
    has started brings the lab up, and only then another lab chooses.
    """
    lock = _taken(_shared() / NAME)

    def release() -> None:
        # Not by closing alone: a process that runs on may have the file open, too.
        fcntl.flock(lock, fcntl.LOCK_UN)

    try:
        with process.keeping(lock if kept else None):
            yield release
    finally:
        release()
        lock.close()


def _shared() -> Path:
    for path in PLACES:
        if path.is_dir() and stat.S_IMODE(path.stat().st_mode) & STICKY == STICKY:
            return path
    raise LabError(
        f"no folder of this machine is open to all its users: {', '.join(map(str, PLACES))}",
        fix="sudo chmod 1777 /tmp",
        code=Code.FOLDER,
    )


def _taken(path: Path) -> IO[str]:
    """The lock's file, open and locked. Root may remove it meanwhile: then there is a new one."""
    while True:
        lock = os.fdopen(_opened(path))
        try:
            _wait_for(lock)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()


def _opened(path: Path) -> int:
    """The file of the lock, made where there is none; never another one behind a link.

    Opened for reading: that is enough for a lock, and nothing is ever written to it.
    """
    safe = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        while True:
            try:
                found = os.open(path, os.O_RDONLY | safe)
                break
            except FileNotFoundError:
                _make(path, safe)
    except OSError as error:
        raise _unusable(path) from error
    if stat.S_ISREG(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise _unusable(path)


def _make(path: Path, safe: int) -> None:
    # The mode must be there at once: another user may open it before a chmod.
    before = os.umask(0)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | safe, 0o666))
    except FileExistsError:
        return
    finally:
        os.umask(before)


def _unusable(path: Path) -> LabError:
    try:
        whose = f", of {path.owner()}"
    except (OSError, KeyError):
        whose = ""
    return LabError(
        f"{path}{whose} is not a lock that all users of this machine can open",
        fix=f"sudo rm -r {path}",
        code=Code.FOLDER,
    )


def _wait_for(lock: IO[str]) -> None:
    deadline = time.monotonic() + QUIET_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(QUIET_S / 20)
        else:
            return
    output.say("Waiting while another lab of this machine takes a card (Ctrl-C to give up).")
    fcntl.flock(lock, fcntl.LOCK_EX)
