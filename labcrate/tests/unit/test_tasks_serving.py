"""serve: the search page comes when it is asked for, and the other verbs know it then."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from search_model import write_model
from task_lab import TaskLab, context, failed

from labcrate.clone.chosen_ports import remember_ports
from labcrate.clone.env_file import read_env
from labcrate.clone.ports import free_port
from labcrate.errors import Code
from labcrate.lab import search
from labcrate.tasks.serving import serve
from labcrate.tasks.showing import status, url
from labcrate.tasks.starting import down, up


class SearchLab:
    """The lab of the task tests with a search page, off; a model; and a port that is free."""

    def __init__(self, lab: TaskLab) -> None:
        self.lab = lab
        self.model = write_model(lab.clone.root / "models" / "search")
        self.port = free_port(lab.ports["mlflow"] + 1, set())
        lab.ports["search"] = self.port
        lab.set(SEARCH_PORT=str(self.port))
        remember_ports(lab.clone, {"SEARCH_PORT": str(self.port)})
        self.image = ["search"]
        lab.answer("docker", "compose", "--profile", "search", "config", told=self.raw)
        lab.answer("docker", "image", "inspect", told=self.images)
        lab.answer("docker", "compose", "--profile", "search", "up", "search", told=self.start)

    def raw(self) -> dict[str, Any]:
        self.lab.ports["search"] = int(read_env(self.lab.clone.env_file)["SEARCH_PORT"])
        found = self.plain()
        build = {"context": str(self.lab.clone.docker), "target": "search"}
        found["services"]["search"] = self.lab.service("search", build)
        return found

    def plain(self) -> dict[str, Any]:
        return TaskLab.raw(self.lab)

    def images(self) -> list[dict[str, Any]]:
        self.lab.raw = self.raw  # type: ignore[method-assign]
        return [*TaskLab.images(self.lab), *(self.lab.image(name) for name in self.image)]

    def start(self) -> str:
        self.lab.containers["search"] = {}
        return "Started\n"

    def called(self, *words: str) -> list[tuple[str, ...]]:
        return self.lab.double.called("docker", "compose", *words)


@pytest.fixture
def search_lab(task_lab: TaskLab) -> SearchLab:
    return SearchLab(task_lab)


def test_serve_starts_the_page_alone_and_prints_its_link(
    search_lab: SearchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(context())
    said = capsys.readouterr().out
    assert f"  search       http://127.0.0.1:{search_lab.port}/\n" in said
    assert "  stop         invoke down\n" in said
    (command,) = search_lab.called("up")
    assert command[:4] == ("docker", "compose", "--profile", "search")
    assert command[-2:] == ("--force-recreate", "search")
    assert "--wait" in command
    assert not search_lab.called("build")


def test_serve_builds_the_page_alone(search_lab: SearchLab) -> None:
    search_lab.image = []
    search_lab.lab.absent = {"jupyter"}
    search_lab.lab.double.expect("docker", "compose", "build")
    search_lab.lab.double.expect("docker", "image", "ls")
    serve(context())
    (command,) = search_lab.called("build")
    assert command[-2:] == ("build", "search")


def test_a_dry_serve_starts_nothing(
    search_lab: SearchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(context(dry=True))
    assert "docker compose --profile search up" in capsys.readouterr().out
    assert not search_lab.called("up")


def test_without_a_model_it_names_the_notebook(task_lab: TaskLab) -> None:
    code, said = failed(serve)
    assert code == Code.NO_MODEL
    assert str(task_lab.clone.root / "models" / "search") in said
    assert "fix: run notebook 03 (notebooks/03-export-and-search.ipynb)" in said
    assert task_lab.calls == 0


def test_the_notebook_it_names_is_there() -> None:
    assert (Path(__file__).parents[3] / search.NOTEBOOK).exists()


def test_a_model_of_another_digest_is_refused_before_anything_starts(
    search_lab: SearchLab,
) -> None:
    (search_lab.model / "vectors.npy").write_text("another one")
    code, said = failed(serve)
    assert code == Code.NO_MODEL
    assert "vectors.npy has another digest than meta.json says" in said
    assert search_lab.lab.calls == 0


def test_a_page_that_does_not_come_up_goes_again(search_lab: SearchLab) -> None:
    """Else the next `up` would wait for it, and fail."""
    double = search_lab.lab.double
    double.expect("docker", "compose", "up", "search", returncode=1, stderr="unhealthy")
    double.expect("docker", "compose", "logs", "search", stdout="search-1 | error: no room")
    double.expect("docker", "compose", "rm", "--force", "--stop", "search")
    code, said = failed(serve)
    assert code == Code.UNHEALTHY
    assert "no room" in said
    assert len(search_lab.called("rm")) == 1


def test_a_port_that_setup_chose_moves_and_one_that_was_set_does_not(
    search_lab: SearchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    port = search_lab.port
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", port))
        rival.listen()
        serve(context())
        now = int(read_env(search_lab.lab.clone.env_file)["SEARCH_PORT"])
        assert now != port
        assert f"SEARCH_PORT={port} is taken by process " in capsys.readouterr().out
        search_lab.lab.containers.pop("search")
        search_lab.lab.set(SEARCH_PORT=str(port))
        code, said = failed(serve)
    assert code == Code.PORT_TAKEN
    assert "set SEARCH_PORT in .env to another port" in said


def test_a_port_of_jupyterlab_that_is_taken_is_not_its_business(search_lab: SearchLab) -> None:
    search_lab.lab.containers = {}
    serve(context())


def test_a_lab_without_such_a_service_says_so(search_lab: SearchLab) -> None:
    search_lab.lab.answer("docker", "compose", "config", told=search_lab.plain)
    code, said = failed(serve)
    assert code == Code.SETTINGS
    assert "no service named search" in said


# The other verbs


def test_a_lab_without_the_page_does_not_hear_of_it(
    search_lab: SearchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    search_lab.lab.answer("docker", "image", "inspect", told=search_lab.lab.images)
    up(context())
    status(context())
    url(context())
    assert "search" not in capsys.readouterr().out
    assert not search_lab.called("--profile")


def test_a_page_that_runs_is_part_of_the_lab(
    search_lab: SearchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    search_lab.start()
    for task in (status, url, up):
        task(context())
        assert f"http://127.0.0.1:{search_lab.port}/" in capsys.readouterr().out
    (command,) = search_lab.called("up", "--wait")
    assert command[2:4] == ("--profile", "search")


def test_down_stops_it(search_lab: SearchLab) -> None:
    search_lab.lab.double.expect("docker", "compose", "down")
    down(context())
    search_lab.start()
    down(context())
    plain, searching = search_lab.called("down")
    assert plain == ("docker", "compose", "down", "--remove-orphans")
    assert searching[2:] == ("--profile", "search", "down", "--remove-orphans")


def test_profiles_of_the_owners_stay(
    search_lab: SearchLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --profile Compose reads COMPOSE_PROFILES no more."""
    monkeypatch.setenv("COMPOSE_PROFILES", "mine,search")
    search_lab.start()
    search_lab.lab.double.expect("docker", "compose", "down")
    down(context())
    (command,) = search_lab.called("down")
    assert command[2:7] == ("--profile", "search", "--profile", "mine", "down")
