"""Readings of the machine's and the clone's files for the doctor. Nothing here asks a process."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from labcrate.doctor.facts import CdiSpec, Folder, Link, Pci

FILES, WALK_S = 20_000, 0.5
"""Files and seconds after which the search through one of the owner's folders ends: a data set can
have millions of files."""

NAMED = 3
"""Files of another user that are named."""

TOP_ENTRIES = 500
"""Entries at the top of one of the owner's folders that are read."""

RUN_BY_HOST = (
    "tasks.py",
    "invoke.yaml",
    "invoke.yml",
    "invoke.json",
    "invoke.py",
    "noxfile.py",
    ".envrc",
)
"""Files that invoke, nox and direnv run or obey when they are started beside them."""

NVIDIA = "0x10de"

CARD, BRIDGE = "0x03", "0x0680"
"""PCI vendor; PCI classes of a display controller and of NVSwitch, which is a bridge."""

SPEC_DIRS = ("/etc/cdi", "/var/run/cdi")


def read_folder(path: Path, owner: int) -> Folder:
    """One of the owner's folders. owner: the uid that the lab's processes have."""
    if not path.is_dir():
        return Folder(path=path, exists=False)
    seen = path.stat()
    return Folder(
        path=path,
        exists=True,
        uid=seen.st_uid,
        gid=seen.st_gid,
        mode=seen.st_mode & 0o777,
        strangers=tuple(find_strangers(path, owner)),
        for_host=tuple(name for name in RUN_BY_HOST if os.path.lexists(path / name)),
        links=find_links(path),
    )


def find_strangers(path: Path, owner: int) -> Iterator[str]:
    """The first three files below a folder that another user owns; the search has limits."""
    looked = found = 0
    until = time.monotonic() + WALK_S
    for where, folders, files in os.walk(path):
        for name in (*folders, *files):
            looked += 1
            item = Path(where, name)
            if file_owner(item) not in (owner, None):
                found += 1
                yield str(item.relative_to(path.parent))
            if looked >= FILES or found >= NAMED or time.monotonic() > until:
                return


def file_owner(path: Path) -> int | None:
    """The owner's uid; None for a file that has gone."""
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def find_links(path: Path) -> tuple[Link, ...]:
    """The symbolic links at the top of a folder; () where it may not be read."""
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in itertools.islice(entries, TOP_ENTRIES) if e.is_symlink()]
        return tuple(
            Link(path=link, target=str(link.readlink()), exists=link.exists())
            for link in (path / name for name in sorted(names))
        )
    except OSError:
        return ()


def read_pci(root: Path) -> Iterator[Pci]:
    """NVIDIA's devices on the PCI bus, which are there with or without a driver."""
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _text(device / "vendor") == NVIDIA:
            driver = device / "driver"
            yield Pci(
                address=device.name,
                kind=_text(device / "class"),
                driver=driver.resolve().name if driver.exists() else "",
            )


def read_cdi_specs(root: Path, folders: Sequence[str] = SPEC_DIRS) -> Iterator[CdiSpec]:
    """The CDI specifications that name NVIDIA GPUs, in YAML or JSON."""
    for name in folders:
        for path in sorted((root / name.lstrip("/")).glob("*")):
            text = _text(path) if path.suffix in (".yaml", ".yml", ".json") else ""
            if re.search(r"kind[\"']?:\s*[\"']?nvidia\.com/gpu\b", text):
                versions = re.findall(r"lib(?:cuda|nvidia-ml)\.so\.(\d{3,}(?:\.\d+)+)", text)
                nodes = re.findall(r"path[\"']?:\s*[\"']?(/dev/nvidia[\w/-]*)", text)
                gone = [n for n in nodes if not (root / n.lstrip("/")).exists()]
                yield CdiSpec(
                    path=f"{name}/{path.name}",
                    versions=tuple(sorted(set(versions))),
                    gone=tuple(sorted(set(gone))),
                )


def clock_skew(text: str, before: float, after: float) -> float:
    """Seconds that `2026-11-24T20:29:29.603089788Z` lies outside of the time it was asked in."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[.\d]*(Z|[+-]\d\d:\d\d)$", text)
    if not found:
        return 0.0
    reported = datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00")).timestamp()
    # The fraction was cut off.
    return min(0.0, reported + 1 - before) + max(0.0, reported - after)


def free_space(path: str) -> int:
    """Free bytes for an ordinary user on the disk of a path, or of the folder that it would be in;
    -1 where that cannot be known."""
    here = Path(path)
    while not here.exists() and here != here.parent:
        here = here.parent
    try:
        return shutil.disk_usage(here).free if path else -1
    except OSError:
        return -1


def available_memory(root: Path) -> int | None:
    """Memory that programs could still get, in bytes."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
