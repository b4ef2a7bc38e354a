"""BuildKit's records of the lab's own build steps, told from those of other projects."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter

MARKS = (
    "/bin/sh -c : labcrate",
    "local source for labcrate-",
    "] COPY --from=labcrate-parts ",
    "] COPY --from=resolver /tmp/resolved /",
    "] COPY --from=verifier /tmp/verified /",
)
"""What BuildKit shows with a record of a step that only a lab has. The template's RUN lines start
with the first; a test holds them to the Dockerfiles."""

INSTALLER = "/bin/sh -c : labcrate 'uv, the installer'"
"""A step that no image holds, and that the next build of every clone reads from."""

OF_IMAGES = ("from local", "pulled from", "[internal] setting cache mount permissions")
"""How records begin that stand for a layer of an image, or for a folder to mount a cache on."""

UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record of the build cache. size: bytes that only the cache holds.

    needed: an image holds it, or something that is built on it; or it is a folder of downloads, or
    the installer, which every clone uses.
    """

    id: str
    what: str
    size: int
    needed: bool = False


def size_bytes(text: str) -> int:
    """Bytes of a size as the engine prints it: `5.83GB`, `312kB`, `0B`."""
    found = re.fullmatch(r"([\d.]+)\s*([kKMGT]?B)", text.strip())
    return int(float(found[1]) * UNITS[found[2]]) if found else 0


def own_downloads(text: str, project: str) -> list[Record]:
    """The packages that one clone's builds downloaded, in a cache that no other clone has.

    text: what `docker buildx du --verbose` says.
    """
    own = re.compile(rf'with id "/*labcrate-uv-{re.escape(project)}-[0-9]+"$')
    return [record for record, _ in read_records(text) if own.search(record.what)]


def read_records(text: str) -> Iterator[tuple[Record, str]]:
    """Each record of `docker buildx du --verbose`, with the text that it was read from."""
    for block in text.split("\n\n"):
        found = dict(re.findall(r"^(\w[\w ]*):[ \t]+(.*)$", block, re.MULTILINE))
        if "ID" in found:
            what = " ".join(found.get("Description", "").split())
            shared = found.get("Shared") == "true"
            size = 0 if shared else size_bytes(found.get("Size", ""))
            needed = shared or found.get("Type") == "exec.cachemount" or INSTALLER in what
            yield Record(id=found["ID"], what=what, size=size, needed=needed), block


def own_records(text: str, begun: Sequence[str] = (), steps: Collection[str] = ()) -> list[Record]:
    """The records of `docker buildx du --verbose` that are a lab's.

    begun: ids that a clean set out to remove before. steps: those of the owner's Dockerfile, now
    and before; others may have the same step, so it counts only where it was built on a lab's
    record. A record comes before those that it builds on, because it has to go before them.
    """
    blocks: dict[str, str] = {}
    records: dict[str, Record] = {}
    own: set[str] = set()
    for record, block in read_records(text):
        records[record.id], blocks[record.id] = record, block
        if any(mark in record.what for mark in MARKS) or record.id in begun:
            own.add(record.id)
    # How parents are written changed between versions of Buildx; that their ids appear did not.
    parents = {ref: [p for p in blocks if p != ref and p in blocks[ref]] for ref in blocks}
    own |= _built_on(own, parents, {ref: one.what for ref, one in records.items()}, steps)
    own |= _bases(own, parents, {ref: one.what for ref, one in records.items()})
    # What is built on one of these by a step that nobody knows holds it, too.
    held = {ref for ref, one in records.items() if one.needed or ref not in own}
    while more := {p for ref in held for p in parents[ref]} - held:
        held |= more
    order = TopologicalSorter({ref: [p for p in parents[ref] if p in own] for ref in sorted(own)})
    children_first = reversed(list(order.static_order()))
    return [replace(records[ref], needed=ref in held) for ref in children_first]


def _built_on(
    own: set[str],
    parents: Mapping[str, Sequence[str]],
    names: Mapping[str, str],
    steps: Collection[str],
) -> set[str]:
    """The records of the owner's own steps: on top of one that is a lab's."""
    found: set[str] = set()
    grew = True
    while grew:
        fresh = {
            ref
            for ref, below in parents.items()
            if ref not in own | found
            and set(below) & (own | found)
            and any(names[ref].endswith(step) for step in steps)
        }
        found |= fresh
        grew = bool(fresh)
    return found


def _bases(
    own: set[str], parents: Mapping[str, Sequence[str]], names: Mapping[str, str]
) -> set[str]:
    """The records of images that nothing but the lab's own steps was built on.

    BuildKit keeps one for each layer of such an image, with no name, and no byte of its own; but as
    long as it is there, the layer stays on the disk although the image is gone.
    """
    children: dict[str, set[str]] = {ref: set() for ref in names}
    for ref, below in parents.items():
        for parent in below:
            children[parent].add(ref)
    found: set[str] = set()
    todo = [parent for ref in own for parent in parents[ref]]
    while todo:
        ref = todo.pop()
        if names[ref].startswith(OF_IMAGES) and children[ref] <= own | found:
            found.add(ref)
            todo += parents[ref]
    return found
