"""A clone of the working tree, and the ways to act on it as a user would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from labcrate.clone import env_file, rules

ROOT = Path(__file__).resolve().parents[2]
"""The repository: the clone that these tests are part of."""

# Started in the background of a shell, Ctrl-C is ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class Lab:
    """A clone and the ways to act on it as a user would."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return env_file.read_env(self.root / ".env")

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
        self, argv: tuple[str, ...], timeout: float = 300, **environ: str
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
        return self.docker("exec", self.container(), *arguments)

    def container(self, service: str = "jupyter") -> str:
        return self.docker(*listing(self.project, service)).stdout.strip()

    def set(self, **values: str) -> None:
        """Change .env as a user with an editor would."""
        path = self.root / ".env"
        path.write_text(env_file.fill(path.read_text(), values))

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


def read_until(child: subprocess.Popen[str], words: str) -> str:
    """What a task prints in the background, up to the line with these words; fails without."""
    assert child.stdout is not None
    text = ""
    for line in child.stdout:
        text += line
        if words in line:
            return text
    pytest.fail(f"it never said {words!r}:\n{text}")


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def listing(project: str, service: str) -> tuple[str, ...]:
    """What to ask docker for a service's container.

    Not Compose: that takes 0.25 s, and tests ask a thousand times in a run.
    """
    labels = {"project": project, "service": service, "oneoff": "False"}
    chosen = [f"--filter=label=com.docker.compose.{k}={v}" for k, v in labels.items()]
    return ("ps", "--all", "--quiet", "--no-trunc", *chosen)


def clean_environ() -> dict[str, str]:
    """The environment without variables that would override the clone's .env.

    And with Python's own cache: without it, each task would compile the whole machinery again.
    """
    left_out = {*rules.KNOWN, "PYTHONDONTWRITEBYTECODE"}
    return {name: value for name, value in os.environ.items() if name not in left_out}


def copy_tree(target: Path) -> Path:
    """The working tree as a clone would have it: tracked files and new ones, none ignored.

    And what Python has compiled of them: each of a hundred clones would do it again, in 1.5 s.
    """
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
            copy_compiled(source, target / name)
    return target


def copy_compiled(source: Path, target: Path) -> None:
    """What Python has compiled of a source. It is valid, since the copy keeps the source's time."""
    compiled = Path(cache_from_source(str(source)))
    if source.suffix == ".py" and compiled.exists():
        folder = target.parent / compiled.parent.name
        folder.mkdir(exist_ok=True)
        shutil.copy2(compiled, folder)
