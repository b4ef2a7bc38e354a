"""What `invoke setup` makes in a clone: .env with its blanks filled in, and the owner's folders."""

from __future__ import annotations

import errno
import grp
import itertools
import os
import pwd
import re
import secrets
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from labcrate import environment, output, process
from labcrate.clone.chosen_ports import remember_ports
from labcrate.clone.env_file import fill, is_numeric_id, parse_env, read_text, write_private
from labcrate.clone.index_settings import put, write_package_settings
from labcrate.clone.lab_env import protect_lab_env
from labcrate.clone.named_folders import make_named_folders
from labcrate.clone.pip_settings import read_package_settings
from labcrate.clone.place import Clone
from labcrate.clone.ports import free_port, named_ports
from labcrate.clone.rootless import refuse_other_user
from labcrate.clone.rules import REQUIRED
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError

ARTICLE_PORTS = {"JUPYTER_PORT": 8888, "TENSORBOARD_PORT": 6006, "SEARCH_PORT": 8000}
"""The first choice for each port: the services' own defaults."""


def caller_ids(clone: Clone, rootless: bool = False) -> tuple[int, int]:
    """The uid and gid that files of the lab should belong to.

    In a rootless engine the caller is user 0 of its containers. Else never root: with sudo it is
    who called sudo, for root alone the clone's owner, else a user of the lab's own, so that no
    other account can read what the lab may.
    """
    if rootless:
        return 0, 0
    if not environment.is_root():
        return account_ids()
    if environment.variable("SUDO_UID") not in ("", "0"):
        return int(environment.variable("SUDO_UID")), int(environment.variable("SUDO_GID"))
    owner = clone.root.stat()
    return (owner.st_uid, owner.st_gid) if owner.st_uid else (unused_id(), unused_id())


def account_ids() -> tuple[int, int]:
    """The caller's uid and gid; in a shell of `newgrp docker` the gid that a login has."""
    uid, gid = environment.user_ids()
    with suppress(KeyError):
        if gid == grp.getgrnam("docker").gr_gid:
            return uid, pwd.getpwuid(uid).pw_gid
    return uid, gid


def unused_id(first: int = 1000) -> int:
    """The first id for ordinary users that no account and no group of this machine has."""
    return next(number for number in itertools.count(first) if not is_used(number))


def is_used(number: int) -> bool:
    """Whether an account or a group has an id; asked one by one, as directories list nothing."""
    for ask in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            ask(number)
            return True
    return False


def blanks(values: Mapping[str, str], clone: Clone, rootless: bool = False) -> dict[str, str]:
    """What `setup` fills in: each variable that has no value yet."""
    slug = re.sub(r"[^a-z0-9]+", "-", clone.root.name.lower()).strip("-") or "clone"
    uid, gid = caller_ids(clone, rootless)
    fresh: dict[str, Callable[[], str]] = {
        "JUPYTER_TOKEN": lambda: secrets.token_hex(24),
        "LAB_UID": lambda: str(uid),
        "LAB_GID": lambda: str(gid),
        # The random part keeps two clones of one name apart, also on a shared server.
        "COMPOSE_PROJECT_NAME": lambda: f"lab-{slug[:20].strip('-')}-{secrets.token_hex(3)}",
        "HOST_WHEELS": lambda: next(map(str, read_package_settings().find_links), ""),
        "COMPOSE_FILE": lambda: "compose/compose.yaml",
    }
    filled = {name: make() for name, make in fresh.items() if not values.get(name)}
    taken = named_ports(values)
    for name, first in ARTICLE_PORTS.items():
        # A .env from before the search page is right without its port.
        if not values.get(name) and (name in values or name in REQUIRED):
            filled[name] = str(free_port(first, taken))
            taken.add(int(filled[name]))
    return {name: value for name, value in filled.items() if value}


