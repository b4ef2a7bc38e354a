"""Everything that a lab has on the engine now. Only what is provably the lab's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labcrate import labels, process
from labcrate.clean.records import Record, own_downloads, own_records, size_bytes
from labcrate.clone.env_file import read_env
from labcrate.clone.identity import PLACE
from labcrate.clone.place import Clone
from labcrate.engine.engine import Engine, refusal
from labcrate.lab.built import remembered_images
from labcrate.lab.compose import Model
from labcrate.lab.steps import known_steps

Kind = Literal["container", "network", "image", "volume", "cache", "state"]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something on the engine that this clone made. size in bytes, as far as it is known."""

    kind: Kind
    ref: str
    name: str
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Lot:
    """Whose things are looked for: the lab of this name, made by this clone or by another one."""

    clone: Clone
    project: str
    model: Model

    @property
    def mine(self) -> bool:
        """Whether it is this clone's own lab, and not another one that was named."""
        path = self.clone.env_file
        return path.exists() and read_env(path).get("COMPOSE_PROJECT_NAME") == self.project

    @property
    def label(self) -> str:
        return f"label={labels.PROJECT}={self.project}"

    @property
    def compose_label(self) -> str:
        """What the owner's own services, networks and volumes are known by."""
        return f"label={labels.COMPOSE_PROJECT}={self.project}"


def ask_engine(command: Sequence[str], timeout_s: float = 120.0) -> str:
    """What the engine answers. No answer is an error: it must never look like "nothing there"."""
    answer = process.ask(("docker", *command), timeout_s=timeout_s)
    if not answer.ok:
        raise refusal(answer.stderr)
    return answer.stdout


def engine_bytes(engine: Engine) -> int:
    """Bytes used on the engine's disk: of its file system where that is on this machine.

    The engine's own account counts a layer twice that an image gave up and the build cache kept, so
    it is asked only where the disk cannot be: on another machine, or inside Docker Desktop.
    """
    if not engine.remote and Path(engine.root_dir or "/nowhere").is_dir():
        return shutil.disk_usage(engine.root_dir).used
    said = ask_engine(("system", "df", "--format", "{{json .}}"))
    return sum(size_bytes(json.loads(line)["Size"]) for line in said.splitlines())


def survey(lot: Lot, others: Collection[str]) -> list[Thing]:
    """Everything this clone's lab has on the engine now; or another one that was named.

    others: the other labs on the engine. What all of them share goes with the last one's.
    """
    found = [*_containers(lot), *_networks(lot), *_images(lot), *_volumes(lot)]
    alone = not others
    return [*found, *(_bases() if alone else ()), *_cache(lot, alone), *_state(lot)]


def _containers(lot: Lot) -> list[Thing]:
    """The lab's containers, without those that someone made by hand from its image.

    Another Compose project's container on that image inherits the lab's label: the project that
    made it must be the lab's, too.
    """
    made = ("--filter", lot.compose_label, "--filter", f"label={labels.ONEOFF}")
    found = _listed("container", ("ps", "--all", "--filter", lot.label, *made), CONTAINER)
    if lot.mine:
        here = f"label={labels.COMPOSE_FOLDER}={lot.clone.compose}"
        found += _listed("container", ("ps", "--all", *made, "--filter", here), CONTAINER)
    return list(dict.fromkeys(found))


CONTAINER = "{{.ID}}\t{{.Names}}\t0B"
IMAGE = "{{.ID}}\t{{.Repository}}:{{.Tag}}\t{{.Size}}"
NETWORK = "{{.ID}}\t{{.Name}}\t0B"


def _networks(lot: Lot) -> list[Thing]:
    wanted = [lot.label, *([lot.compose_label] if lot.mine else [])]
    found = [
        thing
        for label in wanted
        for thing in _listed("network", ("network", "ls", "--filter", label), NETWORK)
    ]
    return list(dict.fromkeys(found))


def _listed(kind: Kind, command: Sequence[str], template: str) -> list[Thing]:
    said = ask_engine((*command, "--format", template))
    rows = (line.split("\t") for line in said.splitlines())
    return [Thing(kind=kind, ref=ref, name=name, size=size_bytes(size)) for ref, name, size in rows]


