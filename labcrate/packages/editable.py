"""`add-package --editable`: a project whose folder stays the code that the lab imports.

The archive of the project goes the way of every local project. Only its wheel is another one: it
leads to the folder as the lab mounts it. image/editable_backend.py makes it, inside the image.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.lab.images import PARTS
from labcrate.packages.addresses import unusable
from labcrate.packages.lists import find_path
from labcrate.packages.pack import LONG_AGO, pack_project
from labcrate.packages.requested import Wanted, is_path, parse_requirements

BACKEND = "editable_backend"
OLD_STYLE = ("setuptools.build_meta:__legacy__", ["setuptools>=64"])
"""The backend and its requirements of a project that names none, by PEP 517; editable since 64."""


def parse_editable(typed: Sequence[str], clone: Clone) -> tuple[Wanted, ...]:
    """The projects typed after --editable: folders of this clone."""
    found: list[Wanted] = []
    for text in typed:
        if re.match(r"[a-z+]+://", text) or not find_path(text, clone).is_dir():
            raise unusable(
                text,
                "only a folder of this clone can be editable",
                "invoke add-package -e ./src/mine; anything else: the same command without -e",
            )
        path = text if is_path(text) else f"./{text}"
        found += parse_requirements([path], clone)
    return tuple(dict.fromkeys(replace(one, editable=True) for one in found))


def pack_editable(project: Path, clone: Clone, folders: Sequence[Path]) -> tuple[str, bytes]:
    """(name, archive) as `pack_project` gives it; its wheel leads to the mounted folder.

    folders: those that the lab mounts below /lab, by their names.
    """
    mounted = mounted_path(project, clone, folders)
    name, data = pack_project(project, clone)
    return name, wrapped(name, data, mounted)


def mounted_path(project: Path, clone: Clone, folders: Sequence[Path]) -> str:
    """Where a project of the clone is in the lab."""
    shown = project.relative_to(clone.root.resolve()).as_posix()
    for folder in folders:
        if project.is_relative_to(folder.resolve()):
            below = project.relative_to(folder.resolve())
            path = str(PurePosixPath("/lab", folder.name, *below.parts))
            # It goes into a line of a .pth file, or into a string of Python's.
            if re.fullmatch(r"[\w ./+@-]+", path):
                return path
            raise unusable(shown, "its path has other characters than letters", "rename it")
    names = ", ".join(folder.name for folder in folders)
    raise LabError(
        f"{shown} cannot be editable: it lies in none of the folders that the lab sees ({names})",
        fix="move it into src/ or notebooks/, or add it without --editable",
        code=Code.PACKAGE_REFUSED,
    )


def wrapped(name: str, data: bytes, mounted: str) -> bytes:
    """The archive of a project as one in which our backend stands around the project's own."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as packed,
        gzip.GzipFile(filename="", fileobj=made, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in packed.getmembers():
            member.name = member.name.replace(name, f"{name}/project", 1)
            archive.addfile(member, packed.extractfile(member) if member.isreg() else None)
        for path, text in _around(_build_system(packed, name), mounted).items():
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mtime = len(text.encode()), LONG_AGO
            archive.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def _build_system(packed: tarfile.TarFile, name: str) -> dict[str, Any]:
    """The table of the project's pyproject.toml, which pack_project has read already."""
    path = f"{name}/project/pyproject.toml"
    file = packed.extractfile(path) if path in packed.getnames() else None
    found = tomllib.loads(file.read().decode()).get("build-system") if file else None
    return found if isinstance(found, dict) else {}


def _around(own: dict[str, Any], mounted: str) -> dict[str, str]:
    """path -> text of the files that stand around the project."""
    backend, requires = own.get("build-backend"), own.get("requires")
    told = {
        "folder": mounted,
        "backend": backend or OLD_STYLE[0],
        "path": own.get("backend-path", []),
    }
    # A list of JSON is one of TOML.
    needs = json.dumps(requires if requires is not None else OLD_STYLE[1], ensure_ascii=False)
    return {
        "pyproject.toml": f'[build-system]\nrequires = {needs}\nbuild-backend = "{BACKEND}"\n'
        'backend-path = ["."]\n',
        "editable.json": json.dumps(told),
        f"{BACKEND}.py": (PARTS / f"{BACKEND}.py").read_text(encoding="utf-8"),
    }
