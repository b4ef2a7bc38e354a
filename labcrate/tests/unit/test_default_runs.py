"""What libraries write by default, and TensorBoard's folder of links to it."""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from guard_script import guard_script

Guard = dict[str, Any]
Look = Callable[[set[str]], set[str]]


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Guard:
    """image/guard.py without TensorBoard, and a lab below tmp_path."""
    found = guard_script(monkeypatch)
    for name in ("runs/mine", "notebooks", "models"):
        (tmp_path / "lab" / name).mkdir(parents=True)
    (tmp_path / "board").mkdir()
    known: Guard = found["link_runs"].__globals__
    known.update(LAB=tmp_path / "lab", BOARD=tmp_path / "board", PAUSE_S=0.01)
    return known


@pytest.fixture
def look(guard: Guard, tmp_path: Path) -> Look:
    """One look at the lab's folders; the names that are linked."""

    def looked(linked: set[str]) -> set[str]:
        found: set[str] = guard["link_runs"](tmp_path / "lab" / "runs", linked)
        return found

    return looked


def write(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "events.out.tfevents.1").write_text("x")


def shown(board: Path) -> set[str]:
    """The runs that TensorBoard finds: it follows links."""
    walked = os.walk(board, followlinks=True)
    return {str(Path(folder).relative_to(board)) for folder, _, files in walked if files}


def test_each_librarys_own_folder_is_linked(look: Look, tmp_path: Path) -> None:
    """SummaryWriter's beside a notebook, Lightning's deeper, the Trainer's below a model."""
    lab = tmp_path / "lab"
    (lab / "runs" / "mine" / "events.out.tfevents.1").write_text("x")
    for run in ("notebooks/runs/Nov26", "notebooks/a/lightning_logs/version_0", "models/m/runs/1"):
        write(lab / run)
    write(lab / "notebooks" / ".hidden" / "runs" / "x")
    write(lab / "notebooks" / "other")
    look(set())
    assert shown(tmp_path / "board") == {
        "mine",
        "notebooks/runs/Nov26",
        "notebooks/a/lightning_logs/version_0",
        "models/m/runs/1",
    }


def test_runs_come_and_go(look: Look, tmp_path: Path) -> None:
    lab, board = tmp_path / "lab", tmp_path / "board"
    linked = look(set())
    write(lab / "runs" / "new")
    write(lab / "notebooks" / "runs" / "x")
    linked = look(linked)
    assert shown(board) == {"new", "notebooks/runs/x"}
    (lab / "runs" / "new" / "events.out.tfevents.1").unlink()
    (lab / "runs" / "new").rmdir()
    (lab / "notebooks" / "runs").rename(lab / "notebooks" / "old")
    linked = look(linked)
    assert shown(board) == set()
    assert linked == {"mine"}
    write(lab / "notebooks" / "runs" / "y")
    look(linked)
    assert shown(board) == {"notebooks/runs/y"}


def test_a_run_of_that_name_has_precedence(look: Look, tmp_path: Path) -> None:
    write(tmp_path / "lab" / "runs" / "notebooks")
    write(tmp_path / "lab" / "notebooks" / "runs" / "x")
    linked = look(set())
    assert "notebooks" in shown(tmp_path / "board")
    assert look(linked) == linked


def test_the_log_folder_itself_is_linked_once(guard: Guard, tmp_path: Path) -> None:
    """TENSORBOARD_DIR may be below notebooks/, and it may not be there yet."""
    logs = tmp_path / "lab" / "notebooks" / "runs"
    write(logs / "x")
    assert guard["link_runs"](logs, set()) == {"x"}
    assert guard["link_runs"](tmp_path / "lab" / "runs" / "later", set()) == {"notebooks/runs"}


def test_the_command_gets_the_folder_of_links(guard: Guard, tmp_path: Path) -> None:
    """What an owner wrote without --logdir stays as it is."""
    own = ["guard.py", "--logdir_spec=a:/lab/runs"]
    assert guard["with_links"](own) == own
    asked = ["guard.py", "--logdir", str(tmp_path / "lab" / "runs"), "--port", "1"]
    board = str(tmp_path / "board")
    assert guard["with_links"](asked) == ["guard.py", "--logdir", board, "--port", "1"]
    assert (tmp_path / "board" / "mine").is_symlink()


def test_the_boards_first_words_name_no_address_of_the_container(
    guard: Guard, capsys: pytest.CaptureFixture[str]
) -> None:
    class Server:
        def __init__(self, application: Any, _flags: Any) -> None:
            self.application = application

        def print_serving_message(self) -> None:
            print("TensorBoard 2.21.0 at http://0.0.0.0:6006/")

    guard["program"] = types.SimpleNamespace(WerkzeugServer=Server)
    server = guard["make_server"]("the board", None)
    server.print_serving_message()
    told = "".join(capsys.readouterr())
    assert "6006" not in told
    assert "`invoke url`" in told
    assert isinstance(server.application, guard["Guard"])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:6006", 200),
        ("127.0.0.1:6006", 200),
        ("[::1]:6006", 200),
        ("LOCALHOST", 200),
        ("evil.example:6006", 403),
        ("localhost.evil.example", 403),
        ("", 403),
    ],
)
def test_a_foreign_name_is_refused(guard: Guard, host: str, status: int) -> None:
    """A web page whose name was made to point at this machine."""
    told: list[str] = []

    def application(_environ: dict[str, str], answer: Any) -> list[bytes]:
        answer("200 OK", [])
        return [b""]

    guarded = guard["Guard"](application)
    guarded({"HTTP_HOST": host}, lambda said, _headers: told.append(said))
    assert [int(said.split()[0]) for said in told] == [status]
