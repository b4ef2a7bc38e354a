"""Requirement files and their locks as text: pins, digests, what changed, what is stale."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from labcrate.errors import Code, LabError

BELOW = {
    "uv": (),
    "torch": (),
    "tensorboard": (),
    "search": (),
    "base": ("torch",),
    "packages": ("base", "torch"),
}
"""Each lock of docker/, and the locks that it builds on."""

PYTHON = "3.13"
"""Python of Debian 13, the default base."""

IMAGE = {
    "sys_platform": "linux",
    "os_name": "posix",
    "platform_system": "Linux",
    "python_version": PYTHON,
    "python_full_version": f"{PYTHON}.0",
}
"""What the image's Python answers to a marker, as far as locks ask."""

UNHASHED = "# its index gives no hash"
"""How image/inside.py ends an entry for whose file there is no hash anywhere."""

MERGE = re.compile(r"<{7}|={7}|>{7}|\|{7}")
"""How the lines begin that git puts around the two sides of a conflict."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One entry of a lock. where: its version, or the address it comes from."""

    name: str
    where: str
    text: str

    @property
    def version(self) -> str:
        return "" if "://" in self.where else self.where

    @property
    def has_hash(self) -> bool:
        """Whether a hash says which file it is, as far as the index gave one."""
        return "--hash=" in self.text or self.text.endswith(UNHASHED)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, requirement) of a requirement file, without comments."""
    for number, line in enumerate(text.splitlines(), 1):
        if bare := re.sub(r"(^|\s)#.*", "", line).strip():
            yield number, bare


def requirement_lines(text: str) -> list[str]:
    """The requirements of a requirement file, without comments, unparsed."""
    return [line for _, line in numbered_lines(text)]


def parsed_lines(text: str, file: str) -> list[tuple[str, Requirement]]:
    """(line, what it means) of a requirement file. LabError names the file and the line."""
    return [(line, _parse_line(line, file, number)) for number, line in numbered_lines(text)]


def _parse_line(line: str, file: str, number: int) -> Requirement:
    try:
        return Requirement(line)
    except InvalidRequirement:
        pass
    if MERGE.match(line):
        fix = f"finish the merge in {file}: keep the lines that you want and delete the markers"
    else:
        fix = f"change line {number} of {file}: one requirement, like einops or einops>=0.8"
    raise LabError(
        f"{file}, line {number}: {line[:60]!r} is not a requirement", fix=fix, code=Code.LOCK_STALE
    )


def requirements_digest(text: str) -> str:
    """What a requirement file asks for, whatever its order, spacing and comments."""
    wanted = sorted(re.sub(r"\s+", "", line) for line in requirement_lines(text))
    return hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]


def lock_header(name: str, source: str) -> str:
    """The first line of a lock. source: the text of the requirement file that it was made from."""
    made = f"# Made by the tasks from {name} ({requirements_digest(source)})"
    return f"{made}: change that file, not this one.\n"


def made_from(lock: str) -> str:
    """The digest in a lock's first line; "" where there is none."""
    found = re.match(r"# Made by .* \(([0-9a-f]{16})\)", lock)
    return found[1] if found else ""


def read_pins(path: Path) -> dict[str, Pin]:
    """The entries of a lock of docker/ that apply inside the image, by name."""
    return pins_of(path.read_text(encoding="utf-8"), f"docker/{path.name}")


def pins_of(lock: str, file: str = "the lock") -> dict[str, Pin]:
    """The entries of a lock's text that apply inside the image, by name."""
    found: dict[str, Pin] = {}
    if merging := next((line for line in lock.splitlines() if MERGE.match(line)), ""):
        raise _damaged(file, merging)
    for block in re.findall(r"^[A-Za-z0-9](?:.*\\\n)*.*", lock, re.MULTILINE):
        first = re.sub(r"\s*\\$|\s+#.*", "", block.splitlines()[0])
        try:
            parsed = Requirement(first)
        except InvalidRequirement:
            raise _damaged(file, first) from None
        if parsed.marker and not applies_in_image(parsed.marker):
            continue
        where = parsed.url or str(parsed.specifier).removeprefix("==")
        name = canonicalize_name(parsed.name)
        found[name] = Pin(name=name, where=where, text=block)
    return found


def _damaged(file: str, line: str) -> LabError:
    return LabError(
        f"{file} is damaged: {line[:60]!r}",
        fix=f"git checkout HEAD -- {file} (the one of your last commit), then: invoke lock",
        code=Code.LOCK_STALE,
    )


def applies_in_image(marker: Marker) -> bool:
    """Whether a requirement with this marker is installed in the image."""
    return marker.evaluate(IMAGE)


def foreign_marker(text: str) -> str:
    """The marker of a requirement that does not apply in the lab; "" for others."""
    with suppress(InvalidRequirement):
        marker = Requirement(text).marker
        return str(marker) if marker and not applies_in_image(marker) else ""
    return ""


def changed_pins(
    before: Mapping[str, Pin], after: Mapping[str, Pin]
) -> tuple[tuple[str, str, str], ...]:
    """(name, where before, where after) of each entry that changed; "": not there."""
    names = sorted({*before, *after})
    rows = [
        (n, before[n].where if n in before else "", after[n].where if n in after else "")
        for n in names
    ]
    return tuple(row for row in rows if row[1] != row[2])


def locked_here(folder: Path) -> tuple[str, ...]:
    """The locks of a docker/. A lab that is older than the search page has no `search.in`."""
    return tuple(name for name in BELOW if (folder / f"{name}.in").exists() or name != "search")


def stale_locks(folder: Path) -> Iterator[str]:
    """What is wrong between the requirement files and the locks of docker/, one line each.

    A file that cannot be read as requirements is a LabError.
    """
    held = {name: read_pins(folder / f"{name}.lock") for name in locked_here(folder)}
    for name, pins in held.items():
        source = (folder / f"{name}.in").read_text(encoding="utf-8")
        parsed = parsed_lines(source, f"docker/{name}.in")
        lock = (folder / f"{name}.lock").read_text(encoding="utf-8")
        if made_from(lock) != requirements_digest(source):
            yield f"{name}.lock was made from another {name}.in"
        bare = sorted(pin.name for pin in pins.values() if pin.version and not pin.has_hash)
        if bare:
            yield f"{name}.lock holds no hash for {', '.join(bare)}"
        known = {key: pin for layer in (*BELOW[name], name) for key, pin in held[layer].items()}
        yield from (f"{name}.lock: {problem}" for problem in unmet_requirements(parsed, known))


def unmet_requirements(
    wanted: list[tuple[str, Requirement]], known: Mapping[str, Pin]
) -> Iterator[str]:
    """The requirements that no pin satisfies, of those that apply in the image."""
    for line, parsed in wanted:
        pin = known.get(canonicalize_name(parsed.name))
        if parsed.marker and not applies_in_image(parsed.marker):
            continue
        if pin is None:
            yield f"{line} is asked for and not locked"
        elif pin.version and not parsed.specifier.contains(pin.version, prereleases=True):
            yield f"{line} is asked for, and {pin.version} is locked"
