"""Whose the files of a clone are, after tasks with sudo and before any."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from invoke import Context
from task_lab import context, failed

from labcrate import environment, process
from labcrate.clone import lock, ownership
from labcrate.clone.lock import refuse_read_only
from labcrate.clone.ownership import SPARED, not_permitted, owner_kept
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.tasks.base import lab_task

SOMEBODY = (4321, 4322)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, tuple[int, int]]]:
    """What was handed over, while root is at work in a clone of somebody's."""
    found: list[tuple[Path, tuple[int, int]]] = []

    def give(path: Path, owner: tuple[int, int], spared: tuple[str, ...]) -> bool:
        assert spared == SPARED
        found.append((path, owner))
        return True

    monkeypatch.setattr(ownership, "give", give)
    monkeypatch.setattr(environment, "is_root", lambda: True)
    return found


def belongs_to(clone: Clone, monkeypatch: pytest.MonkeyPatch, owner: tuple[int, int]) -> None:
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        fields = list(real(path, **options))
        if path == clone.root:
            fields[4:6] = owner
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.chdir(clone.root)


@pytest.mark.parametrize(
    "ends", [None, ZeroDivisionError(), LabError("x", fix="y", code=Code.ENV_READABLE)]
)
def test_what_root_wrote_is_handed_to_the_clones_owner(
    clone: Clone,
    monkeypatch: pytest.MonkeyPatch,
    given: list[Any],
    ends: BaseException | None,
) -> None:
    """However the task ends."""

    @lab_task()
    def body(c: Context) -> None:  # noqa: ARG001
        """Do."""
        if ends:
            raise ends

    belongs_to(clone, monkeypatch, SOMEBODY)
    if isinstance(ends, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            body(context())
    elif ends:
        failed(body)
    else:
        body(context())
    assert given == [(clone.root, SOMEBODY)]


@pytest.mark.parametrize(
    "why", ["the clone is root's", "an ordinary user", "a dry run", "no clone"]
)
def test_nothing_is_handed_over_otherwise(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, given: list[Any], tmp_path: Path, why: str
) -> None:
    belongs_to(clone, monkeypatch, (0, 0) if "root" in why else SOMEBODY)
    monkeypatch.setattr(environment, "is_root", lambda: why != "an ordinary user")
    if why == "no clone":
        monkeypatch.chdir(tmp_path)
    with process.in_mode(process.Mode(dry=why == "a dry run")), owner_kept():
        pass
    assert given == []


def test_a_closed_state_is_one_message_with_its_fix(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sudo in an earlier version left it root's."""
    monkeypatch.setattr(lock, "writable", lambda path: path != clone.state)
    for uid, fix in (
        (os.getuid(), f"sudo chown -R $(id -u):$(id -g) '{clone.state}', then"),
        (SOMEBODY[0], "work in a clone of your own"),
    ):
        belongs_to(clone, monkeypatch, (uid, uid))
        with pytest.raises(LabError) as caught:
            refuse_read_only(clone)
        assert (caught.value.code, fix in caught.value.fix) == (Code.FOLDER, True)
        assert str(clone.state) in caught.value.problem


@pytest.mark.parametrize("name", [".labcrate/gpu.json", "docker/packages.in"])
def test_no_verb_ends_in_a_traceback_at_a_file_that_is_not_the_users(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    @lab_task()
    def body(c: Context) -> None:  # noqa: ARG001
        """Do."""
        raise PermissionError(errno.EACCES, "Permission denied", str(clone.root / name))

    belongs_to(clone, monkeypatch, (os.getuid(), os.getgid()))
    code, told = failed(body)
    assert (code, str(clone.root / name) in told) == (Code.FOLDER, True)
    assert f"'{clone.root / name.partition('/')[0]}', then" in told


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "x", "/etc/shadow"),
        PermissionError(errno.EACCES, "x"),
        FileNotFoundError(errno.ENOENT, "x", "docker"),
    ],
)
def test_another_error_stays_what_it_is(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    monkeypatch.chdir(clone.root)
    assert not_permitted(error) is None
    monkeypatch.chdir("/")
    assert not_permitted(PermissionError(errno.EACCES, "x", "docker")) is None
