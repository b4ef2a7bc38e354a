"""Every label that the lab puts on things of the engine, or reads from them. No other module
spells one; compose/ and docker/ are held to these names by a test."""

from __future__ import annotations

PROJECT = "dev.labcrate.project"
"""On everything that a lab makes: the name of the lab."""

BASE = "dev.labcrate.base"
"""On a base image that `setup` built: the image's own name. What is built on it inherits this."""

INPUTS = "dev.labcrate.inputs"
"""On an image: a digest of what it was built from. Equal means there is nothing to build."""

BACKEND = "dev.labcrate.torch-backend"
"""On JupyterLab's image: the build of PyTorch in it, as TORCH_BACKEND names it."""

GPU = "dev.labcrate.gpu"
"""On the running JupyterLab: the overlay and the devices that it was started with."""

RUN = "dev.labcrate.run"
"""On a container of `invoke run`: the run's name."""

COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_FOLDER = "com.docker.compose.project.working_dir"

ONEOFF = "com.docker.compose.oneoff"
"""Only Compose's containers have it. A container that someone made by hand from the lab's image
inherits the image's labels, the project's name among them, and is not the lab's to remove."""


def column(label: str) -> str:
    """A label's place in the --format of one of the engine's listings."""
    return f'{{{{.Label "{label}"}}}}'
