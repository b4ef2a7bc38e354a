"""What is whose: other projects' things, copies of a clone, files of the host, images by hand.

The lab here has no PyTorch, as in test_clean.py.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import Lab, said
from conftest import small_lab
from faultlog import Happened, told
from test_clean import lives

from labcrate.errors import Code


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, kept_layers: None) -> Iterator[Lab]:  # noqa: ARG001
    made = small_lab(tmp_path_factory.mktemp("safe"))
    yield made
    made.invoke("clean", "--all", "--yes", check=False)


@pytest.fixture
def small_up(small: Lab) -> Lab:
    small.invoke("up")
    return small


class Project:
    """Another Compose project with one container that runs."""

    def __init__(self, lab: Lab, folder: Path, image: str) -> None:
        self.lab, self.name = lab, f"other-{uuid.uuid4().hex[:8]}"
        self.file = folder / "compose.yaml"
        section = {"image": image, "command": ["sleep", "infinity"], "entrypoint": []}
        self.file.write_text(json.dumps({"services": {"app": section}}))
        self.compose("up", "--detach", "--pull", "never")

    def compose(self, *arguments: str) -> str:
        command = ("compose", "--project-name", self.name, "-f", str(self.file), *arguments)
        done = self.lab.docker(*command)
        assert done.returncode == 0, said(done)
        return done.stdout

    def runs(self) -> str:
        """Its container, since when it runs, and its network."""
        state = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}"
        shown = self.lab.docker("inspect", "--format", state, f"{self.name}-app-1").stdout
        net = self.lab.docker("network", "inspect", "--format", "{{.Id}}", f"{self.name}_default")
        assert "true" in shown
        return shown + net.stdout

    def remove(self) -> None:
        self.lab.docker("compose", "--project-name", self.name, "down")


@pytest.mark.attack(
    "another project's COMPOSE_PROJECT_NAME and COMPOSE_FILE, exported in the shell"
)
def test_the_shell_names_another_project(small_up: Lab, tmp_path: Path, happened: Happened) -> None:
    other = Project(small_up, tmp_path, small_up.env["BASE_IMAGE"] or "debian:trixie-slim")
    exported = {"COMPOSE_PROJECT_NAME": other.name, "COMPOSE_FILE": str(other.file)}
    shell = Lab(root=small_up.root, environ={**small_up.environ, **exported})
    try:
        before = other.runs()
        shown = json.loads(shell.invoke("status", "--json").stdout)
        assert (shown["project"], set(shown["services"])) == (
            small_up.project,
            {"jupyter", "tensorboard"},
        )
        shell.invoke("up")
        shell.invoke("down")
        assert "containers" not in small_up.left_over()
        shell.invoke("clean", "--all", "--yes")
        assert small_up.left_over() == {}
        assert other.runs() == before
    finally:
        other.remove()
    happened("status, up, down and clean are about the clone's own lab; the other one runs on")


@pytest.mark.attack("clean --lab with the name of a lab whose clone is there")
def test_another_labs_clone_is_there(neighbour: Lab, small: Lab, happened: Happened) -> None:
    before = lives(neighbour)
    done = small.invoke("clean", "--lab", neighbour.project, "--all", "--yes", check=False)
    assert (done.returncode, str(neighbour.root) in said(done)) == (Code.CLEAN, True), said(done)
    assert lives(neighbour) == before
    happened(told(done))


@pytest.mark.attack("cp -r of a clone whose lab is up, and every task in the copy")
def test_a_copy_is_another_lab(small_up: Lab, tmp_path: Path, happened: Happened) -> None:
    before, name = lives(small_up), small_up.project
    copy = Lab(root=tmp_path / "copy", environ=small_up.environ)
    shutil.copytree(small_up.root, copy.root, symlinks=True)
    for verb in (("up",), ("down",), ("status",), ("url",), ("clean", "--all", "--yes")):
        done = copy.invoke(*verb, check=False)
        assert (done.returncode, "invoke setup" in said(done)) == (Code.SETTINGS, True), said(done)
    assert lives(small_up) == before
    happened(f"each task: {told(done)}", 5)
    copy.invoke("setup", "--yes")
    try:
        assert copy.project != name
        copy.invoke("up")
        assert lives(small_up) == before
    finally:
        copy.invoke("clean", "--all", "--yes")
    assert (copy.left_over(), lives(small_up)) == ({}, before)
    happened("after setup it has a name, ports and a token of its own; both labs ran side by side")


@pytest.mark.fault("a clone that is moved while its lab is up")
def test_a_moved_clone_takes_its_lab_along(tmp_path: Path, happened: Happened) -> None:
    lab = small_lab(tmp_path / "before")
    lab.invoke("up")
    name = lab.project
    lab.root = lab.root.rename(tmp_path / "after")
    try:
        assert json.loads(lab.invoke("status", "--json").stdout)["project"] == name
        lab.invoke("up")
        (lab.root / "notebooks" / "here").touch()
        assert lab.exec("ls", "/lab/notebooks/here").returncode == 0
    finally:
        lab.invoke("clean", "--all", "--yes")
    assert lab.left_over() == {}
    happened("the next `up` starts the same lab from the new place, and clean removes all of it")


SETUP = """import pathlib, setuptools
for place in ({root!r}, "/tmp"):
    try:
        pathlib.Path(place, {trap!r}).touch()
    except OSError:
        pass
