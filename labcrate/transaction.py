"""Changing files of docker/ and the image's name together, or not at all, kill -9 included.

A candidate folder holds the next docker/. Nothing else is touched until it was resolved, built and
verified. Then `commit` writes what was there before into one file, replaces the files, moves the
image's name, and deletes that file: that deletion is the commit. Whatever finds the file later puts
everything back.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

LOCAL = "local"
UNDO = "undo.json"
CANDIDATE = "candidate"
HALF = ".*.new"
"""Files on their way to their name."""

Retag = Callable[[str], None]
"""Give the image with this id the lab's own name."""


def prepare(state: Path, docker: Path) -> Path:
    """A fresh candidate: docker/ as it is."""
    discard(state)
    return Path(shutil.copytree(docker, state / CANDIDATE))


def discard(state: Path) -> None:
    shutil.rmtree(state / CANDIDATE, ignore_errors=True)


def commit(
    state: Path, docker: Path, candidate: Path, *, old_image: str, new_image: str, retag: Retag
) -> None:
    """Make the candidate the real thing. new_image: empty where none was built."""
    fresh = sorted(archives(candidate) - archives(docker))
    changed = differing(docker, candidate)
    before = {name: (docker / name).read_text(encoding="utf-8") for name in changed}
    undo = {"files": before, "fresh": fresh, "image": old_image if new_image else ""}
    replace(state / UNDO, json.dumps(undo))
    for name in fresh:
        (docker / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(candidate / name, docker / name)
    for name in changed:
        replace(docker / name, (candidate / name).read_text(encoding="utf-8"))
    if new_image:
        retag(new_image)
    (state / UNDO).unlink()
    drop_unused(docker)


def recover(state: Path, docker: Path, retag: Retag) -> bool:
    """Put back what an interrupted commit left half done; whether there was any."""
    discard(state)
    for half in (*docker.glob(HALF), *state.glob(HALF)):
        half.unlink()
    path = state / UNDO
    if not path.exists():
        return False
    undo = json.loads(path.read_text(encoding="utf-8"))
    for name, text in undo["files"].items():
        replace(docker / name, text)
    for name in undo["fresh"]:
        (docker / name).unlink(missing_ok=True)
    if undo["image"]:
        retag(undo["image"])
    path.unlink()
    return True


def differing(docker: Path, candidate: Path) -> list[str]:
    """The files of docker/ itself that the candidate has with another text."""
    names = (path.name for path in docker.iterdir() if path.is_file())
    return sorted(n for n in names if (docker / n).read_bytes() != (candidate / n).read_bytes())


def archives(docker: Path) -> set[str]:
    """The local wheels and sdists below docker/. Each has a folder named after its content."""
    return {path.relative_to(docker).as_posix() for path in docker.glob(f"{LOCAL}/*/*")}


def drop_unused(docker: Path) -> None:
    """Delete the local wheels and sdists that packages.in no longer names."""
    asked = (docker / "packages.in").read_text(encoding="utf-8")
    for name in archives(docker):
        if name not in asked:
            (docker / name).unlink()
            (docker / name).parent.rmdir()
    if not archives(docker):
        shutil.rmtree(docker / LOCAL, ignore_errors=True)


def replace(path: Path, text: str) -> None:
    """Replace a file as a whole; it is the old one or the new one, never half of each."""
    fresh = path.with_name(HALF.replace("*", path.name))
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        owner = path.stat()
        fresh.chmod(owner.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(fresh, owner.st_uid, owner.st_gid)
    fresh.replace(path)
