"""What goes and in which order, and removing it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labcrate import output, process
from labcrate.clean.survey import KEPT, Kind, Thing, begun_file
from labcrate.clone.env_file import if_there_is_room
from labcrate.clone.place import Clone

ORDER: tuple[Kind, ...] = ("container", "network", "image", "volume", "cache", "state")
"""Containers first: nothing they use can go before them."""


NAMELESS = "<none>:<none>"
"""How the engine lists an image that a rebuild left without a name."""

PRUNE = ("docker", "buildx", "prune", "--force", "--all", "--filter")
PRUNE_S = 600.0
"""Seconds for one command: 60 GB took 170."""

AT_ONCE = 200
"""Records named in one command: 5 kB of its 128."""

IN_USE = ("is being used by", "is using its referenced image")
"""What the engine says where a container keeps an image: running, and stopped."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user wants gone, beside containers, network and superseded images."""

    images: bool = False
    volumes: bool = False
    cache: bool = False


def plan_removal(found: Iterable[Thing], wish: Wish) -> list[Thing]:
    """What goes, in the order in which it can go."""
    everything = wish.images and wish.volumes and wish.cache

    def goes(thing: Thing) -> bool:
        match thing.kind:
            case "container" | "network":
                return True
            case "image":
                return wish.images or thing.name == NAMELESS
            case "volume":
                return wish.volumes
            case "cache":
                return wish.cache
            case "state":
                return everything

    return sorted(filter(goes, found), key=lambda thing: ORDER.index(thing.kind))


def remove_things(clone: Clone, things: Sequence[Thing]) -> list[str]:
    """Remove each thing, saying so; what the engine said of those that would not go."""
    failures = []
    cache = [thing.ref for thing in things if thing.kind == "cache"]
    for thing in (t for t in things if t.kind not in ("cache", "state")):
        output.say(f"  removing {thing.kind} {thing.name}")
        done = process.change(removal_command(thing), timeout_s=120, quiet=True)
        if thing.name == NAMELESS and any(words in done.stderr for words in IN_USE):
            output.say("  it stays: a container that is not the lab's uses it")
        elif not done.ok and "no such" not in done.stderr.lower():
            failures.append(f"{thing.kind} {thing.name}: {done.stderr.strip()}")
    if cache:
        output.say(f"  removing {len(cache)} records of the build cache")
        failures += _drop_records(clone, cache)
    if any(thing.kind == "state" for thing in things) and not process.is_dry():
        _drop_state(clone.state)
    return failures


def removal_command(thing: Thing) -> tuple[str, ...]:
    match thing.kind:
        case "container":
            return ("docker", "container", "rm", "--force", thing.ref)
        case "image":
            # By name where there is one: another clone may have tagged the same image.
            named = thing.name if "<none>" not in thing.name else thing.ref
            return ("docker", "image", "rm", named)
        case _:
            return ("docker", thing.kind, "rm", thing.ref)


def _drop_records(clone: Clone, ids: Sequence[str]) -> list[str]:
    """Remove these very records of the build cache, by their full ids."""
    failures = []
    begun = begun_file(clone)
    if not process.is_dry():
        with if_there_is_room():
            begun.write_text("\n".join(ids))
    for ident in _drop_at_once(ids):
        done = process.change((*PRUNE, f"id={ident}"), timeout_s=PRUNE_S, quiet=True)
        if not done.ok:
            failures.append(f"build cache {ident}: {done.stderr.strip()}")
    if not failures:
        begun.unlink(missing_ok=True)
    return failures


def _drop_at_once(ids: Sequence[str]) -> list[str]:
    """Remove them in a few commands; those that are still there then, or that nobody can tell of.

    Buildx hands an id to BuildKit as a regular expression. A version that does not leaves them all,
    and one at a time, each takes 0.3 s.
    """
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        # Never empty: that would match every record there is.
        process.change((*PRUNE, f'id="{"|".join(some)}"'), timeout_s=PRUNE_S, quiet=True)
    if process.is_dry():
        return []
    listed = process.ask(("docker", "buildx", "du"), timeout_s=PRUNE_S)
    return [ident for ident in ids if ident in listed.stdout or not listed.ok]


def _drop_state(state: Path) -> None:
    for path in state.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in KEPT:
            path.unlink(missing_ok=True)