setuptools.setup(name="trapped", version="1.0", py_modules=["trapped"])
"""


@pytest.mark.attack("add-package of a project whose setup.py was written by a notebook")
def test_no_code_of_a_project_runs_on_this_machine(
    small_up: Lab, tmp_path: Path, happened: Happened
) -> None:
    folder, trap = small_up.root / "notebooks" / "trapped", f"trap-{uuid.uuid4().hex}"
    folder.mkdir()
    (folder / "setup.py").write_text(SETUP.format(root=str(tmp_path), trap=trap))
    (folder / "trapped.py").write_text("X = 7\n")
    done = small_up.invoke("add-package", "./notebooks/trapped", check=False)
    assert (done.returncode, "no file says its name" in said(done)) == (
        Code.PACKAGE_REFUSED,
        True,
    ), said(done)
    (folder / "setup.cfg").write_text("[metadata]\nname = trapped\n")
    small_up.invoke("add-package", "./notebooks/trapped")
    assert not (tmp_path / trap).exists()
    assert not Path("/tmp", trap).exists()
    asked = small_up.exec("python", "-c", "import trapped; print(trapped.X)")
    assert asked.stdout.strip() == "7", said(asked)
    small_up.invoke("remove-package", "trapped")
    happened("its setup.py ran in the image alone")


MARKER = """import os, pathlib, setuptools
cache = pathlib.Path(os.environ.get("UV_CACHE_DIR", "/tmp"))  # the running lab has none of a build
(cache / "mark-{name}").touch()
marks = sorted(path.name for path in cache.glob("mark-*"))
pathlib.Path("marker.py").write_text("MARKS = " + repr(marks))
setuptools.setup(py_modules=["marker"])
"""


def test_no_build_reaches_another_clones_cache(small_up: Lab, tmp_path: Path) -> None:
    """Code of a source archive writes into the cache, and sees what others have written there."""
    (small_up.root / "docker" / "packages.in").write_text("")
    other = Lab(root=tmp_path / "other", environ=small_up.environ)
    shutil.copytree(small_up.root, other.root, symlinks=True)
    other.invoke("setup", "--yes")
    try:
        for name, lab in (("first", small_up), ("second", other)):
            folder = lab.root / "notebooks" / "marker"
            folder.mkdir()
            (folder / "setup.py").write_text(MARKER.format(name=name))
            (folder / "setup.cfg").write_text("[metadata]\nname = marker\nversion = 1.0\n")
            lab.invoke("add-package", "./notebooks/marker")
            code = ("python", "-c", "import marker; print(*marker.MARKS)")
            seen = lab.docker("run", "--rm", f"{lab.project}/jupyter", *code).stdout.split()
            assert seen == [f"mark-{name}"]
    finally:
        other.invoke("clean", "--all", "--yes")


def test_a_lock_that_lost_its_hash_is_not_installed(small_up: Lab) -> None:
    """A build refuses it, `lock --check` names it, and the next change brings the hash back."""
    lock = small_up.root / "docker" / "packages.lock"
    (lock.parent / "packages.in").write_text("")
    small_up.invoke("add-package", "einops")
    whole = lock.read_text()
    lock.write_text(re.sub(r"(einops==\S+)(?: \\\n +--hash=\S+)+", r"\1", whole))
    try:
        done = small_up.invoke("build", check=False)
        assert done.returncode == Code.LOCK_STALE, said(done)
        assert "holds no hash for einops" in said(done)
        assert "fix: invoke lock" in said(done)
        assert "holds no hash for einops" in said(small_up.invoke("lock", "--check", check=False))
        small_up.invoke("lock")
        assert lock.read_text() == whole
    finally:
        lock.write_text(whole)
        small_up.invoke("remove-package", "einops")


@pytest.mark.attack("an image built on the lab's and left nameless; a project on the lab's image")
def test_what_others_made_of_the_labs_image_stays(
    small_up: Lab, tmp_path: Path, happened: Happened
) -> None:
    """Both inherit the lab's labels."""
    image = f"{small_up.project}/tensorboard"
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nENV MINE=1\n")
    built = small_up.docker("build", "--quiet", str(tmp_path))
    mine = built.stdout.strip()
    assert mine, said(built)
    other = Project(small_up, tmp_path, image)
    try:
        before = other.runs()
        path = small_up.root / "labcrate" / "image" / "guard.py"
        path.write_text(path.read_text() + "# changed\n")
        small_up.invoke("up")
        assert small_up.docker("image", "inspect", mine).returncode == 0
        happened("a rebuild leaves the nameless image alone")
        small_up.invoke("clean", "--yes")
        assert small_up.docker("image", "inspect", mine).returncode == 0
        assert other.runs() == before
        happened("clean leaves it alone, and the project's container runs on")
    finally:
        other.remove()
        small_up.docker("image", "rm", "--force", mine)
    small_up.invoke("clean", "--all", "--yes")
    assert small_up.left_over() == {}


