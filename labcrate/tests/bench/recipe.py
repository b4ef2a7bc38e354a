"""What the lab is measured against: the same images by hand, with pip, as articles show it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from clone import Lab

from labcrate.clone.place import Clone
from labcrate.clone.settings import load
from labcrate.lab import bake, compose
from labcrate.packages.sources import asked_lines

SECRETS = "--mount=type=secret,id=pip.conf --mount=type=secret,id=ca.pem"
"""This host's package settings. An article does not need them; a machine with a mirror does."""

PIP = (
    "PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_CERT=/run/secrets/ca.pem "
    "python3 -m pip install --no-cache-dir --disable-pip-version-check"
)

HEAVY = f"""
ARG BASE
FROM ${{BASE}}
RUN apt-get update && apt-get install -y --no-install-recommends \\
        python3 python3-venv python3-dev g++ git libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/lab
ENV PATH=/opt/lab/bin:$PATH
COPY pins.txt /tmp/pins.txt
RUN {SECRETS} {PIP} --requirement /tmp/pins.txt
"""
"""JupyterLab's image. pins.txt: the versions of the lab's own locks, so that both install alike."""

BOARD = f"""
ARG BASE
FROM ${{BASE}}
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \\
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/board
ENV PATH=/opt/board/bin:$PATH
COPY pins.txt /tmp/pins.txt
RUN {SECRETS} {PIP} --requirement /tmp/pins.txt
"""

PIP_BASE = """
ARG BASE
FROM ${BASE}
RUN python -m ensurepip
"""

PIP_LINE = f"""
ARG BASE
FROM ${{BASE}}
ARG PACKAGES
RUN {SECRETS} {PIP} ${{PACKAGES}}
"""
"""The final stage: one line for all packages, which a change runs anew."""


def must(lab: Lab, *command: str, **environ: str) -> str:
    done = lab.command(command, timeout=1200, **environ)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def base_with_pip(lab: Lab, folder: Path) -> str:
    """The lab's own base stage with pip in it: what the pip line starts from. Not timed."""
    base, name = f"{lab.project}/bench-base", f"{lab.project}/bench-pip"
    # The build of PyTorch that `up` chose: with another one it would be installed again.
    backend = lab.docker(
        "inspect", "--format", '{{index .Config.Labels "dev.labcrate.torch-backend"}}', image(lab)
    ).stdout.strip()
    settings = load(Clone(root=lab.root, here=lab.root))
    built = compose.Lab(settings=settings, torch_backend=backend)
    model = compose.resolve_model(built, built.build_env)
    target = bake.Target(stage="base", tags=[base], output=["type=docker"])
    (folder / "bake.json").write_text(bake.bake_file(model, lab.root / "docker", [target]))
    command = ("docker", "buildx", "bake", "--file", str(folder / "bake.json"), "base")
    must(lab, *command, **bake.BAKES)
    (folder / "Dockerfile").write_text(PIP_BASE)
    must(lab, "docker", "build", *arguments(lab, BASE=base), "--tag", name, str(folder))
    return name


def image(lab: Lab) -> str:
    return f"{lab.project}/jupyter"


def build_line(lab: Lab, base: str, folder: Path, more: Sequence[str]) -> None:
    """An image with all that packages.in asks for, and some packages more.

    The one before loses its name, and goes with `remove_images`.
    """
    (folder / "Dockerfile").write_text(PIP_LINE)
    packages = " ".join([*asked_lines(lab.root / "docker"), *more])
    name = f"{lab.project}/bench-line"
    given = arguments(lab, BASE=base, PACKAGES=packages)
    must(lab, "docker", "build", "--no-cache", *given, "--tag", name, str(folder))


def arguments(lab: Lab, **values: str) -> list[str]:
    """The options of `docker build` that all of these share: the label goes with `clean --all`."""
    state = lab.root / ".labcrate"
    secrets = [f"--secret=id={one},src={state / one}" for one in ("pip.conf", "ca.pem")]
    given = [part for pair in values.items() for part in ("--build-arg", "=".join(pair))]
    return [*secrets, *given, "--label", f"dev.labcrate.project={lab.project}"]


def remove_images(lab: Lab) -> None:
    """What was built for this here with the lab's label; `clean` knows only what it built."""
    label = f"label=dev.labcrate.project={lab.project}"
    found = lab.docker("image", "ls", "--all", "--quiet", "--filter", label).stdout.split()
    if found:
        lab.docker("image", "rm", "--force", *sorted({*found}))
