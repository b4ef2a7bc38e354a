"""One changing task at a time in a clone."""

from __future__ import annotations

import fcntl
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from labcrate import process
from labcrate.clone.lock import locked, refuse_read_only
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError


def test_the_holder_is_named_and_gone_afterwards(clone: Clone) -> None:
    with locked(clone, "up"):
        assert "`invoke up` (process " in (clone.state / "holder").read_text()
    assert not (clone.state / "holder").exists()


def test_a_second_task_says_whom_it_waits_for(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    first = (clone.state / "lock").open("w")
    fcntl.flock(first, fcntl.LOCK_EX)
    (clone.state / "holder").write_text("`invoke build` (process 1)")
    release = threading.Timer(0.5, first.close)
    release.start()
    with locked(clone, "up"):
        pass
    release.join()
    assert "Waiting for `invoke build` (process 1)" in capsys.readouterr().out


def test_a_dry_run_neither_waits_nor_makes_anything(clone: Clone) -> None:
    clone.state.rmdir()
    with process.in_mode(process.Mode(dry=True)), locked(clone, "up"):
        pass
    assert not clone.state.exists()


def test_a_clone_that_cannot_be_written_to_is_refused(clone: Clone) -> None:
    with pytest.raises(LabError, match="read-only") as caught:
        refuse_read_only(replace(clone, root=Path("/proc")))
    assert caught.value.code is Code.FOLDER
