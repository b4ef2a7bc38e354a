"""The images that this lab's own builds made, and removing those that rebuilds left nameless.

A label does not tell them: an image that the user built on one of the lab's inherits its labels,
and may be nameless, too. So the ids are kept in .labcrate/images.json as they are made. The names
that a build is to give are noted before it starts: the task or the engine may die under it, and
BuildKit may end it all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from labcrate import labels, process
from labcrate.clone.env_file import if_there_is_room, write_private
from labcrate.clone.place import Clone
from labcrate.engine.engine import refusal
from labcrate.lab.compose import Lab
from labcrate.lab.containers import Unanswered
from labcrate.lab.steps import remember_steps

RECORD = "images.json"
BUILDING = "building.json"
"""The names that a build is to give, and what had them before; gone once its images are on the
record."""


def remembered_images(clone: Clone) -> frozenset[str]:
    """The ids on the record; none where there is no record, or it is damaged."""
    try:
        found = json.loads((clone.state / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return frozenset()
    ids = found if isinstance(found, list) else ()
    return frozenset(one for one in ids if isinstance(one, str))


def remember_images(clone: Clone, ids: Iterable[str]) -> None:
    _write(clone, remembered_images(clone) | set(ids))


def _write(clone: Clone, ids: Iterable[str]) -> None:
    if not process.is_dry():
        write_private(clone.state / RECORD, json.dumps(sorted(ids), indent=2) + "\n")


def start_record(lab: Lab) -> None:
    """Where there is no record yet, the images that have the lab's names now are on it.

    Builds of an earlier version kept none.
    """
    if (lab.clone.state / RECORD).exists() or process.is_dry():
        return
    ours = ("--filter", f"label={labels.PROJECT}={lab.project}")
    listing = ("docker", "image", "ls", "--no-trunc", *ours, "--format", "{{.ID}}\t{{.Repository}}")
    answer = process.ask(listing)
    if not answer.ok:
        return
    rows = (line.partition("\t") for line in answer.stdout.splitlines())
    names = (f"{lab.project}/", f"{lab.project}-")
    remember_images(lab.clone, {ident for ident, _, name in rows if name.startswith(names)})


@contextmanager
def recorded(lab: Lab, names: Sequence[str]) -> Iterator[None]:
    """Put on the record what gets these names meanwhile, also by a build that fails half-way."""
    remember_steps(lab.clone)
    if process.is_dry() or not names:
        yield
        return
    start_record(lab)
    settle_record(lab.clone)
    try:
        note = {"names": sorted(set(names)), "before": sorted(named_images(names))}
    except Unanswered as error:
        raise refusal(str(error)) from None
    write_private(lab.clone.state / BUILDING, json.dumps(note, indent=2) + "\n")
    try:
        yield
    finally:
        settle_record(lab.clone)


def settle_record(clone: Clone) -> None:
    """Put on the record what the last build made, unless the engine does not answer, or the disk is
    full: the note of the build stays, and this is tried again."""
    path = clone.state / BUILDING
    try:
        note: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
        names, before = frozenset(note["names"]), frozenset(note["before"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    try:
        made = named_images(names) - before
    except Unanswered:
        return
    with if_there_is_room():
        remember_images(clone, made)
        path.unlink(missing_ok=True)


def named_images(names: Iterable[str]) -> frozenset[str]:
    """The ids of the images that have these names now. Unanswered: the engine did not say."""
    wanted = sorted(set(names))
    if not wanted:
        return frozenset()
    return frozenset(inspect_images("--format", "{{.Id}}", *wanted).split())


def inspect_images(*arguments: str) -> str:
    """What the engine says of images, in one question; nothing of those that it has not.

    Unanswered: it did not say. That must not read as "no images".
    """
    answer = process.ask(("docker", "image", "inspect", *arguments))
    if not answer.ok and "no such image" not in answer.stderr.lower():
        raise Unanswered(answer.stderr)
    return answer.stdout


def layer_bytes(image: str, step: str) -> int:
    """Bytes of an image's layers whose build step says this; 0 where there are none."""
    shown = ("--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}")
    rows = process.ask(("docker", "history", *shown, image)).stdout.splitlines()
    return sum(int(row.partition(" ")[0]) for row in rows if step in row)


def drop_superseded(lab: Lab) -> None:
    """Remove the images of the lab's own builds that rebuilds left without a name.

    Those that a container uses stay, and stay on the record.
    """
    nameless = ("docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true")
    ours = ("--filter", f"label={labels.PROJECT}={lab.project}")
    known = remembered_images(lab.clone)
    gone = {
        image
        for image in sorted(set(process.ask((*nameless, *ours)).stdout.split()) & known)
        if process.change(("docker", "image", "rm", image), timeout_s=60, quiet=True).ok
    }
    if gone:
        with if_there_is_room():
            _write(lab.clone, known - gone)
