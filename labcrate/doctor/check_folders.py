"""The doctor's checks of the owner's folders: who may write, and what lies at their top."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from labcrate.doctor.facts import Facts, Folder, Link
from labcrate.doctor.findings import Finding

INSIDE = PurePosixPath("/lab")
"""Where the owner's folders are mounted in the container."""

IN_IMAGE = ("/usr", "/etc", "/bin", "/lib", "/dev", "/proc", "/sys")
"""The container has these too, so a link to them is not dead in there."""

SHOWN = 3
"""Files, or links, that are named; a data set can have thousands."""

WRITE = 0o3
"""To make files in a folder takes the right to write and the right to enter."""


def check_folders(facts: Facts) -> Iterator[Finding]:
    """The lab's user must be able to write into the folders, and to change what is in them."""
    missing = [folder.path.name for folder in facts.folders if not folder.exists]
    if missing:
        yield Finding(
            severity="error",
            check="folders",
            problem=f"folders of the lab are missing: {', '.join(missing)}",
            fix="invoke setup (creates them)",
        )
    if facts.settings is None:
        return
    uid, gid = facts.owner
    chown = f"sudo chown -R {uid}:{gid} "
    for folder in facts.folders:
        if folder.exists and not opens(folder, uid, gid):
            yield Finding(
                severity="error",
                check="folders",
                problem=f"{folder.path.name}/ belongs to {owner_name(folder.uid)}, and the lab's "
                f"user ({uid}) cannot write there",
                fix=chown + f"'{folder.path}'",
            )
    strange = [name for folder in facts.folders for name in folder.strangers]
    if strange:
        tops = sorted({str(f.path) for f in facts.folders if f.strangers})
        yield Finding(
            severity="warning",
            check="folders",
            problem=f"files belong to another user than the lab's ({uid}): "
            f"{', '.join(strange[:SHOWN])}",
            fix=chown + " ".join(f"'{top}'" for top in tops),
        )


def opens(folder: Folder, uid: int, gid: int) -> bool:
    """Whether a user may create files there. A container has no supplementary groups."""
    bits = 6 if folder.uid == uid else 3 if folder.gid == gid else 0
    return uid == 0 or folder.mode >> bits & WRITE == WRITE


def owner_name(uid: int) -> str:
    return "root" if uid == 0 else f"uid {uid}"


def check_mounted(facts: Facts) -> Iterator[Finding]:
    """Code in the lab can write these files; a tool of the host would run them as its user."""
    found = [f"{folder.path.name}/{name}" for folder in facts.folders for name in folder.for_host]
    if found:
        yield Finding(
            severity="warning",
            check="mounted",
            problem=f"invoke, nox or direnv would run these files on this machine, if started "
            f"beside them, and code in the lab can write them: {', '.join(found)}",
            fix="run invoke and nox in the clone's top folder; delete the file if it is not yours",
        )


def check_links(facts: Facts) -> Iterator[Finding]:
    """A link that leads out of the mounted folders works here, and is dead inside the lab."""
    mounts = facts.lab.mounts
    if mounts is None:
        return
    for folder in facts.folders:
        dead = [one for one in folder.links if one.exists and is_dead_inside(one, mounts)]
        for link in dead[:SHOWN]:
            more = f" (and {len(dead) - SHOWN} more like it)" if len(dead) > SHOWN else ""
            name = f"{folder.path.name}/{link.path.name}"
            yield Finding(
                severity="warning",
                check="links",
                problem=f"the link {name} points to {link.target}, which the lab does not see: "
                f"it is dead inside{more}",
                fix=link_fix(link, [one.path for one in facts.folders]),
            )


def inside_path(link: Link) -> PurePosixPath:
    """A link's place in the container."""
    return INSIDE / link.path.parent.name / link.path.name


def is_dead_inside(link: Link, mounts: tuple[str, ...]) -> bool:
    """Whether a link that works here leads to nothing in the container."""
    place = inside_path(link)
    target = PurePosixPath(os.path.normpath(place.parent / link.target))
    if str(place) in mounts:
        return False
    return not any(target.is_relative_to(top) for top in (*mounts, *IN_IMAGE))


def link_fix(link: Link, folders: list[Path]) -> str:
    """How the lab gets to see what the link points to."""
    source = Path(os.path.normpath(link.path.parent / link.target))
    if any(source.is_relative_to(folder) for folder in folders):
        return f"ln -sfnr '{source}' '{link.path}' (a relative link works here and in the lab)"
    paths = [quoted(str(source)), quoted(str(inside_path(link)))]
    mount = f"- {{type: bind, source: {paths[0]}, target: {paths[1]}, read_only: true}}"
    return (
        "mount it: add this line to the volumes of jupyter in compose/compose.yaml, then: "
        f"invoke up\n{mount}"
    )


def quoted(text: str) -> str:
    """A path as a YAML value: in quotes where it is not plain. Compose expands a `$`."""
    plain = re.fullmatch(r"[\w/.+-]+", text, re.ASCII)
    return text if plain else json.dumps(text.replace("$", "$$"), ensure_ascii=False)
