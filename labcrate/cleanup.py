"""`invoke clean`: survey, plan, ask, act, survey again. Only what carries this clone's label."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Literal

from labcrate import engine as engines
from labcrate import settings, shell
from labcrate.engine import Engine
from labcrate.hostpip import STATE
from labcrate.stack import LABEL, OWN, label_column

Kind = Literal["container", "network", "image", "volume", "cache", "state"]
ORDER: tuple[Kind, ...] = ("container", "network", "image", "volume", "cache", "state")
"""Containers first: nothing they use can go before them."""

MARKS = (
    "/bin/sh -c : labcrate",
    "local source for labcrate-wheels",
    "] COPY --from=uv /opt/uv/bin/uv /usr/local/bin/uv",
    "] COPY jupyter_server_config.py /opt/lab/etc/jupyter/",
    "] COPY overrides.json /opt/lab/share/jupyter/lab/settings/",
    "] COPY guard.py /opt/tensorboard/",
    "] COPY --from=resolver /tmp/resolved /",
    "] COPY --from=verifier /tmp/verified /",
    "] WORKDIR /lab/notebooks",
)
"""What BuildKit shows with each record that it keeps of a step of docker/Dockerfile: every RUN
starts with the first, the others are its COPY and WORKDIR lines, whole, so that no other project's
record fits. A test holds them to the Dockerfile."""

UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something on the engine that this clone made. size in bytes, as far as it is known."""

    kind: Kind
    ref: str
    name: str
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user wants gone, beside containers, network and superseded images."""

    images: bool = False
    volumes: bool = False
    cache: bool = False


def size_bytes(text: str) -> int:
    """Bytes of a size as the engine prints it: `5.83GB`, `312kB`, `0B`."""
    found = re.fullmatch(r"([\d.]+)\s*([kKMGT]?B)", text.strip())
    return int(float(found[1]) * UNITS[found[2]]) if found else 0


def human(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def ask(command: Sequence[str], timeout_s: float = 120.0) -> str:
    """What the engine answers. No answer is an error: it must never look like "nothing there"."""
    answer = shell.capture(("docker", *command), timeout_s=timeout_s)
    if not answer.ok:
        raise engines.refusal(answer.stderr)
    return answer.stdout


def engine_bytes(engine: Engine) -> int:
    """Bytes used on the engine's disk: of its file system where that is on this machine.

    The engine's own account counts a layer twice that an image gave up and the build cache kept, so
    it is asked only where the disk cannot be: on another machine, or inside Docker Desktop.
    """
    if not engine.remote and Path(engine.root_dir or "/nowhere").is_dir():
        return shutil.disk_usage(engine.root_dir).used
    said = ask(("system", "df", "--format", "{{json .}}"))
    return sum(size_bytes(json.loads(line)["Size"]) for line in said.splitlines())


def survey(project: str) -> list[Thing]:
    """Everything this clone has on the engine now; or another one, named in the environment."""
    label = f"label={LABEL}={project}"
    return [
        *_containers(label),
        *_listed("network", ("network", "ls", "--filter", label), "{{.ID}}\t{{.Name}}\t0B"),
        *_images(label, project),
        *_volumes(label),
        *(_cache() if not other_clones(project) else ()),
        *_state(project),
    ]


def _containers(label: str) -> list[Thing]:
    """The lab's containers, without those that someone made by hand from its image."""
    own = ("--filter", label, "--filter", f"label={OWN}")
    return _listed("container", ("ps", "--all", *own), "{{.ID}}\t{{.Names}}\t0B")


def _listed(kind: Kind, command: Sequence[str], template: str) -> list[Thing]:
    said = ask((*command, "--format", template))
    rows = (line.split("\t") for line in said.splitlines())
    return [Thing(kind=kind, ref=ref, name=name, size=size_bytes(size)) for ref, name, size in rows]


def _images(label: str, project: str) -> list[Thing]:
    """The lab's images, and those that its rebuilds left nameless.

    An image that the user built on one of them inherits its labels, and has a name of its own.
    """
    template = "{{.ID}}\t{{.Repository}}:{{.Tag}}\t{{.Size}}"
    listed = _listed("image", ("image", "ls", "--no-trunc", "--filter", label), template)
    return [t for t in listed if t.name.startswith((f"{project}/", "<none>:"))]


def _volumes(label: str) -> list[Thing]:
    """Volumes with their sizes, which only the engine's disk usage report knows."""
    found = _listed("volume", ("volume", "ls", "--filter", label), "{{.Name}}\t{{.Name}}\t0B")
    if not found:
        return []
    said = ask(("system", "df", "--verbose", "--format", "{{json .Volumes}}"))
    sizes = {row["Name"]: size_bytes(row["Size"]) for row in json.loads(said or "[]") or []}
    return [Thing(kind="volume", ref=v.ref, name=v.name, size=sizes.get(v.ref, 0)) for v in found]


def other_clones(project: str) -> set[str]:
    """Other clones of this template on the same engine; they share the build cache."""
    found: set[str] = set()
    for command in (("ps", "--all"), ("volume", "ls")):
        said = ask((*command, "--filter", f"label={LABEL}", "--format", label_column(LABEL)))
        found |= set(said.split())
    ids = ask(("image", "ls", "--quiet", "--filter", f"label={LABEL}"))
    if ids.split():
        inspected = f'{{{{index .Config.Labels "{LABEL}"}}}}'
        unique = sorted(set(ids.split()))
        # Not `ask`: one of them may be gone by now.
        shown = shell.capture(("docker", "image", "inspect", "--format", inspected, *unique))
        found |= set(shown.stdout.split())
    return found - {project}


