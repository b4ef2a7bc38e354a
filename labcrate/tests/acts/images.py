"""Acts that change what is in the images: packages, steps of the build, what they build on."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from clone import said
from owner import Owner, append, bridge_address, commit, git, served

from acts.register import act


@act
def add_package(own: Owner) -> Iterator[None]:
    own.invoke("add-package", "einops")
    yield
    assert "einops" in (own.root / "docker" / "packages.in").read_text().split()
    assert own.in_image("python", "-c", "import einops; print(einops.__name__)") == "einops"


PROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "mine"
version = "1.5"
"""


@act
def git_package(own: Owner) -> Iterator[None]:
    source = own.root.parent / "mine.git"
    append(source / "pyproject.toml", PROJECT)
    append(source / "mine" / "__init__.py", "X = 7\n")
    made = commit(source, "Mine")
    git(source, "tag", "v1")
    # Without a server of git's own, a client reads the files of the repository itself.
    git(source, "update-server-info")
    with served(source / ".git", bridge_address(own)) as address:
        own.invoke("add-package", f"mine @ git+{address}/@v1")
        assert made in (own.root / "docker" / "packages.lock").read_text()
        yield
    assert own.in_image("python", "-c", "import mine; print(mine.X)") == "7"


@act
def remove_transformers(own: Owner) -> Iterator[None]:
    own.invoke("remove-package", "transformers")
    yield
    done = own.invoke("run", "--", "python", "-c", "import transformers", check=False)
    assert (done.returncode, "ModuleNotFoundError" in said(done)) == (1, True), said(done)


@act
def dockerfile_copy(own: Owner) -> Iterator[None]:
    copied, inside = own.root / "docker" / "settings.toml", "/opt/mine/settings.toml"
    copied.write_text("rate = 1\n")
    append(own.root / "docker" / "Dockerfile", f"COPY settings.toml {inside}\n")
    yield
    assert own.in_image("cat", inside) == "rate = 1"
    copied.write_text("rate = 2\n")
    assert own.stale()
    own.invoke("build")
    assert not own.stale()
    assert own.in_image("cat", inside) == "rate = 2"


@act
def dockerfile_run(own: Owner) -> Iterator[None]:
    run = "USER root\nRUN echo \"alias ll='ls -l'\" >> /etc/bash.bashrc\n"
    append(own.root / "docker" / "Dockerfile", run + "USER ${LAB_UID}:${LAB_GID}\n")
    yield
    assert own.in_image("tail", "-n1", "/etc/bash.bashrc") == "alias ll='ls -l'"


@act
def another_base(own: Owner) -> Iterator[None]:
    """A base with the same files and another label: the layers above it come from the cache."""
    name = f"{own.project}-base:1"
    base = own.env.get("BASE_IMAGE", "debian:trixie-slim")
    own.typed(f"FROM {base}\nLABEL base.of=mine\n", "docker", "build", "--tag", name, "-")
    with ExitStack() as after:
        after.callback(own.docker, "image", "rm", name)
        own.set(BASE_IMAGE=name)
        yield
        shown = ("image", "inspect", "--format", '{{index .Config.Labels "base.of"}}')
        assert own.docker(*shown, f"{own.project}/jupyter").stdout.strip() == "mine"


@act
def another_python(own: Owner) -> Iterator[None]:
    """On this machine. In the lab it is the base image's; no other is made for a test."""
    listing = ("uv", "python", "list", "--only-installed", "--output-format", "json")
    found = [one for one in json.loads(own.typed("", *listing)) if usable(own, one)]
    if not found:
        pytest.skip(f"there is no Python on this machine but {platform.python_version()}")
    own.tools = (found[0]["path"], "bootstrap.py")
    yield
    made = own.typed("", ".venv/bin/python", "--version")
    assert made == f"Python {found[0]['version']}\n"


def usable(own: Owner, one: dict[str, Any]) -> bool:
    """Whether it is another Python than this one, and one that bootstrap.py can work with."""
    version = one["version_parts"]
    if (version["major"], version["minor"]) < (3, 11) or one["implementation"] != "cpython":
        return False
    other = one["version"] != platform.python_version()
    return other and own.command((one["path"], "-c", "import ensurepip")).returncode == 0
