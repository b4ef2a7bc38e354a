"""The container's folders that .env names, made on this machine before the engine makes them.

The engine would make them as root, and then no notebook could be saved there.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from labcrate import environment
from labcrate.clone.rules import FOLDERS
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError


def make_named_folders(settings: Settings) -> list[str]:
    """Make JUPYTER_DIR and TENSORBOARD_DIR, for the lab's user; those that were missing."""
    named = {"JUPYTER_DIR": settings.jupyter_dir, "TENSORBOARD_DIR": settings.tensorboard_dir}
    owner = (settings.uid, settings.gid)
    return [d for name, d in named.items() if make_named(name, d, settings.root_dir, owner)]


def make_named(variable: str, value: str, root: Path, owner: tuple[int, int]) -> bool:
    """Make the folder that a variable names; whether it was missing. root: /lab on this machine.

    Step by step through open folders: a notebook may put a link in the way at any moment, so no
    name is looked up from the top.
    """
    first, *parts = PurePosixPath(value).relative_to("/lab").parts
    made = False
    folder = os.open(root / first, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            fresh = _make_one(part, folder)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
            if fresh and environment.is_root() and owner[0]:
                os.chown(folder, *owner)
            made = made or fresh
    except OSError as error:
        if not _is_link(part, folder):
            why = f"{part}: {os.strerror(error.errno or 0)}"
        elif _stays_inside(root, Path(first, *parts)):
            return made
        else:
            why = f"{part} is a symbolic link, which leads to no folder of the lab"
        raise LabError(
            f"{variable}={value} cannot be made: {why}",
            fix=f"remove what is there, or set {variable} in .env to another folder",
            code=Code.FOLDER,
        ) from None
    finally:
        os.close(folder)
    return made


def _make_one(name: str, folder: int) -> bool:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        return True
    return False


def _is_link(name: str, folder: int) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _stays_inside(root: Path, named: Path) -> bool:
    """Whether a path with links in it ends at a folder that the lab has, too."""
    found = (root / named).resolve()
    return found.is_dir() and any(found.is_relative_to((root / name).resolve()) for name in FOLDERS)
