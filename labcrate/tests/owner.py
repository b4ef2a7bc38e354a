"""The template as its owner has it, and what he does with it: commands as he types them."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import ROOT, Lab, clean_environ, copy_tree, said

IDENTITY = {
    "GIT_AUTHOR_NAME": "Owner",
    "GIT_AUTHOR_EMAIL": "owner@example.invalid",
    "GIT_COMMITTER_NAME": "Owner",
    "GIT_COMMITTER_EMAIL": "owner@example.invalid",
    # The settings of whoever runs the tests, and of his machine, must not matter.
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Owner(Lab):
    """A lab of his, and what he types in its folder; the tools are on PATH, as once activated."""

    tools: tuple[str, ...] = (sys.executable, "-m")
    """How invoke and nox are started; also (PYTHON, "bootstrap.py")."""

    def __init__(self, root: Path) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        super().__init__(root=root, environ={"PATH": path, **IDENTITY})

    @property
    def compose_file(self) -> Path:
        return self.root / "compose" / "compose.yaml"

    def invoke(
        self, *arguments: str, check: bool = True, timeout: float = 600, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        done = self.command((*self.tools, "invoke", *arguments), timeout, **environ)
        if check and done.returncode:
            pytest.fail(f"invoke {arguments} ended with {done.returncode}:\n{said(done)}")
        return done

    def nox(self, *arguments: str, fails: bool = False, **environ: str) -> str:
        """What `python3 bootstrap.py nox` runs; what it said. fails: whether it has to."""
        done = self.command((*self.tools, "nox", *arguments), 600, **{"CI": "true", **environ})
        if bool(done.returncode) is not fails:
            pytest.fail(f"nox ended with {done.returncode}:\n{said(done)}")
        return said(done)

    def in_image(self, *command: str) -> str:
        """The last line that a command prints in the lab's image, the lab's files mounted."""
        return self.invoke("run", "--", *command).stdout.strip().splitlines()[-1]

    def stale(self) -> bool:
        """Whether `invoke status` says that an image is not up to date."""
        return "Not up to date" in self.invoke("status").stdout

    def typed(self, text: str, *command: str) -> str:
        """What a command prints that reads this text from its input."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**clean_environ(), **self.environ},
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, said(done)
        return done.stdout

    def images(self, project: str) -> list[str]:
        """The images of the lab with this name."""
        label = f"label=dev.labcrate.project={project}"
        return self.docker("image", "ls", "--quiet", "--filter", label).stdout.split()


def copier_rules() -> dict[str, Any]:
    """What copier.yml says."""
    rules: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())
    return rules


def owner_copy(target: Path) -> Path:
    """The working tree as `copier copy` leaves it: without the machinery's tests, docs and CI."""
    copy_tree(target)
    for pattern in (*copier_rules()["_exclude"], "*.jinja"):
        for path in list(target.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return target


def copy_files(source: Path, target: Path) -> Owner:
    """A second copy of an owner's folder; files keep their modes, and whose they are."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", str(source), str(target)], check=True)
    return Owner(target)


def append(path: Path, text: str) -> None:
    """Add lines to the end of a file, which may be new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + text)


def replace(path: Path, old: str, new: str) -> None:
    """Change the one place of a file that holds this text."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new))


def after_line(path: Path, pattern: str, text: str) -> None:
    """Put lines after the first one that matches."""
    lines = path.read_text().splitlines(keepends=True)
    where = next(at for at, line in enumerate(lines) if re.search(pattern, line))
    path.write_text("".join([*lines[: where + 1], text, *lines[where + 1 :]]))


def git(folder: Path, *arguments: str) -> str:
    """git as a person without settings of his own; its output."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **IDENTITY},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, said(done)
    return done.stdout


def commit(folder: Path, message: str) -> str:
    """A commit of all that git does not ignore, in a repository that is made if need be."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD").strip()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(folder: Path, address: str) -> Iterator[str]:
    """The files of a folder over HTTP at this address of the machine; the URL they are at."""
    handler: Callable[..., Quiet] = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{address}:{server.server_port}"
        server.shutdown()


def bridge_address(lab: Lab) -> str:
    """The address of this machine that builds and containers reach."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    return lab.docker("network", "inspect", "bridge", "--format", template).stdout.strip()
