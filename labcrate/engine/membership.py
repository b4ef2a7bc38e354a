"""The engine's group: an account that was put into it, in a session that does not know that yet."""

from __future__ import annotations

from labcrate import environment, process

GROUP = "docker"
"""The group that owns the engine's socket, in the distributions' own packages."""

PASSWORD_S = 60.0
"""Seconds for a question that sudo may want a password for."""


def as_member() -> tuple[str, ...]:
    """What to put before a command, so that it may use the engine; () where nothing helps.

    sudo looks up the groups of an account each time; a session has those of its login.
    """
    if not environment.is_joining(GROUP) or not environment.command_path("sudo"):
        return ()
    # sudo has a PATH of its own, without .venv.
    path = f"PATH={environment.variable('PATH')}"
    prefix = ("sudo", "--preserve-env", "--user", environment.user_name(), "env", path)
    return prefix if process.ask((*prefix, "docker", "info"), timeout_s=PASSWORD_S).ok else ()
