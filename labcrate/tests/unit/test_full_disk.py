"""On a full disk the tasks that make room work without writing; the others say what is wrong."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from task_lab import TaskLab, context, failed

from labcrate.clone.env_file import if_there_is_room, writable, write_private
from labcrate.clone.lock import locked, refuse_read_only
from labcrate.clone.place import Clone
from labcrate.errors import Code
from labcrate.tasks.base import is_full
from labcrate.tasks.cleaning import clean
from labcrate.tasks.starting import build, down, up

NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full(task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the clone can be made or written."""
    root = task_lab.clone.root
    real_open, real_os_open, real_mkdir = io.open, os.open, Path.mkdir

    def inside(path: Any) -> bool:
        return not isinstance(path, int) and Path(path).is_relative_to(root)

    def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        if inside(file) and set(mode) & set("wax+"):
            raise NO_ROOM
        return real_open(file, mode, *more, **named)

    def os_opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if inside(path) and flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY):
            raise NO_ROOM
        return real_os_open(path, flags, *more, **named)

    def mkdir(path: Path, *more: Any, **named: Any) -> None:
        if not path.is_dir():
            raise NO_ROOM
        real_mkdir(path, *more, **named)

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(os, "open", os_opened)
    monkeypatch.setattr(Path, "mkdir", mkdir)


def files(clone: Clone) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in clone.root.rglob("*") if p.is_file()}


@pytest.mark.usefixtures("full")
def test_down_stops_the_lab(task_lab: TaskLab) -> None:
    before = files(task_lab.clone)
    task_lab.double.expect("docker", "compose", "down", "--remove-orphans")
    down(context())
    assert task_lab.double.calls[-1][-2:] == ("down", "--remove-orphans")
    assert files(task_lab.clone) == before


@pytest.mark.usefixtures("full")
def test_up_starts_the_lab(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    task_lab.down()
    up(context())
    assert "  up (" in capsys.readouterr().out


@pytest.mark.usefixtures("full")
def test_clean_removes(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    label = "label=dev.labcrate.project=lab-test-1"
    double = task_lab.double
    for words in (("ps",), ("network", "ls"), ("image", "ls"), ("volume", "ls")):
        double.expect("docker", *words)
    double.expect("docker", "system", "df")
    double.expect(
        "docker", "buildx", "du", stdout="ID: r1\nDescription: x /bin/sh -c : labcrate x\n"
    )
    gone: list[str] = []
    images = "i1\tlab-test-1/jupyter:latest\t7GB"
    task_lab.answer(
        "docker", "image", "ls", "--no-trunc", label, told=lambda: "" if gone else images
    )
    double.expect("docker", "image", "rm", does=lambda *_: gone.append("i1"))
    double.expect("docker", "buildx", "prune")
    clean(context(), images=True, cache=True, yes=True)
    assert "Removed 1 things" in capsys.readouterr().out
    assert double.called("docker", "buildx", "prune")


@pytest.mark.usefixtures("full")
def test_a_task_that_must_write_says_that_the_disk_is_full(task_lab: TaskLab) -> None:
    task_lab.built["jupyter"] = "old"
    code, told = failed(build)
    assert (code, "the disk of this clone is full" in told) == (Code.DISK_FULL, True)
    assert "invoke clean --images" in told


def test_a_copy_of_a_folder_that_does_not_fit_is_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "x").write_text("x")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "x").symlink_to("/dev/full")
    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "from", tmp_path / "to", dirs_exist_ok=True)
    assert is_full(caught.value)
    assert not is_full(shutil.Error([("a", "b", "[Errno 13] Permission denied")]))


def test_another_error_of_the_system_is_not_hidden() -> None:
    with pytest.raises(PermissionError), if_there_is_room():
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.usefixtures("full")
def test_a_full_disk_is_not_a_read_only_one(clone: Clone) -> None:
    assert writable(clone.root)
    refuse_read_only(clone)


@pytest.mark.usefixtures("full")
def test_a_lock_that_cannot_be_made_does_not_stop_a_task(clone: Clone) -> None:
    done = []
    with locked(clone, "down"):
        done.append(1)
    assert done


def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, half = tmp_path / "x", tmp_path / "x.half"
    path.write_text("before")
    half.touch()

    def full_file(**_: Any) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), str(half)

    monkeypatch.setattr(tempfile, "mkstemp", full_file)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, "after")
    assert (path.read_text(), half.exists()) == ("before", False)
