"""What is asked for, locked, built and running, beside each other; and what may be removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.lab.snapshot import Snapshot
from labcrate.packages.live import Installed, in_image, installed_by_hand
from labcrate.packages.locks import Pin
from labcrate.packages.names import nearest_names
from labcrate.packages.sources import asked_lines, base_pins, locked_pins

HEADINGS = ("package", "asked for", "locked", "image", "running", "note")
"""The keys of a row, in the order of a table."""


def overview_rows(
    clone: Clone, image: Mapping[str, Installed], running: Mapping[str, Installed]
) -> list[dict[str, str]]:
    """A row for each package that was asked for, is locked, or was installed by hand."""
    lines, pins = asked_lines(clone.docker), locked_pins(clone.docker)
    hand = installed_by_hand(running, image)
    names = sorted({*lines, *pins, *hand})
    return [
        {
            "package": name,
            "asked for": lines.get(name, ""),
            "locked": pins[name].where if name in pins else "",
            "image": image[name].version if name in image else "",
            "running": running[name].version if name in running else "",
            "note": _note(name, pins, image, hand),
        }
        for name in names
    ]


def _note(
    name: str, pins: Mapping[str, Pin], image: Mapping[str, Installed], hand: Sequence[str]
) -> str:
    if name in hand and name not in pins:
        return "by hand: invoke capture keeps it"
    if name in pins and image and name not in image:
        return "not in the image yet: invoke up"
    return "the running lab differs from the image" if name in hand else ""


def needed_by(name: str, installed: Mapping[str, Installed]) -> list[str]:
    """The distributions that need this one."""
    return sorted(other for other, one in installed.items() if name in one.needs)


def refuse_unasked(snapshot: Snapshot, names: Sequence[str]) -> None:
    """Refuse to remove what packages.in does not ask for, and say who needs it."""
    asked = asked_lines(snapshot.lab.clone.docker)
    for name in names:
        if name not in asked:
            raise _not_asked(snapshot, name, asked)


def _not_asked(snapshot: Snapshot, name: str, asked: Mapping[str, str]) -> LabError:
    docker = snapshot.lab.clone.docker
    locked = locked_pins(docker)
    if name in base_pins(docker):
        problem, fix = f"{name} belongs to the base", "nothing to do: the base stays as it is"
    elif name in locked:
        others = [one for one in needed_by(name, in_image(snapshot)) if one in locked]
        needing = ", ".join(others) or "another package"
        problem = f"{name} was not asked for: {needing} needs it"
        fix = f"invoke remove-package {others[0]}" if others else "invoke packages"
    else:
        near = nearest_names(name, asked)
        problem = f"{name} is not among the added packages"
        fix = f"did you mean {near[0]}?" if near else "invoke packages (shows them)"
    return LabError(problem, fix=fix, code=Code.PACKAGE_UNKNOWN)
