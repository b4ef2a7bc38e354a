"""Which clone a lab belongs to: a clone that moved takes its lab along, and a copy is another lab.

`.labcrate/place` holds the folder that the state beside it was made in. It moves with the folder,
and it is copied with it: what it says, and whether that is still there, tells the two apart.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
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


def place_file(clone: Clone) -> Path:
    return clone.state / PLACE


def original_of(clone: Clone) -> Path | None:
    """The clone that this one is a copy of; None where it is itself, or was moved.

    A copy has its original's name, and the original is still there. One that may not be read is
    somebody else's, and so it is not this one that moved.
    """
    found = recorded_place(clone)
    if not found or found == shown_root(clone):
        return None
    original = Path(found)
    try:
        if original.samefile(clone.root):
            return None
        other = read_env(Clone(root=original, here=original).env_file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, LabError):
        return original
    own = read_env(clone.env_file) if clone.env_file.exists() else {}
    return original if own.get(NAME) and own.get(NAME) == other.get(NAME) else None


def recorded_place(clone: Clone) -> str:
    """The folder that the state was made in; "" while nothing says so."""
    try:
        return place_file(clone).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        return ""


def shown_root(clone: Clone) -> str:
    """The clone's folder as text that any file can hold."""
    return str(clone.root).encode("utf-8", "backslashreplace").decode()


def refuse_copy(clone: Clone) -> None:
    """Two clones of one name would take each other's containers, images and volume for theirs."""
    original = original_of(clone)
    if original:
        raise LabError(
            f"this clone is a copy of {original}, and has its name: the lab would be the same one",
            fix="invoke setup (gives this copy a name, ports and a token of its own)",
            code=Code.SETTINGS,
        )


def settle(clone: Clone) -> None:
    """Remember where the clone is, or follow it to where it was moved; refuse a copy.

    Call it with the clone's lock held.
    """
    refuse_copy(clone)
    if recorded_place(clone) != shown_root(clone) and not process.is_dry():
        with if_there_is_room():
            clone.state.mkdir(exist_ok=True)
            write_private(place_file(clone), shown_root(clone) + "\n")


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
