"""The files of docker/ that say what is wanted: read, rewritten, and local projects packed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labcrate.clone.place import Clone
from labcrate.packages.editable import pack_editable
from labcrate.packages.live import INSIDE
from labcrate.packages.locks import Pin, parsed_lines, read_pins, requirement_lines
from labcrate.packages.pack import pack_project, read_archive
from labcrate.packages.requested import Wanted
from labcrate.packages.transaction import LOCAL

UV = (sys.executable, "-m", "uv")
"""The uv of this environment, whether its folder is on PATH or not."""


def asked_lines(folder: Path) -> dict[str, str]:
    """name -> line of each requirement of packages.in. LabError names a line that is none."""
    text = (folder / "packages.in").read_text(encoding="utf-8")
    parsed = parsed_lines(text, "docker/packages.in")
    return {canonicalize_name(requirement.name): line for line, requirement in parsed}


def system_packages(folder: Path) -> list[str]:
    """The names in apt.txt."""
    return requirement_lines((folder / "apt.txt").read_text(encoding="utf-8"))


def locked_pins(folder: Path) -> dict[str, Pin]:
    return read_pins(folder / "packages.lock")


def base_pins(folder: Path) -> dict[str, Pin]:
    """What the base's locks hold; the image itself has the last word, when it resolves."""
    layers = [read_pins(folder / f"{name}.lock") for name in ("torch", "base")]
    return {name: pin for layer in layers for name, pin in layer.items()}


def already_there(wanted: Wanted, folder: Path) -> str:
    """Why there is nothing to do for a requirement; "" where there is something."""
    if wanted.path or wanted.requirement.url:
        return ""
    spec, bare = wanted.requirement.specifier, not wanted.requirement.extras
    held = base_pins(folder).get(wanted.name)
    if held and bare and spec.contains(held.version, prereleases=True):
        return f"{wanted.name} {held.version} is in the base already"
    pin, line = locked_pins(folder).get(wanted.name), asked_lines(folder).get(wanted.name, "")
    if pin and line and (line == wanted.line or (bare and not spec)):
        return f"{wanted.name} {pin.where} is there already"
    return ""


def project_name(line: str) -> str:
    """The project that a valid requirement line names."""
    return canonicalize_name(Requirement(line).name)


def rewrite_lines(
    path: Path, wanted: Mapping[str, str], name_of: Callable[[str], str] = project_name
) -> None:
    """Give a file exactly the wanted lines; those that stay keep their place and comments."""
    left = dict(wanted)
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        bare = requirement_lines(line)
        if not bare:
            kept.append(line)
        elif new := left.pop(name_of(bare[0]), ""):
            kept.append(line if bare[0] == new else new)
    path.write_text("".join(f"{line}\n" for line in (*kept, *left.values())), encoding="utf-8")


def stage_wanted(
    wanted: Wanted, candidate: Path, clone: Clone, folders: Sequence[Path] = ()
) -> Wanted:
    """Put a local wheel or project into the candidate, where builds find it.

    folders: those that the lab mounts, for editable projects.
    """
    if wanted.path is None:
        return wanted
    if wanted.name:
        name, file, data = wanted.name, wanted.path.name, read_archive(wanted.path, clone)
    elif wanted.editable:
        name, data = pack_editable(wanted.path, clone, folders)
        file = f"{name}.editable.tar.gz"
    else:
        name, data = pack_project(wanted.path, clone)
        file = f"{name}.tar.gz"
    # A folder named after the content: another build of the same version gets another address.
    folder = Path(LOCAL) / sha256(data).hexdigest()[:12]
    (candidate / folder).mkdir(parents=True, exist_ok=True)
    (candidate / folder / file).write_bytes(data)
    return Wanted(name=name, line=f"{name} @ file://{INSIDE}/{folder.as_posix()}/{file}")
