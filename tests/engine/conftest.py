"""A lab of the tests' own, on the real engine: a clone, its settings, its containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from labcrate import settings

ROOT = Path(__file__).resolve().parents[2]
AWKWARD = "lab tést (1)"
"""A folder name with a space, a letter beyond ASCII and brackets: people have such folders."""


@dataclass
class Lab:
    """A clone and the ways to act on it as a user would."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return settings.read(self.root / ".env")

    @property
    def project(self) -> str:
        return self.env["COMPOSE_PROJECT_NAME"]

    @property
    def jupyter(self) -> str:
        return f"http://127.0.0.1:{self.env['JUPYTER_PORT']}"

    @property
    def tensorboard(self) -> str:
        return f"http://127.0.0.1:{self.env['TENSORBOARD_PORT']}"

    def invoke(
        self, *arguments: str, check: bool = True, timeout: float = 600, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        done = self.command((sys.executable, "-m", "invoke", *arguments), timeout, **environ)
        if check and done.returncode:
            pytest.fail(f"invoke {arguments} ended with {done.returncode}:\n{said(done)}")
        return done

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """A task in the background, its output in one pipe."""
        return subprocess.Popen(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.root,
            env={**clean_environ(), **self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(
        self, argv: tuple[str, ...], timeout: float = 120, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=self.root,
            env={**clean_environ(), **self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def docker(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return self.command(("docker", *arguments), timeout)

    def exec(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.docker("compose", "exec", "-T", "jupyter", *arguments)

    def container(self, service: str = "jupyter") -> str:
        return self.docker("compose", "ps", "--all", "--quiet", service).stdout.strip()

    def set(self, **values: str) -> None:
        """Change .env as a user with an editor would."""
        from labcrate.setup import fill

        path = self.root / ".env"
        path.write_text(fill(path.read_text(), values))

    def left_over(self) -> dict[str, list[str]]:
        """What carries this lab's label on the engine."""
        label = f"label=dev.labcrate.project={self.project}"
        kinds = {
            "containers": ("ps", "--all", "--quiet"),
            "networks": ("network", "ls", "--quiet"),
            "volumes": ("volume", "ls", "--quiet"),
            "images": ("image", "ls", "--quiet"),
        }
        found = {k: self.docker(*v, "--filter", label).stdout.split() for k, v in kinds.items()}
        return {kind: names for kind, names in found.items() if names}


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def clean_environ() -> dict[str, str]:
    """The environment without variables that would override the clone's .env."""
    return {name: value for name, value in os.environ.items() if name not in settings.KNOWN}


def copy_tree(target: Path) -> Path:
    """The working tree as a clone would have it: tracked files and new ones, none ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def share_base(clone: Path) -> None:
    """Build on the base image that this checkout has, so that the layers below are shared."""
    own = settings.read(ROOT / ".env").get("BASE_IMAGE", "") if (ROOT / ".env").exists() else ""
    if own:
        text = (clone / ".env.example").read_text()
        (clone / ".env").write_text(text.replace("BASE_IMAGE=debian:trixie-slim", f"BASE_IMAGE={own}"))
        (clone / ".env").chmod(0o600)


def make_lab(folder: Path) -> Lab:
    folder.mkdir(parents=True)
    # Above it pytest's own folders are closed to others, and the lab's user is another.
    lab = Lab(root=copy_tree(folder))
    share_base(folder)
    lab.invoke("setup", "--yes")
    return lab


def remove_lab(lab: Lab) -> None:
    lab.invoke("clean", "--all", "--yes", check=False)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for the whole run, up; tests leave it up."""
    made = make_lab(tmp_path_factory.mktemp("labs") / AWKWARD)
    made.invoke("up")
    yield made
    remove_lab(made)


@pytest.fixture
def up_lab(lab: Lab) -> Lab:
    """The session's lab, up whatever the test before it did."""
    if not lab.container() or "running" not in lab.docker(
        "inspect", "--format", "{{.State.Status}}", lab.container()
    ).stdout:
        lab.invoke("up")
    return lab
