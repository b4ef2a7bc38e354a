"""The `docker` command of this user: the engine that it is set to, and whether it finds plugins."""

from __future__ import annotations

import os
from pathlib import Path

from labcrate import environment, process
from labcrate.errors import Code, LabError

PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
"""Where packages put the plugins, and where Docker's own client looks for them."""


def chosen_context() -> str:
    """The docker context in force, where it is not the default one; "" otherwise."""
    answer = process.ask(("docker", "context", "show"), timeout_s=15)
    name = answer.stdout.strip()
    return name if answer.ok and name != "default" else ""


def plugin_trouble() -> LabError | None:
    """Why `docker` finds no Compose although it is installed; None where it is not.

    Another installation would change nothing.
    """
    installed = [Path(folder, "docker-compose") for folder in PLUGIN_FOLDERS]
    found = next((path for path in installed if path.exists()), None)
    if found is None:
        return None
    settings = Path(environment.variable("DOCKER_CONFIG") or "~/.docker").expanduser()
    closed = next((one for one in (settings, settings / "cli-plugins") if is_closed(one)), None)
    if closed:
        return LabError(
            f"docker finds no Compose plugin, because this user may not read {closed}",
            fix=f"sudo chown -R $(id -u):$(id -g) '{settings}'",
            code=Code.COMPOSE,
        )
    client = environment.command_path("docker")
    return LabError(
        f"the `docker` that is first on PATH, {client}, does not find the Compose plugin {found}",
        fix=f"remove {client}, or put the folder of the other docker before it on PATH "
        "(which -a docker shows all)",
        code=Code.COMPOSE,
    )


def is_closed(path: Path) -> bool:
    """Whether a folder is there and may not be listed."""
    try:
        return path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
    except PermissionError:
        return True