def _cache() -> list[Thing]:
    """BuildKit's records of the lab's own build steps, cache mounts included."""
    begun = BEGUN.read_text().split() if BEGUN.exists() else []
    return cache_records(ask(("buildx", "du", "--verbose")), begun)


BEGUN = STATE / "clean-records"
"""The records that a clean set out to remove: one that was killed has left base images' records
with no step of the lab's on them any more, and only this list tells whose they were."""


def cache_records(text: str, begun: Sequence[str] = ()) -> list[Thing]:
    """The records of `docker buildx du --verbose` that are this lab's.

    Sizes count what only the cache holds: a shared record is an image's layer, too. A record comes
    before those that it builds on, because it has to go before them.
    """
    blocks: dict[str, str] = {}
    records: dict[str, Thing] = {}
    own: set[str] = set()
    for block in text.split("\n\n"):
        fields = dict(re.findall(r"^(\w[\w ]*):[ \t]+(.*)$", block, re.MULTILINE))
        if "ID" not in fields:
            continue
        what = fields.get("Description", "")
        size = 0 if fields.get("Shared") == "true" else size_bytes(fields.get("Size", ""))
        name = " ".join(what.split())[:60]
        records[fields["ID"]] = Thing(kind="cache", ref=fields["ID"], name=name, size=size)
        blocks[fields["ID"]] = block
        if any(mark in what for mark in MARKS) or fields["ID"] in begun:
            own.add(fields["ID"])
    # How parents are written changed between versions of Buildx; that their ids appear did not.
    parents = {ref: [p for p in blocks if p != ref and p in blocks[ref]] for ref in blocks}
    own |= _bases(own, parents, {ref: one.name for ref, one in records.items()})
    order = TopologicalSorter({ref: [p for p in parents[ref] if p in own] for ref in own})
    return [records[ref] for ref in reversed(list(order.static_order()))]


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


OF_IMAGES = ("from local", "pulled from", "[internal] setting cache mount permissions")
"""How records begin that stand for a layer of an image, or for a folder to mount a cache on."""


def _state(project: str) -> list[Thing]:
    """What the tasks keep in .labcrate; without the lock, which this very task holds."""
    if not STATE.is_dir() or settings.read().get("COMPOSE_PROJECT_NAME") != project:
        return []
    files = [path for path in STATE.rglob("*") if path.is_file() and path.name != "lock"]
    size = sum(path.stat().st_size for path in files)
    return [Thing(kind="state", ref=str(STATE), name=".labcrate", size=size)] if files else []


def plan(found: Iterable[Thing], wish: Wish) -> list[Thing]:
    """What goes, in the order in which it can go."""
    everything = wish.images and wish.volumes and wish.cache

    def goes(thing: Thing) -> bool:
        match thing.kind:
            case "container" | "network":
                return True
            case "image":
                return wish.images or thing.name == "<none>:<none>"
            case "volume":
                return wish.volumes
            case "cache":
                return wish.cache
            case "state":
                return everything

    return sorted(filter(goes, found), key=lambda thing: ORDER.index(thing.kind))


def act(things: Sequence[Thing], say: Callable[[str], None] = print) -> list[str]:
    """Remove each thing, saying so; what the engine said of those that would not go."""
    failures = []
    cache = [thing.ref for thing in things if thing.kind == "cache"]
    for thing in (t for t in things if t.kind not in ("cache", "state")):
        say(f"  removing {thing.kind} {thing.name}")
        done = shell.capture(removal(thing), timeout_s=120)
        if not done.ok and "no such" not in done.stderr.lower():
            failures.append(f"{thing.kind} {thing.name}: {done.stderr.strip()}")
    if cache:
        say(f"  removing {len(cache)} records of the build cache")
        failures += _drop_records(cache)
    if any(thing.kind == "state" for thing in things):
        _drop_state()
    return failures


def removal(thing: Thing) -> tuple[str, ...]:
    match thing.kind:
        case "container":
            return ("docker", "container", "rm", "--force", thing.ref)
        case "image":
            # By name where there is one: another clone may have tagged the same image.
            named = thing.name if "<none>" not in thing.name else thing.ref
            return ("docker", "image", "rm", named)
        case _:
            return ("docker", thing.kind, "rm", thing.ref)


def _drop_records(ids: Sequence[str]) -> list[str]:
    """Remove these very records of the build cache, each by its full id: the one form of the filter
    that every version of Buildx takes alike."""
    prune = ("docker", "buildx", "prune", "--force", "--all", "--filter")
    failures = []
    BEGUN.write_text("\n".join(ids))
    for ident in ids:
        done = shell.capture((*prune, f"id={ident}"), timeout_s=120)
        if not done.ok:
            failures.append(f"build cache {ident}: {done.stderr.strip()}")
    if not failures:
        BEGUN.unlink()
    return failures


def _drop_state() -> None:
    for path in STATE.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != "lock":
            path.unlink(missing_ok=True)
