"""Requirement files and their locks as text: pins, digests, what changed, what is stale."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BELOW = {
    "uv": (),
    "torch": (),
    "tensorboard": (),
    "base": ("torch",),
    "packages": ("base", "torch"),
}
"""Each lock of docker/, and the locks that it builds on."""

PYTHON = "3.13"
"""Python of Debian 13, the default base."""

IMAGE = {"sys_platform": "linux", "os_name": "posix", "python_full_version": f"{PYTHON}.0"}
"""What the image's Python answers to a marker, as far as locks ask."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One entry of a lock. where: its version, or the address it comes from."""

    name: str
    where: str
    text: str

    @property
    def version(self) -> str:
        return "" if "://" in self.where else self.where


def lines(text: str) -> list[str]:
    """The requirements of a requirement file, without comments."""
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in bare if line]


def digest(text: str) -> str:
    """What a requirement file asks for, whatever its order, spacing and comments."""
    wanted = sorted(re.sub(r"\s+", "", line) for line in lines(text))
    return hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]


def header(name: str, source: str) -> str:
    return f"# Made by the tasks from {name} ({digest(source)}): change that file, not this one.\n"


def made_from(lock: str) -> str:
    """The digest in a lock's header; empty where it has none."""
    found = re.match(r"# Made by .* \(([0-9a-f]{16})\)", lock)
    return found[1] if found else ""


def pins(lock: str) -> dict[str, Pin]:
    """The entries of a lock that apply inside the image, by name."""
    found: dict[str, Pin] = {}
    for block in re.findall(r"^[A-Za-z0-9](?:.*\\\n)*.*", lock, re.MULTILINE):
        first = re.sub(r"\s*\\$", "", block.splitlines()[0])
        parsed = Requirement(first)
        if parsed.marker and not applies(parsed.marker):
            continue
        where = parsed.url or str(parsed.specifier).removeprefix("==")
        name = canonicalize_name(parsed.name)
        found[name] = Pin(name=name, where=where, text=block)
    return found


def applies(marker: Marker) -> bool:
    return marker.evaluate(IMAGE)


def difference(before: Mapping[str, Pin], after: Mapping[str, Pin]) -> list[tuple[str, str, str]]:
    """(name, where before, where after) of each entry that changed; empty: not there."""
    names = sorted({*before, *after})
    rows = [
        (n, before[n].where if n in before else "", after[n].where if n in after else "")
        for n in names
    ]
    return [row for row in rows if row[1] != row[2]]


def stale(folder: Path) -> Iterator[str]:
    """What is wrong between the requirement files and the locks of docker/, one line each."""
    texts = {name: (folder / f"{name}.lock").read_text() for name in BELOW}
    held = {name: pins(text) for name, text in texts.items()}
    for name, below in BELOW.items():
        source = (folder / f"{name}.in").read_text()
        if made_from(texts[name]) != digest(source):
            yield f"{name}.lock was made from another {name}.in"
        known = {key: pin for layer in (*below, name) for key, pin in held[layer].items()}
        yield from (f"{name}.lock: {problem}" for problem in unmet(lines(source), known))


def unmet(wanted: list[str], known: Mapping[str, Pin]) -> Iterator[str]:
    """The requirements that no pin satisfies."""
    for line in wanted:
        parsed = Requirement(line)
        pin = known.get(canonicalize_name(parsed.name))
        if pin is None:
            yield f"{line} is asked for and not locked"
        elif pin.version and not parsed.specifier.contains(pin.version, prereleases=True):
            yield f"{line} is asked for, and {pin.version} is locked"


def host_tools(pyproject: str) -> list[str]:
    """What the tools on the host are made from: the project's dependencies and its dev group."""
    data = tomllib.loads(pyproject)
    return [*data["project"]["dependencies"], *data["dependency-groups"]["dev"]]
