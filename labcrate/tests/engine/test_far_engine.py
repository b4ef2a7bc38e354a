"""An engine that `docker` reaches by ssh: one that sees the clone is used, another is refused."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clone import ROOT, Lab, said
from sshd import Laptop, Server, laptop, server

from labcrate.errors import Code

__all__ = ["laptop", "server"]
"""Fixtures."""

pytestmark = pytest.mark.sshd

FAR = "ssh://box"
LOOK = "label=dev.labcrate.project=labcrate-sight"


@pytest.fixture
def by_ssh(server: Server) -> dict[str, str]:
    """The variables with which `docker` goes to its engine by ssh."""
    path = os.pathsep.join((str(server.folder / "bin"), os.environ["PATH"]))
    return {"DOCKER_HOST": FAR, "PATH": path}


def leftovers() -> str:
    """What the look left on the engine."""
    docker = Lab(root=ROOT).docker
    kinds = (("ps", "--all"), ("image", "ls", "--all"))
    return "".join(docker(*kind, "--quiet", "--filter", LOOK).stdout for kind in kinds)


def test_the_same_path_on_both_works_and_its_ports_are_that_machines(
    up_lab: Lab, by_ssh: dict[str, str]
) -> None:
    before = up_lab.container()
    done = Lab(root=up_lab.root, environ=by_ssh).invoke("up")
    assert "already up; nothing was touched" in done.stdout
    port = up_lab.env["JUPYTER_PORT"]
    line = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["tunnel"])
    assert f"-L {port}:127.0.0.1:{port} " in line
    assert line.endswith(" box")
    assert up_lab.container() == before
    assert leftovers() == ""
    assert list((up_lab.root / ".labcrate").glob("sight-*")) == []


def hidden(laptop: Laptop, place: Path, *words: str) -> list[str]:
    """A command in a copy of the laptop's clone that only this command's processes see."""
    script = 'mount -t tmpfs none "$1" && cp -a "$2/." "$1" && cd "$1" && shift 2 && exec env "$@"'
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    alone = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")
    return [*sudo, *alone, str(place), str(laptop.root), *words]


@pytest.mark.skipif(
    os.geteuid() != 0 and not shutil.which("sudo"), reason="only root can hide a folder"
)
@pytest.mark.parametrize("twin", [False, True])
def test_a_clone_that_the_engine_does_not_see_gets_nothing_built(
    laptop: Laptop, by_ssh: dict[str, str], tmp_path: Path, twin: bool
) -> None:
    """No folder at that path over there, or another clone's."""
    place = tmp_path / "lab"
    (place / ".labcrate" if twin else place).mkdir(parents=True)
    environ = [f"{name}={value}" for name, value in by_ssh.items()]
    task = (*environ, sys.executable, "-m", "invoke", "setup", "--yes")
    done = subprocess.run(hidden(laptop, place, *task), capture_output=True, text=True, timeout=120)
    assert done.returncode == Code.ENGINE_ELSEWHERE, shlex.join(task) + said(done)
    assert "does not see this clone" in done.stderr
    assert "ssh box" in done.stderr
    assert "Ready" not in done.stdout
    assert "$ " not in done.stdout, "it ran a command that changes something"
    assert leftovers() == ""
