"""Ports that `setup` chose are chosen again when another program took them; others never."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from double import Double
from task_lab import TaskLab, context, failed

from labcrate.clone.chosen_ports import RECORD, is_chosen, recorded_ports, remember_ports
from labcrate.clone.env_file import read_env
from labcrate.clone.fresh import ensure_env_file
from labcrate.clone.place import Clone
from labcrate.clone.ports import free_port
from labcrate.errors import Code
from labcrate.tasks.starting import up


@pytest.fixture
def rival() -> Iterator[socket.socket]:
    """Another program, which listens where a test binds it."""
    with socket.socket() as made:
        yield made


def take(rival: socket.socket, port: int) -> None:
    rival.bind(("127.0.0.1", port))
    rival.listen()


def chosen_by_setup(lab: TaskLab, *names: str) -> None:
    values = read_env(lab.clone.env_file)
    remember_ports(lab.clone, {name: values[name] for name in names})

    def follow() -> object:
        now = read_env(lab.clone.env_file)
        lab.ports |= {"tensorboard": int(now["TENSORBOARD_PORT"])}
        return lab.raw()

    lab.answer("docker", "compose", "config", told=follow)


def test_setup_remembers_which_ports_it_chose(clone: Clone, double: Double) -> None:
    double.expect("pip", "config", "list")
    clone.example_file.write_text("JUPYTER_PORT=21000\nTENSORBOARD_PORT=\n")
    ensure_env_file(clone)
    port = int(read_env(clone.env_file)["TENSORBOARD_PORT"])
    assert recorded_ports(clone) == {"TENSORBOARD_PORT": str(port)}
    assert is_chosen(clone, "TENSORBOARD_PORT", port)
    assert not is_chosen(clone, "JUPYTER_PORT", 21000)


def test_an_edited_port_is_the_owners(
    clone: Clone, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.expect("pip", "config", "list")
    clone.example_file.write_text("JUPYTER_PORT=\n")
    ensure_env_file(clone)
    port = int(read_env(clone.env_file)["JUPYTER_PORT"])
    assert is_chosen(clone, "JUPYTER_PORT", port)
    monkeypatch.setenv("JUPYTER_PORT", str(port))
    assert not is_chosen(clone, "JUPYTER_PORT", port)
    monkeypatch.delenv("JUPYTER_PORT")
    clone.env_file.write_text("JUPYTER_PORT=21001\n")
    assert not is_chosen(clone, "JUPYTER_PORT", 21001)


@pytest.mark.parametrize("text", ["", "[1]", '{"JUPYTER_PORT"'])
def test_a_damaged_record_moves_nothing(clone: Clone, text: str) -> None:
    clone.env_file.write_text("JUPYTER_PORT=21000\n")
    (clone.state / RECORD).write_text(text)
    assert not is_chosen(clone, "JUPYTER_PORT", 21000)
    remember_ports(clone, {"JUPYTER_PORT": "21000"})
    assert is_chosen(clone, "JUPYTER_PORT", 21000)


def test_up_chooses_again_and_says_so_in_one_line(
    task_lab: TaskLab, rival: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.down()
    chosen_by_setup(task_lab, "TENSORBOARD_PORT")
    port = task_lab.ports["tensorboard"]
    take(rival, port)
    up(context())
    now = int(read_env(task_lab.clone.env_file)["TENSORBOARD_PORT"])
    assert now not in (port, task_lab.ports["mlflow"], task_lab.ports["jupyter"])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "is taken by" in one]
    assert line.startswith(f"TENSORBOARD_PORT={port} is taken by process ")
    assert line.endswith(f"TENSORBOARD_PORT={now} from now on.")
    assert is_chosen(task_lab.clone, "TENSORBOARD_PORT", now)


def test_the_port_of_a_service_that_is_off_is_not_chosen(
    task_lab: TaskLab, rival: socket.socket
) -> None:
    """Two alike in .env would be refused from then on."""
    task_lab.down()
    chosen_by_setup(task_lab, "TENSORBOARD_PORT")
    port = task_lab.ports["tensorboard"]
    with task_lab.clone.env_file.open("a") as file:
        nearest = free_port(port + 1, set(task_lab.ports.values()))
        file.write(f"SEARCH_PORT={nearest}\n")
    take(rival, port)
    up(context())
    assert int(read_env(task_lab.clone.env_file)["TENSORBOARD_PORT"]) not in (port, nearest)


@pytest.mark.parametrize("dry", [False, True])
def test_a_port_of_the_owners_is_never_moved_and_then_no_other_is(
    task_lab: TaskLab, rival: socket.socket, dry: bool
) -> None:
    task_lab.down()
    chosen_by_setup(task_lab, "TENSORBOARD_PORT")
    take(rival, task_lab.ports["tensorboard"])
    before = task_lab.clone.env_file.read_text()
    with socket.socket() as other:
        take(other, task_lab.ports["mlflow"])
        code, message = failed(up, dry=dry)
    assert code == Code.PORT_TAKEN
    assert str(task_lab.ports["mlflow"]) in message
    assert task_lab.clone.env_file.read_text() == before


def test_a_dry_run_says_it_and_changes_nothing(
    task_lab: TaskLab, rival: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.down()
    chosen_by_setup(task_lab, "TENSORBOARD_PORT")
    take(rival, task_lab.ports["tensorboard"])
    before = task_lab.clone.env_file.read_text()
    up(context(dry=True))
    assert "from now on" in capsys.readouterr().out
    assert task_lab.clone.env_file.read_text() == before
