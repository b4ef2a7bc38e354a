"""Changing files of docker/ and the image's name together, or not at all: a kill -9 and a power
cut included.

A candidate folder holds the next docker/. Nothing else is touched until it was resolved, built and
verified. Then `commit_candidate` writes what was there before into one file, replaces the files,
moves the image's name, and deletes that file: that deletion is the commit. Whatever finds the file
later puts everything back.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from labcrate import environment

LOCAL = "local"
UNDO = "undo.json"
CANDIDATE = "candidate"
BY_ROOT = (
    "uv.lock",
    "torch.in",
    "torch.lock",
    "base.lock",
    "tensorboard.lock",
    "search.lock",
    "settled.lock",
)
"""Files of docker/ that only build steps of root read. They keep their modes, which are part of
what BuildKit compares: with others, a candidate would install PyTorch anew."""

HALF = ".*.new"
"""Files on their way to their name."""

Retag = Callable[[str], None]
"""Give the image with this id the lab's own name."""


def prepare_candidate(state: Path, docker: Path) -> Path:
    """A fresh candidate: docker/ as it is. Links become files: writing must not go through them."""
    discard_candidate(state)
    made = shutil.copytree(docker, state / CANDIDATE, ignore_dangling_symlinks=True)
    return Path(made)


def make_readable(candidate: Path) -> None:
    """Let everyone read a candidate or another copy, whatever the umask was: the lab's user does,
    in builds and in containers."""
    for path in (candidate, *candidate.rglob("*")):
        if path.is_symlink() or path in (candidate / name for name in BY_ROOT):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        runs = 0o111 if path.is_dir() or mode & 0o111 else 0
        path.chmod(mode | 0o444 | runs)


def discard_candidate(state: Path) -> None:
    shutil.rmtree(state / CANDIDATE, ignore_errors=True)


def commit_candidate(
    state: Path, docker: Path, *, old_image: str, new_image: str, retag: Retag
) -> None:
    """Make the prepared candidate the real thing. new_image: "" where none was built."""
    candidate = state / CANDIDATE
    fresh = sorted(local_archives(candidate) - local_archives(docker))
    changed = differing_files(docker, candidate)
    before = {name: (docker / name).read_text(encoding="utf-8") for name in changed}
    undo = {"files": before, "fresh": fresh, "image": old_image if new_image else ""}
    replace_file(state / UNDO, json.dumps(undo))
    for name in fresh:
        _copy(candidate / name, docker / name)
    for name in changed:
        replace_file(docker / name, (candidate / name).read_text(encoding="utf-8"))
    if new_image:
        retag(new_image)
    _commit(state)
    drop_unused_archives(docker)


def recover_commit(state: Path, docker: Path, retag: Retag) -> bool:
    """Put back what an interrupted commit left half done; whether there was any."""
    discard_candidate(state)
    for half in (*docker.glob(HALF), *state.glob(HALF)):
        half.unlink()
    path = state / UNDO
    if not path.exists():
        return False
    undo = json.loads(path.read_text(encoding="utf-8"))
    for name, text in undo["files"].items():
        replace_file(docker / name, text)
    for name in undo["fresh"]:
        (docker / name).unlink(missing_ok=True)
    if undo["image"]:
        retag(undo["image"])
    _commit(state)
    return True


def _commit(state: Path) -> None:
    """The deletion that makes everything before it valid, on the disk when this returns."""
    (state / UNDO).unlink()
    _sync(state)


def differing_files(docker: Path, candidate: Path) -> list[str]:
    """The files of docker/ itself that the candidate has with another text."""
    names = (path.name for path in docker.iterdir() if path.is_file())
    return sorted(n for n in names if (docker / n).read_bytes() != (candidate / n).read_bytes())


def local_archives(docker: Path) -> set[str]:
    """The local wheels and sdists below docker/. Each has a folder named after its content."""
    found = (path for path in docker.glob(f"{LOCAL}/*/*") if path.is_file())
    return {path.relative_to(docker).as_posix() for path in found}


def drop_unused_archives(docker: Path) -> None:
    """Delete the local wheels and sdists that packages.in no longer names."""
    asked = (docker / "packages.in").read_text(encoding="utf-8")
    for name in local_archives(docker):
        if name not in asked:
            (docker / name).unlink()
            with suppress(OSError):  # the owner put something of his own there
                (docker / name).parent.rmdir()
    if not local_archives(docker):
        shutil.rmtree(docker / LOCAL, ignore_errors=True)


def replace_file(path: Path, text: str) -> None:
    """Replace a file as a whole; it is the old one or the new one, never half of each.

    The new one is on the disk when this returns, under its name.
    """
    fresh = path.with_name(HALF.replace("*", path.name))
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        owner = path.stat()
        fresh.chmod(owner.st_mode & 0o777)
        if environment.is_root():
            os.chown(fresh, owner.st_uid, owner.st_gid)
    fresh.replace(path)
    _sync(path.parent)


def _copy(source: Path, target: Path) -> None:
    """Copy an archive, times included, onto the disk: a digest of a large one reads its time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    for path in (target, target.parent, target.parent.parent):
        _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
