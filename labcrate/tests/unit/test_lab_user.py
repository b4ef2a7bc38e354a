"""A rootless engine: the lab's user is 0 there, and a limit may be ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from machine_of import ENV, INFO, Gather, gather, programs
from task_lab import TaskLab, context, failed

from labcrate import environment
from labcrate.clone.env_file import read_env
from labcrate.clone.place import Clone
from labcrate.doctor import readings
from labcrate.doctor.facts import Folder
from labcrate.errors import Code
from labcrate.tasks.starting import build, setup, up

__all__ = ["gather", "programs"]
"""Fixtures."""

ROOTLESS = ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"]
"""`SecurityOptions` of a rootless engine 28.5."""


@pytest.fixture
def rootless(task_lab: TaskLab) -> TaskLab:
    task_lab.info["SecurityOptions"] = ROOTLESS
    return task_lab


@pytest.mark.parametrize("task", [setup, build, up])
def test_an_env_of_another_engine_is_refused_with_the_fix(rootless: TaskLab, task: Any) -> None:
    rootless.set(LAB_UID="1000", LAB_GID="1000")
    before = rootless.clone.env_file.read_text()
    code, message = failed(task)
    assert (code, "the engine is rootless" in message) == (Code.SETTINGS, True)
    assert "fix: set LAB_UID=0 and LAB_GID=0 in .env" in message
    assert rootless.clone.env_file.read_text() == before
    assert not rootless.double.called("docker", "pull")
    assert not rootless.double.called("docker", "compose", "up")


def test_with_user_0_the_lab_comes_up(rootless: TaskLab) -> None:
    rootless.set(LAB_UID="0", LAB_GID="0")
    up(context())


def test_setup_writes_user_0(rootless: TaskLab) -> None:
    rootless.set(LAB_UID="", LAB_GID="")
    rootless.double.expect("docker", "image", "inspect", "--format", stdout="2026-11-26T00:00:00Z")
    setup(context())
    env = read_env(rootless.clone.env_file)
    assert (env["LAB_UID"], env["LAB_GID"]) == ("0", "0")


@pytest.mark.parametrize(
    ("limit", "enforced", "said"),
    [("4g", False, True), ("4g", True, False), ("0", False, False), ("", False, False)],
)
def test_a_memory_limit_that_is_ignored_is_said(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str], limit: str, enforced: bool, said: bool
) -> None:
    """On stderr, and with --quiet, too: a program's output stays as it is."""
    task_lab.set(MEMORY_LIMIT=limit)
    task_lab.info["MemoryLimit"] = enforced
    up(context(), quiet=True)
    told = capsys.readouterr()
    assert ("cannot enforce MEMORY_LIMIT" in told.err) is said
    assert ("Delegate=yes" in told.err) is said
    assert "MEMORY_LIMIT" not in told.out


def test_the_callers_files_are_not_a_strangers(
    gather: Gather, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[int] = set()

    def read(path: Path, owner: int) -> Folder:
        asked.add(owner)
        return Folder(path=path, exists=True)

    monkeypatch.setattr(environment, "user_ids", lambda: (4321, 4322))
    monkeypatch.setattr(readings, "read_folder", read)
    lines = [line for line in ENV.splitlines() if not line.startswith("LAB_")]
    clone.env_file.write_text("\n".join([*lines, "LAB_UID=0", "LAB_GID=0", ""]))
    found = gather(docker_info={**INFO, "SecurityOptions": ROOTLESS})
    assert found.rootless
    assert (found.owner, asked) == ((4321, 4322), {4321})
