"""A user who is not root: with the engine's group everything works, without it the fix is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from clone import clean_environ, copy_tree, said
from conftest import share_base
from faultlog import Happened, told

from labcrate.clone.env_file import read_env
from labcrate.errors import Code

SOCKET = Path("/var/run/docker.sock")
USER = 4321
"""A uid without an entry in /etc/passwd: so it is on many shared servers and CI runners."""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become another user; this whole run is an ordinary one"
)


@dataclass(frozen=True)
class Account:
    root: Path

    def bootstrap(self, *arguments: str, member: bool) -> subprocess.CompletedProcess[str]:
        """The README's way in, as that user, in or not in the group that owns the socket."""
        return subprocess.run(
            [python(), "bootstrap.py", *arguments],
            cwd=self.root,
            env={**clean_environ(), "HOME": str(self.root), "USER": "someone"},
            user=USER,
            group=USER,
            extra_groups=[SOCKET.stat().st_gid] if member else [],
            umask=0o077,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )


def python() -> str:
    """An interpreter that another user may run: root's own may lie in a closed home."""
    usual = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    return usual or sys.executable


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with tempfile.TemporaryDirectory(prefix="labcrate-user-") as name:
        root = Path(name) / "clone"
        root.mkdir()
        copy_tree(root)
        share_base(root)
        for path in (Path(name), *Path(name).rglob("*")):
            os.chown(path, USER, USER)
        made = Account(root=root)
        yield made
        made.bootstrap("invoke", "clean", "--all", "--yes", member=True)


@pytest.mark.fault("a user outside the engine's group")
def test_without_the_group_the_fix_is_told(account: Account, happened: Happened) -> None:
    done = account.bootstrap("invoke", "setup", "--yes", member=False)
    assert done.returncode == Code.ENGINE_DENIED, said(done)
    assert "usermod -aG docker" in said(done)
    happened(told(done))


def test_the_doctor_looks_without_the_group(account: Account) -> None:
    """Before anything is set up, as a stranger to the engine: it tells all, and makes nothing."""
    before = sorted(account.root.rglob("*"))
    done = account.bootstrap("invoke", "doctor", "--json", member=False)
    assert done.returncode == Code.FINDINGS, said(done)
    errors = [f for f in json.loads(done.stdout) if f["severity"] == "error"]
    assert {f["check"] for f in errors} >= {"env", "engine"}
    assert any("usermod -aG docker" in f["fix"] for f in errors)
    assert not any("could not look" in f["problem"] for f in json.loads(done.stdout))
    kept = [p for p in account.root.rglob("*") if "__pycache__" not in str(p)]
    assert sorted(kept) == [p for p in before if "__pycache__" not in str(p)]


@pytest.mark.fault("a uid without a name in /etc/passwd, umask 077")
def test_with_the_group_everything_works(account: Account, happened: Happened) -> None:
    """umask 077 and a uid without a name, from the first command to the last."""
    done = account.bootstrap("invoke", "setup", "--yes", "up", member=True)
    assert done.returncode == 0, said(done)
    assert read_env(account.root / ".env")["LAB_UID"] == str(USER)
    code = "import getpass, pathlib; print(getpass.getuser()); pathlib.Path('/lab/runs/x').touch()"
    done = account.bootstrap("invoke", "run", "--", "python", "-c", code, member=True)
    assert (done.returncode, "lab" in done.stdout) == (0, True), said(done)
    assert (account.root / "runs" / "x").stat().st_uid == USER
    assert (account.root / ".env").stat().st_mode & 0o777 == 0o600
    happened("setup, up, run: exit 0; files belong to that user, .env is 600")


@pytest.mark.fault("clean --all by a uid without a name")
def test_clean_leaves_nothing(account: Account, happened: Happened) -> None:
    project = read_env(account.root / ".env")["COMPOSE_PROJECT_NAME"]
    done = account.bootstrap("invoke", "clean", "--all", "--yes", member=True)
    assert done.returncode == 0, said(done)
    label = f"label=dev.labcrate.project={project}"
    for listing in (
        ("ps", "-aq"),
        ("network", "ls", "-q"),
        ("volume", "ls", "-q"),
        ("images", "-q"),
    ):
        left = subprocess.run(
            ["docker", *listing, "--filter", label], capture_output=True, text=True, check=True
        )
        assert left.stdout == "", listing
    assert (account.root / "runs" / "x").exists()
    happened("nothing of the lab is left; the user's files are")
