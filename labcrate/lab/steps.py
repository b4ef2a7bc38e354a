"""The steps of the owner's Dockerfile, as BuildKit shows them: what it has and what it had.

A step that was changed stays in the build cache, on top of the lab's own, and holds those on the
disk. So each build notes the steps that it has, and `clean` knows them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from labcrate import process
from labcrate.clone.env_file import if_there_is_room
from labcrate.clone.place import Clone

STEPS = "steps"


def known_steps(clone: Clone) -> frozenset[str]:
    """The steps that docker/Dockerfile has now, and those that it had at any build."""
    return _steps_now(clone) | _noted(clone)


def remember_steps(clone: Clone) -> None:
    """Note the steps that are about to be built."""
    noted = _noted(clone)
    known = _steps_now(clone) | noted
    if known != noted and not process.is_dry():
        with if_there_is_room():
            (clone.state / STEPS).write_text("\n".join(sorted(known)) + "\n", encoding="utf-8")


def _steps_now(clone: Clone) -> frozenset[str]:
    path = clone.docker / "Dockerfile"
    return frozenset(dockerfile_steps(path.read_text(encoding="utf-8")) if path.exists() else ())


def _noted(clone: Clone) -> frozenset[str]:
    try:
        return frozenset((clone.state / STEPS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return frozenset()


def dockerfile_steps(text: str) -> Iterator[str]:
    """What BuildKit shows of each RUN, COPY, ADD and WORKDIR of a Dockerfile, spaces folded."""
    bare = re.sub(r"^[ \t]*#.*\n", "", text, flags=re.MULTILINE)
    for line in re.sub(r"\\\n", "", bare).splitlines():
        verb, _, rest = line.strip().partition(" ")
        if verb.upper() == "RUN":
            command = re.sub(r"^(\s*--\w+=\S+)+\s*", "", rest)
            yield "/bin/sh -c " + " ".join(command.split())
        elif verb.upper() in ("COPY", "ADD", "WORKDIR"):
            yield f"] {verb.upper()} " + " ".join(rest.split())
