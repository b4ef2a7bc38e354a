"""The lock for all users of the machine: how it is opened, held and given back."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clone import ROOT

from labcrate.errors import Code, LabError
from labcrate.gpu import card_lock
from labcrate.gpu.card_lock import NAME, cards_locked


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that all users can write to, in place of the machine's."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(card_lock, "PLACES", (tmp_path / "none", folder))
    return folder


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_it_is_held_and_given_back_and_every_user_can_open_it(shared: Path) -> None:
    before = os.umask(0o077)
    try:
        with cards_locked():
            assert is_locked(shared / NAME)
            assert os.umask(0o077) == 0o077, "the umask is the caller's again"
    finally:
        os.umask(before)
    assert not is_locked(shared / NAME)
    assert stat.S_IMODE((shared / NAME).stat().st_mode) == 0o666
    with cards_locked() as release:
        release()
        assert not is_locked(shared / NAME)


def test_one_of_another_user_is_used_as_it_is(shared: Path) -> None:
    """Kernels refuse to open such a file with O_CREAT (fs.protected_regular)."""
    (shared / NAME).write_text("not ours")
    (shared / NAME).chmod(0o444)
    with cards_locked():
        assert is_locked(shared / NAME)
    assert (shared / NAME).read_text() == "not ours"


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo"])
def test_what_is_no_file_is_refused_and_left_alone(shared: Path, kind: str) -> None:
    path, target = shared / NAME, shared / "target"
    match kind:
        case "link":
            target.write_text("precious")
            path.symlink_to(target)
        case "dangling":
            path.symlink_to(target)
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
    with pytest.raises(LabError, match="is not a lock that all users") as caught, cards_locked():
        pytest.fail("it was taken")
    assert caught.value.code is Code.FOLDER
    assert f"sudo rm -r {path}" in caught.value.fix
    assert target.exists() is (kind == "link")


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1775])
def test_a_folder_in_which_others_could_remove_it_is_no_place(shared: Path, mode: int) -> None:
    shared.chmod(mode)
    with pytest.raises(LabError, match="open to all its users"), cards_locked():
        pytest.fail("it was taken")


def test_who_waits_says_so_and_gets_it(
    shared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_lock, "QUIET_S", 0.1)
    first = (shared / NAME).open("w")
    fcntl.flock(first, fcntl.LOCK_EX)
    release = threading.Timer(0.4, first.close)
    release.start()
    with cards_locked():
        pass
    release.join()
    assert "Waiting while another lab of this machine takes a card" in capsys.readouterr().out


def test_one_that_was_removed_meanwhile_is_made_anew(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = fcntl.flock, iter([True])

    def flock(file: object, how: int) -> None:
        real(file, how)  # type: ignore[arg-type]
        if next(calls, False):
            (shared / NAME).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with cards_locked():
        monkeypatch.undo()
        assert is_locked(shared / NAME)


HOLDS = """
import sys
from pathlib import Path
from labcrate import process
from labcrate.clone.lock import locked
from labcrate.clone.place import Clone
from labcrate.gpu import card_lock

root = Path(sys.argv[1])
card_lock.PLACES = (root / "shared",)
kept = sys.argv[2] == "True"
with locked(Clone(root=root, here=root), "up"), card_lock.cards_locked(kept=kept):
    process.ask(("sh", "-c", "echo $$ > started; exec sleep 30"), cwd=root)
"""


def wait_until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert happens()


@pytest.mark.parametrize("kept", [True, False])
def test_a_killed_up_keeps_it_as_long_as_its_compose_runs(shared: Path, kept: bool) -> None:
    """And the lock of its clone, too. A run on a terminal would keep it for hours, so it does
    not."""
    root = shared.parent
    holder = subprocess.Popen((sys.executable, "-c", HOLDS, str(root), str(kept)), cwd=ROOT)
    started, own = root / "started", root / ".labcrate" / "lock"
    wait_until(lambda: started.exists() and started.read_text().strip() != "")
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert is_locked(shared / NAME) is kept
    assert is_locked(own)
    os.kill(int(started.read_text()), signal.SIGKILL)
    wait_until(lambda: not is_locked(shared / NAME) and not is_locked(own))
