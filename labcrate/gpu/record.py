"""What the proof said of the GPU, kept in .labcrate/gpu.json with the container that it ran in.

A new container makes the record void: nothing in it outlives the lab that it is about.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from labcrate import process
from labcrate.clone.env_file import if_there_is_room
from labcrate.clone.place import Clone

RECORD = "gpu.json"
"""The file's name in the clone's state."""


@dataclass(frozen=True, kw_only=True)
class ProofRecord:
    """One proof. container: its full id. stamp: what was decided. cause: why it failed; "": not."""

    container: str
    stamp: str
    cause: str


def record_file(clone: Clone) -> Path:
    return clone.state / RECORD


def read_proof(clone: Clone, container_id: str) -> ProofRecord | None:
    """The record of this very container; None where there is none, or it is damaged."""
    try:
        found = json.loads(record_file(clone).read_text(encoding="utf-8"))
        record = ProofRecord(**found)
    except (OSError, ValueError, TypeError):
        return None
    is_whole = all(isinstance(value, str) for value in found.values())
    return record if is_whole and container_id and record.container == container_id else None


def remember_proof(clone: Clone, container_id: str, stamp: str, cause: str) -> None:
    """Keep what the proof of a container said; cause "": it passed."""
    if process.is_dry():
        return
    kept = {"container": container_id, "stamp": stamp, "cause": cause.strip()}
    with if_there_is_room():
        record_file(clone).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def failed_proof(clone: Clone, container_id: str, stamp: str) -> str:
    """Why a container's proof failed with this very decision; "" if it did not."""
    record = read_proof(clone, container_id)
    return record.cause if record and record.stamp == stamp else ""


def is_proven(clone: Clone, container_id: str) -> bool:
    """Whether the proof passed in this container."""
    record = read_proof(clone, container_id)
    return record is not None and not record.cause
