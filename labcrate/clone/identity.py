"""Which clone a lab belongs to: a clone that moved takes its lab along, and a copy is another lab.

`.labcrate/place` holds the folder that the state beside it was made in: its path, its number on the
disk, and the lab's name. It moves with the folder, and it is copied with it. A moved folder keeps
its number; on another disk, whether the old folder is still there tells the two apart.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labcrate import output, process
from labcrate.clone.chosen_ports import remember_ports
from labcrate.clone.env_file import fill, if_there_is_room, read_env, read_text, write_private
from labcrate.clone.place import Clone
from labcrate.clone.ports import PORTS, free_port, named_ports
from labcrate.errors import Code, LabError

PLACE = "place"
NAME = "COMPOSE_PROJECT_NAME"

OF_THE_ORIGINAL = (
    "gpu.json",
    "candidate",
    "undo.json",
    "clean-records",
    "build.json",
    "images.json",
    "open.html",
)
"""State that is about the original's images and containers. The rest is made anew, or is alike."""


@dataclass(frozen=True)
class Place:
    """A clone's folder, its device and inode, and the lab's name; "" is what nothing says."""

    folder: str = ""
    device: str = ""
    inode: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.folder}\n{self.device}:{self.inode} {self.name}\n"


WRITTEN = re.compile(r"(.*?)(?:\n(\d+):(\d+) ([^\n]*))?\n?", re.DOTALL)
"""A place as its file has it. An older version wrote the folder alone."""


def place_file(clone: Clone) -> Path:
    return clone.state / PLACE


def original_of(clone: Clone) -> Path | None:
    """The clone that this one is a copy of; None where it is itself, or was moved.

    A copy has its original's name. It has a folder of its own on the original's disk, or the
    original is still there. One that may not be read is somebody else's, and so it is not this one
    that moved.
    """
    before, now = recorded_place(clone), place_of(clone)
    if not before.folder or before.folder == now.folder:
        return None
    original = Path(before.folder)
    if before.device == now.device and now.name and before.name == now.name:
        return original if before.inode != now.inode else None
    try:
        if original.samefile(clone.root):
            return None
        other = read_env(Clone(root=original, here=original).env_file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, LabError):
        return original
    return original if now.name and now.name == other.get(NAME) else None


def is_gone(folder: Path) -> bool:
    """Whether nothing is there any more. What may not be looked at may be there."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def recorded_place(clone: Clone) -> Place:
    """The folder that the state was made in."""
    try:
        written = WRITTEN.fullmatch(place_file(clone).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return Place()
    return Place(*written.groups("")) if written else Place()


def place_of(clone: Clone) -> Place:
    """Where the clone is now. A damaged .env names no lab: whoever needs it reports that."""
    folder = clone.root.stat()
    try:
        name = read_env(clone.env_file).get(NAME, "")
    except (OSError, LabError):
        name = ""
    return Place(shown_root(clone), str(folder.st_dev), str(folder.st_ino), name)


def shown_root(clone: Clone) -> str:
    """The clone's folder as text that any file can hold."""
    return str(clone.root).encode("utf-8", "backslashreplace").decode()


def refuse_copy(clone: Clone) -> None:
    """Two clones of one name would take each other's containers, images and volume for theirs."""
    original = original_of(clone)
    if original:
        gone = ", which was moved or deleted since" if is_gone(original) else ""
        raise LabError(
            f"this clone is a copy of {original}{gone}, and has its name: the lab would be the "
            "same one",
            fix="invoke setup (gives this copy a name, ports and a token of its own)",
            code=Code.SETTINGS,
        )


def settle(clone: Clone) -> None:
    """Remember where the clone is, or follow it to where it was moved; refuse a copy.

    Call it with the clone's lock held.
    """
    refuse_copy(clone)
    now = place_of(clone)
    if recorded_place(clone) != now and not process.is_dry():
        with if_there_is_room():
            clone.state.mkdir(exist_ok=True)
            write_private(place_file(clone), str(now))


def part_from_original(clone: Clone) -> None:
    """Make a copy a clone of its own: blank what `setup` then fills in, drop what is not its.

    The state goes first: once .env has no name of the original's, nothing shows a copy any more.
    """
    original = original_of(clone)
    if original is None:
        return
    output.setup_row("copy", f"of {original}; it gets a name, ports and a token of its own")
    if process.is_dry():
        return
    for name in OF_THE_ORIGINAL:
        path = clone.state / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    text = read_text(clone.env_file)
    anew = values_anew(read_env(clone.env_file))
    write_private(clone.env_file, fill(text, anew))
    remember_ports(clone, {name: anew[name] for name in PORTS if name in anew})


def values_anew(before: Mapping[str, str]) -> dict[str, str]:
    """What no two labs may share, as a copy gets it; "" is for `setup` to fill in.

    Other ports than the original's, also while that one is down and they are free.
    """
    anew = {NAME: "", "JUPYTER_TOKEN": ""}
    taken = named_ports(before)
    for name in PORTS:
        if before.get(name, "").isdigit():
            port = free_port(int(before[name]) + 1, taken)
            taken.add(port)
            anew[name] = str(port)
    if before.get("BASE_IMAGE", "").startswith(f"{before[NAME]}/"):
        # `setup` built it for the original, whose clean-up takes it away.
        anew["BASE_IMAGE"] = ""
    return anew
