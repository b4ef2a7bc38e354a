"""One candidate of docker/: resolved and built in the engine, and then kept or dropped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from labcrate import labels, process
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.lab.bake import Target, bake, fields
from labcrate.lab.built import drop_superseded
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.images import image_id, inputs_digest
from labcrate.lab.snapshot import Snapshot
from labcrate.packages.explain import check_verified, resolution_failure
from labcrate.packages.locks import Pin
from labcrate.packages.phases import Phases
from labcrate.packages.recovery import retagger
from labcrate.packages.sources import asked_lines, base_pins
from labcrate.packages.transaction import (
    commit_candidate,
    discard_candidate,
    make_readable,
    prepare_candidate,
    recover_commit,
)

KEEP = "keep.txt"
"""The file of a candidate that names the versions which must not move; for the resolver alone."""


def candidate_name(lab: Lab) -> str:
    """The name of a candidate's image, until it gets the lab's."""
    return f"{lab.image()}:candidate"


@contextmanager
def candidate_folder(lab: Lab) -> Iterator[Path]:
    """A candidate that is gone afterwards, whatever happens, and its image's name with it."""
    state = lab.clone.state
    try:
        yield prepare_candidate(state, lab.clone.docker)
    finally:
        discard_candidate(state)
        remove = ("docker", "image", "rm", candidate_name(lab))
        process.change(remove, timeout_s=60, quiet=True)


def resolve_candidate(
    lab: Lab, candidate: Path, held: Mapping[str, Pin], hold: Mapping[str, str]
) -> str:
    """The lock of the candidate's packages.in, from inside the base image.

    held: what the lock had, which stays; hold: name -> version for names that are new.
    """
    old, new = asked_lines(lab.clone.docker), asked_lines(candidate)
    fresh = {name: line for name, line in new.items() if line != old.get(name)}
    # What this change asks for anew must not be held at the version that it had as a dependency.
    kept = {name: pin for name, pin in held.items() if pin.version and name not in fresh}
    versions = {**{name: pin.version for name, pin in kept.items()}, **hold}
    lines = ["# held", *(f"{name}=={version}" for name, version in versions.items())]
    (candidate / KEEP).write_text("\n".join(lines) + "\n", encoding="utf-8")
    make_readable(candidate)
    bake(lab, candidate, [_asking(lab.clone, "resolved", "base")])
    # The digest of what the image is built from must be that of docker/, which has no such file.
    (candidate / KEEP).unlink()
    answer = _answer_of(lab.clone, "resolved")
    if not answer["ok"]:
        what = ", ".join(fresh.values()) or "docker/packages.in"
        base = base_pins(lab.clone.docker)
        raise resolution_failure(what, answer["said"], base, kept)
    lock: str = answer["lock"]
    return lock


def build_candidate(
    snapshot: Snapshot, candidate: Path, names: Sequence[str], phases: Phases
) -> str:
    """The candidate's image, built and verified; its id. names: what must import.

    It is verified while the engine still writes it, which takes as long.
    """
    lab = snapshot.lab
    service = snapshot.model.services[JUPYTER]
    image = Target(
        stage="final",
        tags=[candidate_name(lab)],
        output=["type=docker"],
        labels={
            labels.INPUTS: inputs_digest(lab, service, docker=candidate),
            labels.PROJECT: lab.project,
        },
    )
    asking = _asking(lab.clone, "verified", "final", NAMES=" ".join(names))
    make_readable(candidate)
    with phases("build", "the final stage alone, and a check whether all of it works"):
        bake(lab, candidate, [image, asking])
        check_verified(_answer_of(lab.clone, "verified"))
    return image_id(candidate_name(lab))


def _asking(clone: Clone, stage: str, on: str, **args: str) -> Target:
    """The target of a stage whose answer.json this host reads; asked anew each time.

    no-cache would do that, too, and give uv an empty cache mount: BuildKit finds one with an owner
    again by the cached step that made it.
    """
    # An answer of an earlier change must never be read as this one's.
    (clone.state / stage / "answer.json").unlink(missing_ok=True)
    target = fields(type="local", dest=str(clone.state / stage))
    return Target(stage=stage, on=on, output=[target], args={**args, "ASKED": str(time.time_ns())})


def _answer_of(clone: Clone, stage: str) -> dict[str, Any]:
    path = clone.state / stage / "answer.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise LabError(
            f"the build ended without an answer in .labcrate/{stage}",
            fix="run the same command again; .labcrate/build.log is what the build said",
            code=Code.BUILD,
        ) from None
    return found


def keep_candidate(lab: Lab, image: str) -> None:
    """Make the prepared candidate and its image the lab's, or leave both as they were."""
    state, docker, retag = lab.clone.state, lab.clone.docker, retagger(lab)
    old = image_id(lab.image())
    try:
        commit_candidate(state, docker, old_image=old, new_image=image, retag=retag)
    except BaseException:
        # What cannot be put back now is put back by the next task.
        with suppress(LabError, OSError):
            recover_commit(state, docker, retag)
        raise
    drop_superseded(lab)
