"""Whose the files of a clone are: its owner's, also after a task that root ran in it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labcrate import environment, process
from labcrate.clone.fresh import give
from labcrate.clone.place import Clone, find_clone
from labcrate.clone.rules import FOLDERS
from labcrate.errors import Code, LabError

SPARED = (*FOLDERS, ".git")
"""The folders at a clone's top that no task writes to without giving them to the lab's user."""


@contextmanager
def owner_kept() -> Iterator[None]:
    """Hand what root writes into another user's clone to that user, however the task ends.

    After one `sudo`, its owner could neither take the lock nor change a list of packages.
    """
    try:
        yield
    finally:
        if environment.is_root() and not process.is_dry():
            with suppress(LabError, OSError):
                restore_owner(find_clone())


def restore_owner(clone: Clone) -> None:
    """Root's own clone stays root's."""
    found = clone.root.stat()
    if found.st_uid != 0:
        give(clone.root, (found.st_uid, found.st_gid), spared=SPARED)


def not_permitted(error: OSError) -> LabError | None:
    """What to do about a file of the clone that is not this user's; None for any other error."""
    if error.errno not in (errno.EACCES, errno.EPERM) or not isinstance(error.filename, str):
        return None
    try:
        clone = find_clone()
    except LabError:
        return None
    path = clone.here / error.filename
    return closed(clone, path) if path.is_relative_to(clone.root) else None


def closed(clone: Clone, path: Path) -> LabError:
    """A file of the clone that this user may not use. sudo made it, where the clone is his own."""
    mine = clone.root.stat().st_uid == environment.user_ids()[0]
    top = clone.root.joinpath(*path.relative_to(clone.root).parts[:1])
    return LabError(
        f"this user may not use {path}, because it belongs to somebody else",
        fix=f"sudo chown -R $(id -u):$(id -g) '{top}', then the same command again, without sudo"
        if mine
        else "work in a clone of your own",
        code=Code.FOLDER,
    )