@pytest.mark.fault("a clone made under umask 077 by another user than the lab's")
def test_a_closed_clone_builds_and_adds_packages(tmp_path: Path, happened: Happened) -> None:
    lab = small_lab(tmp_path / "closed")
    for path in (lab.root / "docker", *(lab.root / "docker").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    try:
        lab.set(LAB_UID="4321", LAB_GID="4321")
        for name in ("notebooks", "src", "runs", "data", "models"):
            (lab.root / name).chmod(0o777)
        lab.invoke("build")
        folder = lab.root / "notebooks" / "mine"
        folder.mkdir()
        (folder / "mine.py").write_text("X = 7\n")
        (folder / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "0.1"\n')
        lab.invoke("add-package", "einops ./notebooks/mine")
        code = "import einops, mine, os; print(mine.X, os.getuid(), os.path.exists('/tmp/docker'))"
        done = lab.docker("run", "--rm", f"{lab.project}/jupyter", "python", "-c", code)
        assert done.stdout.split() == ["7", "4321", "False"], said(done)
        modes = {path.stat().st_mode & 0o077 for path in (lab.root / "docker").glob("*.lock")}
        assert modes == {0}
    finally:
        lab.invoke("clean", "--all", "--yes")
    assert lab.left_over() == {}
    happened("build and add-package work; the clone's files keep their modes")
