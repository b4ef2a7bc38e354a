"""One changing task at a time in a clone."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from clone import ROOT

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


HOLDS = """
import sys
from pathlib import Path
from labcrate import process
from labcrate.clone.lock import locked
from labcrate.clone.place import Clone

root = Path(sys.argv[1])
with locked(Clone(root=root, here=root), "down"):
    process.ask(("sh", "-c", "echo $$ > started; exec sleep 30"), cwd=root)
"""


def is_locked(clone: Clone) -> bool:
    with (clone.state / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_killed_task_had_started_keeps_the_lock(clone: Clone) -> None:
    """`docker compose down` runs on after `kill -9` of `invoke down`: `up` must wait for it."""
    started = clone.root / "started"
    command = [sys.executable, "-c", HOLDS, str(clone.root)]
    with subprocess.Popen(command, cwd=ROOT) as task:
        wait_until(lambda: started.exists() and started.read_text() != "")
        task.kill()
    assert is_locked(clone)
    os.kill(int(started.read_text()), signal.SIGKILL)
    wait_until(lambda: not is_locked(clone))


def test_a_lock_that_was_removed_is_taken_anew(clone: Clone) -> None:
    with locked(clone, "clean"):
        (clone.state / "lock").unlink()
        with locked(clone, "up"):
            assert is_locked(clone)
    assert not is_locked(clone)
