"""A lab of the tests' own, on the real engine: a clone, its settings, its containers."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import ROOT, Lab, copy_tree, said
from faultlog import happened, pytest_runtest_makereport
from machine import Machine, base_image, start_machine

from labcrate.clone import env_file, ports

__all__ = ["ROOT", "Lab", "happened", "pytest_runtest_makereport", "said"]

LANES = {
    "beside": ("test_ordinary_user.py", "test_search.py", "test_ways.py"),
    "apart": ("test_clean.py", "test_owner.py", "test_packages.py", "test_safety.py"),
}
"""Modules that run beside all others, by their marker."""

AWKWARD = "lab tést (1)"
"""A folder name with a space, a letter beyond ASCII and brackets: people have such folders."""


CLI = "@devcontainers/cli@0.89.0"
"""What VS Code's extension for dev containers uses itself."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Three lanes of about the same length, which `nox -s machinery` runs side by side.

    The nested machine is in one of them alone, because it takes two minutes to make.
    """
    for lane, modules in LANES.items():
        if item.path.name in modules:
            item.add_marker(lane)
    if "machine" in getattr(item, "fixturenames", ()):
        item.add_marker("beside")


def share_base(clone: Path) -> None:
    """Build on the base image and the wheels that this checkout has, so that layers are shared.

    The ports are drawn below those that the kernel hands out: labs that others start on the same
    engine at the same time take the first free ones.
    """
    own = env_file.read_env(ROOT / ".env") if (ROOT / ".env").exists() else {}
    jupyter = ports.free_port(random.randrange(20_000, 32_000), set())
    values = {"JUPYTER_PORT": str(jupyter)}
    for name in ("TENSORBOARD_PORT", "SEARCH_PORT"):
        jupyter = ports.free_port(jupyter + 1, set())
        values[name] = str(jupyter)
    values |= {name: own[name] for name in ("BASE_IMAGE", "HOST_WHEELS") if own.get(name)}
    (clone / ".env").touch(mode=0o600)
    (clone / ".env").write_text(env_file.fill((clone / ".env.example").read_text(), values))


def make_lab(folder: Path) -> Lab:
    folder.mkdir(parents=True)
    # Above it pytest's own folders are closed to others, and the lab's user is another.
    lab = Lab(root=copy_tree(folder))
    share_base(folder)
    lab.invoke("setup", "--yes")
    return lab


def copy_without_torch(root: Path) -> None:
    """A clone whose locks are empty: its images take seconds, and 6 GB less."""
    copy_tree(root)
    for name in ("torch.lock", "packages.lock", "settled.lock"):
        (root / "docker" / name).write_text("# empty: see labcrate/tests/engine/conftest.py\n")


def small_lab(root: Path) -> Lab:
    """A clone without PyTorch (an empty lock) that is set up: it is made and removed many times."""
    copy_without_torch(root)
    share_base(root)
    made = Lab(root=root, environ={"PYTHONUNBUFFERED": "1"})
    made.invoke("setup", "--yes")
    return made


@pytest.fixture(scope="session")
def kept_layers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Images that hold the layers of labs without PyTorch.

    Every `clean --all` drops what no image needs; the next lab would install JupyterLab anew.
    """
    folder = tmp_path_factory.mktemp("from")
    lab = small_lab(tmp_path_factory.mktemp("kept") / "lab")
    lab.invoke("build")
    # Named for this run: another lane has such images, too.
    names = {one: f"labcrate-tests/{one}:{lab.project}" for one in ("jupyter", "tensorboard")}
    for service, name in names.items():
        image = f"{lab.project}/{service}"
        (folder / "Dockerfile").write_text(f"FROM {image}\n")
        label = ("--label", "dev.labcrate.project=labcrate-tests")
        done = lab.docker("build", "--quiet", "--tag", name, *label, str(folder))
        assert done.returncode == 0, said(done)
    lab.invoke("clean", "--all", "--yes")
    yield
    lab.docker("image", "rm", *names.values())


@pytest.fixture(scope="session")
def neighbour(tmp_path_factory: pytest.TempPathFactory, kept_layers: None) -> Iterator[Lab]:  # noqa: ARG001
    """Another clone's lab, up, which no test may touch."""
    made = small_lab(tmp_path_factory.mktemp("neighbour") / "lab")
    made.invoke("up")
    yield made
    remove_lab(made)


def remove_lab(lab: Lab) -> None:
    lab.invoke("clean", "--all", "--yes", "--force", check=False)


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The CLI of dev containers, in a folder that goes with the tests. It has no dependencies."""
    folder = tmp_path_factory.mktemp("npm")
    install = ("npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), CLI)
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return str(folder / "node_modules" / "@devcontainers" / "cli" / "devcontainer.js")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for the whole run, up; tests leave it up."""
    made = make_lab(tmp_path_factory.mktemp("labs") / AWKWARD)
    try:
        made.invoke("up")
        yield made
    finally:
        # Also where `up` failed: it leaves containers that were made and not started.
        remove_lab(made)


@pytest.fixture
def up_lab(lab: Lab) -> Lab:
    """The session's lab, up whatever the test before it did."""
    if (
        not lab.container()
        or "running"
        not in lab.docker("inspect", "--format", "{{.State.Status}}", lab.container()).stdout
    ):
        lab.invoke("up")
    return lab


@pytest.fixture
def up(machine: Machine) -> Machine:
    """The machine with the lab up, and a file of the user's in it."""
    machine.bring_up()
    return machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One machine for the whole run: two minutes to make, and each module sets it up anew."""
    made = start_machine(base_image(), tmp_path_factory.mktemp("machine"))
    try:
        yield made
    finally:
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", made.name], check=True, capture_output=True
        )
