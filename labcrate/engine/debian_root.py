"""The file system of a small Debian or Ubuntu as an archive, and what a killed try of it leaves."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labcrate import environment, process
from labcrate.clone.env_file import write_private
from labcrate.clone.place import Clone
from labcrate.engine.install import sudo
from labcrate.errors import LabError

PREFIX = "labcrate-"
MOUNTS = Path("/proc/self/mountinfo")
SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))


def build_note(clone: Clone) -> Path:
    """Which process works in which folder: the next `setup` removes the folder of a killed one."""
    return clone.state / "base-folder"


def build_command(suite: str, mirror: str, archive: Path) -> tuple[str, ...]:
    """mmdebstrap as root; or as this user, where Debian's uidmap and ids of his own are there."""
    prefix: tuple[str, ...] = ()
    if environment.is_root():
        mode = "root"
    elif environment.command_path("newuidmap") and has_subordinate_ids():
        mode = "unshare"
    else:
        prefix, mode = sudo(), "root"
    # sudo drops variables, so env sets it. All that is written lies in one folder.
    place = ("env", f"TMPDIR={archive.parent}")
    options = (f"--mode={mode}", "--variant=minbase", "--include=ca-certificates")
    return (*prefix, *place, "mmdebstrap", *options, suite, str(archive), mirror)


def has_subordinate_ids() -> bool:
    """Whether this user owns ids to map a container's users to; directory accounts often do not."""
    names = {environment.user_name(), str(environment.user_ids()[0])} - {""}
    texts = [path.read_text() if path.is_file() else "" for path in SUBORDINATE]
    return all(names & set(re.findall("^([^:]+):", text, re.MULTILINE)) for text in texts)


@contextmanager
def work_folder(clone: Clone) -> Iterator[Path]:
    """A folder for a build, gone at its end."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    # In mode unshare other ids than this user's pass through it.
    folder.chmod(0o755)
    clone.state.mkdir(exist_ok=True)
    write_private(build_note(clone), f"{os.getpid()} {folder}\n")
    try:
        yield folder
    finally:
        _remove(folder)
        if not folder.exists():
            build_note(clone).unlink(missing_ok=True)


def remove_killed_build(clone: Clone) -> None:
    """Remove the folder of a build that was killed, with the file systems mounted in it."""
    record = build_note(clone)
    if process.is_dry() or not record.is_file():
        return
    pid, _, name = record.read_text().strip().partition(" ")
    folder = Path(name)
    if pid.isdigit() and Path("/proc", pid).exists():
        return
    if is_work_folder(folder):
        _remove(folder)
    if not folder.exists():
        record.unlink()


def is_work_folder(folder: Path) -> bool:
    """Whether this user made it for a build: what stands in a file may be anything."""
    if folder.parent != Path(tempfile.gettempdir()) or not folder.name.startswith(PREFIX):
        return False
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == environment.user_ids()[0]


def _remove(folder: Path) -> None:
    """A folder that still has something mounted in it stays, for the sake of what that is."""
    with suppress(LabError):
        for mount in mounts_below(folder, MOUNTS.read_text()):
            process.change((*sudo(), "umount", "--lazy", mount), quiet=True)
        if not list(mounts_below(folder, MOUNTS.read_text())):
            shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            command = (*sudo(), "rm", "--recursive", "--force", "--one-file-system", str(folder))
            process.change(command, quiet=True)


def mounts_below(folder: Path, mountinfo: str) -> Iterator[str]:
    """The mount points in a folder, the last mounted first."""
    for line in reversed(mountinfo.splitlines()):
        point = line.split(" ")[4]
        if Path(point).is_relative_to(folder):
            yield point