def ensure_env_file(clone: Clone, rootless: bool = False) -> None:
    """Write .env, or fill in what is missing from it; lab.env becomes private, too.

    rootless: whether the engine is.
    """
    if not process.is_dry() and protect_lab_env(clone):
        output.setup_row("lab.env", "made private (mode 600)")
    path = clone.env_file
    existed = path.exists()
    text = read_text(path if existed else clone.example_file)
    values = parse_env(text)
    ids = [values.get(name, "") for name in ("LAB_UID", "LAB_GID")]
    if all(map(is_numeric_id, ids)):
        refuse_other_user(rootless, (int(ids[0]), int(ids[1])))
    missing = blanks(values, clone, rootless)
    if existed:
        # An empty HOST_WHEELS is the user's choice in a file that he has seen.
        missing.pop("HOST_WHEELS", None)
    if existed and not missing:
        private = not path.stat().st_mode & 0o077
        if not private and not process.is_dry():
            path.chmod(0o600)
        output.setup_row(".env", "already there" if private else "made private (mode 600)")
        return
    if not process.is_dry():
        write_private(path, fill(text, missing))
        remember_ports(clone, {name: missing[name] for name in ARTICLE_PORTS if name in missing})
    state = "filled in" if existed else "written, mode 600"
    output.setup_row(".env", f"{state}: {', '.join(missing)}")


def ensure_folders(settings: Settings, quiet: bool = False) -> None:
    """Make the owner's folders, so that the engine does not make them as root."""
    missing = [path for path in settings.folders if not path.is_dir()]
    given: list[Path] = []
    made: list[str] = []
    if not process.is_dry():
        for path in missing:
            _make_folder(path)
        owner = (settings.uid, settings.gid)
        given = [p for p in settings.folders if environment.is_root() and give(p, owner)]
        made = make_named_folders(settings)
    names = ", ".join(dict.fromkeys([*(path.name for path in (*missing, *given)), *made]))
    if not quiet or names:
        output.setup_row("folders", f"made ready: {names}" if names else "already there")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(
            f"the folder {path} cannot be made: {error.strerror}",
            fix="remove what is there, or set ROOT_DIR in .env to another folder",
            code=Code.FOLDER,
        ) from None


def give(path: Path, owner: tuple[int, int], spared: Sequence[str] = ()) -> bool:
    """Hand root's files in a folder of the lab to a user; whether anything changed.

    A notebook may swap what is in there at any moment, so no name is ever looked up from the top:
    each file is reached through the folder that was opened before it. A folder that is itself a
    link is left alone, because where it leads may be such a place. spared: folders in it whose
    files are not looked at.
    """
    if owner[0] == 0:
        return False
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return False
        raise
    try:
        changed = os.fstat(top).st_uid == 0
        if changed:
            os.chown(top, *owner)
        for where, folders, files, folder in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            if where == ".":
                folders[:] = [name for name in folders if name not in spared]
            given = [name for name in (*folders, *files) if _give_one(name, folder, owner)]
            changed = changed or bool(given)
    finally:
        os.close(top)
    return changed


def _give_one(name: str, folder: int, owner: tuple[int, int]) -> bool:
    """Hand over one file of root's in an open folder; whether it was one."""
    with suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        # A file with a second name may be known by it anywhere on this disk.
        single = stat.S_ISDIR(found.st_mode) or found.st_nlink == 1
        if found.st_uid == 0 and single:
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
            return True
    return False


def refresh_package_settings(settings: Settings, quiet: bool = False) -> None:
    """Bring what this host says about package indexes to where builds and the lab read it.

    quiet: say nothing where nothing changed.
    """
    owner = (settings.uid, settings.gid)
    changed = write_package_settings(settings.clone, owner, bool(settings.host_wheels))
    state = "copied from this host" if changed else "already up to date"
    if changed or not quiet:
        output.setup_row("package settings", state)
    for note in fresh_notes(settings, read_package_settings().notes):
        output.say(f"    {note}")


def fresh_notes(settings: Settings, notes: Sequence[str]) -> Sequence[str]:
    """What is to be said of the package settings: all of it, once, and again after a change."""
    if process.is_dry():
        return notes
    text = "".join(f"{note}\n" for note in notes)
    path, owner = settings.clone.state / "package-notes", (settings.uid, settings.gid)
    return notes if put(path, text.encode(), owner) else ()