def _images(lot: Lot) -> list[Thing]:
    """The lab's images, and those of its own builds that rebuilds left nameless.

    An image that the user built on one of them inherits its labels. It has a name of its own, or
    it is nameless and not on the record; another clone's record is not here.
    """
    listed = _listed("image", ("image", "ls", "--no-trunc", "--filter", lot.label), IMAGE)
    built = {f"{service.image}:latest" for service in lot.model.built} if lot.mine else set()
    made = remembered_images(lot.clone) if lot.mine else frozenset()

    def is_own(thing: Thing) -> bool:
        if thing.name.startswith("<none>:"):
            return thing.ref in made
        return thing.name.startswith(f"{lot.project}/") or thing.name in built

    return [thing for thing in listed if is_own(thing)]


def _bases() -> list[Thing]:
    """The base images that `setup` built here. What others built on one inherits its label, so the
    label must be the image's own name."""
    listed = _listed("image", ("image", "ls", "--filter", f"label={labels.BASE}"), IMAGE)
    own = ("image", "ls", "--quiet", "--filter")
    return [
        thing
        for thing in listed
        if ask_engine(
            (*own, f"reference={thing.name}", "--filter", f"label={labels.BASE}={thing.name}")
        )
    ]


def _volumes(lot: Lot) -> list[Thing]:
    """Volumes with their sizes, which only the engine's disk usage report knows."""
    found = _listed("volume", ("volume", "ls", "--filter", lot.label), VOLUME)
    if lot.mine:
        every = _listed("volume", ("volume", "ls", "--filter", lot.compose_label), VOLUME)
        found += [one for one in every if one.name in lot.model.volumes]
    if not found:
        return []
    said = ask_engine(("system", "df", "--verbose", "--format", "{{json .Volumes}}"))
    sizes = {row["Name"]: size_bytes(row["Size"]) for row in json.loads(said or "[]") or []}
    names = dict.fromkeys(one.name for one in found)
    return [Thing(kind="volume", ref=name, name=name, size=sizes.get(name, 0)) for name in names]


VOLUME = "{{.Name}}\t{{.Name}}\t0B"


def other_clones(project: str) -> set[str]:
    """Other clones of this template on the same engine; they share the build cache."""
    found: set[str] = set()
    column = labels.column(labels.PROJECT)
    for command in (("ps", "--all"), ("volume", "ls")):
        filtered = (*command, "--filter", f"label={labels.PROJECT}", "--format", column)
        found |= set(ask_engine(filtered).split())
    ids = ask_engine(("image", "ls", "--quiet", "--filter", f"label={labels.PROJECT}"))
    if ids.split():
        template = f'{{{{index .Config.Labels "{labels.PROJECT}"}}}}'
        unique = sorted(set(ids.split()))
        # Not `ask_engine`: one of them may be gone by now.
        shown = process.ask(("docker", "image", "inspect", "--format", template, *unique))
        found |= set(shown.stdout.split())
    return found - {project}


def begun_file(clone: Clone) -> Path:
    """The records that a clean set out to remove: one that was killed has left base images' records
    with no step of the lab's on them any more, and only this list names whose they were."""
    return clone.state / "clean-records"


def unneeded_cache(lot: Lot) -> list[Thing]:
    """The lab's steps that no image holds, of any lab: to be asked once this lab's are gone."""
    text = ask_engine(("buildx", "du", "--verbose"))
    return [_of_cache(record) for record in _records(lot, text) if not record.needed]


def _cache(lot: Lot, alone: bool) -> list[Thing]:
    """BuildKit's records of the lab's own build steps, cache mounts included.

    Beside other clones, which share those, only what this lab's builds downloaded for it alone.
    """
    text = ask_engine(("buildx", "du", "--verbose"))
    found = _records(lot, text) if alone else own_downloads(text, lot.project)
    return [_of_cache(record) for record in found]


def _records(lot: Lot, text: str) -> list[Record]:
    begun = begun_file(lot.clone)
    noted = begun.read_text().split() if begun.exists() else ()
    return own_records(text, noted, known_steps(lot.clone))


def _of_cache(record: Record) -> Thing:
    return Thing(kind="cache", ref=record.id, name=record.what[:60], size=record.size)


KEPT = ("lock", PLACE)
"""What `clean` leaves in .labcrate. This very task holds the lock; .env keeps the lab's name, so
a copy of the clone must still show as one."""


def _state(lot: Lot) -> list[Thing]:
    """What the tasks keep in .labcrate."""
    state = lot.clone.state
    if not lot.mine or not state.is_dir():
        return []
    files = [path for path in state.rglob("*") if path.is_file() and path.name not in KEPT]
    size = sum(path.stat().st_size for path in files)
    return [Thing(kind="state", ref=str(state), name=".labcrate", size=size)] if files else []
