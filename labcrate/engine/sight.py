"""Whether an engine on another machine sees this clone's folders, which containers mount."""

from __future__ import annotations

import secrets

from labcrate import environment, labels, process
from labcrate.clone.place import Clone
from labcrate.engine.client import chosen_context
from labcrate.engine.endpoint import endpoint, leads_away, login_of
from labcrate.engine.engine import find_engine
from labcrate.errors import Code, LabError

LABEL = f"{labels.PROJECT}=labcrate-sight"
"""On the two things below, which are gone a moment later."""

EMPTY_TAR = "\0" * 10240
"""A tar archive without files: the image that it becomes has nothing to fetch and to store."""


def refuse_unseen(clone: Clone) -> None:
    """Refuse an engine on another machine that does not see this clone; before anything is built.

    A socket is this machine's own: then no process is started.
    """
    if not leads_away(endpoint()) or process.is_dry():
        return
    find_engine()
    clone.state.mkdir(exist_ok=True)
    nonce = secrets.token_hex(16)
    path = clone.state / f"sight-{nonce[:8]}"
    try:
        path.write_text(nonce, encoding="utf-8")
        said = read_there(clone, path.name)
    finally:
        path.unlink(missing_ok=True)
    if nonce not in said:
        raise unseen(clone, said)


def read_there(clone: Clone, name: str) -> str:
    """What the engine reads in a file of .labcrate, as a tar archive; else what it says.

    The folder is mounted into a container that is never started. So its image may be empty, and
    nothing must be pulled before it is known whether this engine can have the lab at all.
    """
    image = _engine("import", "--change", f"LABEL {LABEL}", "-", stdin=EMPTY_TAR)
    if not image.ok:
        return image.text
    made = image.stdout.strip()
    mount = f"type=bind,source={clone.state},target=/clone,readonly"
    flags = ("--label", LABEL, "--network", "none", "--mount", mount)
    box = _engine("create", *flags, made, "never-started")
    try:
        if not box.ok:
            return box.text
        return _engine("cp", f"{box.stdout.strip()}:/clone/{name}", "-").text
    finally:
        if box.ok:
            _engine("rm", "--volumes", box.stdout.strip())
        _engine("image", "rm", made)


def _engine(*words: str, stdin: str | None = None) -> process.Result:
    return process.change(("docker", *words), timeout_s=60, stdin=stdin, quiet=True)


def unseen(clone: Clone, said: str) -> LabError:
    """The refusal, with the three ways out. said: the engine's own words, where it had any."""
    address = endpoint()
    by_variable = bool(environment.variable("DOCKER_HOST"))
    chosen = "DOCKER_HOST" if by_variable else f"the docker context {chosen_context()}"
    back = "unset DOCKER_HOST" if by_variable else "docker context use default"
    login = login_of(address)
    lines = [line for line in said.splitlines() if line.isprintable() and line.strip()]
    return LabError(
        f"the engine is on another machine ({address}, by {chosen}) and does not see this clone: "
        f"{clone.root}",
        why=lines[-1] if lines else "that machine has another folder there",
        fix=f"work on that machine: ssh {login}, clone the lab there, and reach it from here with "
        "`invoke tunnel`. Or give the clone the same path on both machines (a shared home). "
        f"Or use this machine's engine: {back}",
        code=Code.ENGINE_ELSEWHERE,
    )
