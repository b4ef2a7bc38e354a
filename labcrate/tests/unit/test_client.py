"""The user's own `docker`: a context that leads nowhere, and plugins that it does not find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from double import Double
from test_install import engine_answers, programs, yes
from test_settings import GOOD, write

from labcrate import environment
from labcrate.clone.place import Clone
from labcrate.engine import client
from labcrate.engine.client import chosen_context, is_closed, plugin_trouble
from labcrate.engine.engine import Engine, find_engine, refusal, require_engine
from labcrate.engine.install import ensure_engine
from labcrate.errors import Code, LabError
from labcrate.tasks.starting import setup

__all__ = ["programs"]
"""A fixture."""

NOT_FOUND = (
    'Failed to initialize: unable to resolve docker endpoint: context "dead": context not found: '
    "open /home/ada/.docker/contexts/meta/28a3/meta.json: no such file or directory"
)
NO_ENGINE = (
    "Cannot connect to the Docker daemon at unix:///gone.sock. Is the docker daemon running?"
)


@pytest.fixture
def plugins(
    double: Double, programs: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder of plugins that is empty; `docker` knows no Compose."""
    assert programs
    monkeypatch.setattr(client, "PLUGIN_FOLDERS", (str(tmp_path),))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    engine_answers(double, compose=False)
    return tmp_path


def test_a_context_that_is_gone_is_named_without_its_files() -> None:
    error = refusal(NOT_FOUND)
    assert error.problem == "the docker context dead, which was chosen, does not exist"
    assert "docker context use default" in error.fix


@pytest.mark.usefixtures("programs")
def test_a_context_whose_engine_is_away_is_named_with_the_way_out(double: Double) -> None:
    engine_answers(double, returncode=1, stderr=NO_ENGINE)
    chosen = [{"Name": "gone", "Endpoints": {"docker": {"Host": "unix:///gone.sock"}}}]
    double.expect("docker", "context", "inspect", stdout=json.dumps(chosen))
    with pytest.raises(LabError) as caught:
        find_engine()
    assert "at unix:///gone.sock, where the docker context gone leads" in caught.value.problem
    assert caught.value.fix.startswith("docker context use default")
    assert caught.value.why == NO_ENGINE


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("said", [NOT_FOUND, NO_ENGINE])
def test_setup_starts_no_second_engine_beside_a_dead_context(double: Double, said: str) -> None:
    engine_answers(double, returncode=1, stderr=said)
    double.expect("docker", "context", "show", stdout="dead\n")
    with pytest.raises(LabError) as caught:
        ensure_engine(yes)
    assert caught.value.code is Code.ENGINE_DOWN
    assert not double.called("dockerd")


@pytest.mark.parametrize(
    ("answer", "returncode", "name"),
    [("default\n", 0, ""), ("gone\n", 0, "gone"), ("unknown command", 1, "")],
)
def test_the_context_in_force(double: Double, answer: str, returncode: int, name: str) -> None:
    double.expect("docker", "context", "show", stdout=answer, returncode=returncode)
    assert chosen_context() == name


@pytest.mark.usefixtures("plugins")
def test_a_machine_without_compose_has_no_trouble_with_plugins() -> None:
    assert plugin_trouble() is None
    with pytest.raises(LabError, match="Docker Compose is missing"):
        require_engine(Engine(version=(28, 5)))


@pytest.mark.parametrize("name", ["", "cli-plugins"])
def test_a_folder_that_this_user_may_not_read_is_the_cause(
    plugins: Path, double: Double, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (plugins / "docker-compose").touch()
    closed = plugins / "home" / name
    closed.mkdir(parents=True)
    monkeypatch.setenv("DOCKER_CONFIG", str(plugins / "home"))
    monkeypatch.setattr(client.os, "access", lambda path, _mode: path != closed)
    with pytest.raises(LabError) as caught:
        ensure_engine(yes)
    assert f"may not read {closed}" in caught.value.problem
    assert caught.value.fix == f"sudo chown -R $(id -u):$(id -g) '{plugins / 'home'}'"
    assert not double.called("apt-get")


def test_another_docker_that_is_first_on_path_is_the_cause(plugins: Path, double: Double) -> None:
    (plugins / "docker-compose").touch()
    with pytest.raises(LabError) as caught:
        ensure_engine(yes)
    assert "first on PATH, /usr/bin/docker, does not find the Compose plugin" in str(caught.value)
    assert str(plugins / "docker-compose") in caught.value.problem
    assert not double.called("apt-get")


def test_a_folder_behind_a_closed_one_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_closed(tmp_path)
    assert not is_closed(tmp_path / "none")

    def refuse(_path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert is_closed(tmp_path)


def test_setup_says_that_root_dir_is_not_there_before_it_asks_for_an_engine(
    clone: Clone, double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from task_lab import failed

    write(clone, {**GOOD, "ROOT_DIR": str(tmp_path / "some" / "new")})
    monkeypatch.chdir(clone.root)
    monkeypatch.setattr(environment, "command_path", lambda _: None)
    code, message = failed(setup)
    assert code == Code.FOLDER
    assert f"mkdir -p '{tmp_path}/some/new'" in message
    assert len(message.splitlines()) <= 3
    assert double.calls == []
