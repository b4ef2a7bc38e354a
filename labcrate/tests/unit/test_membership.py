"""An account that was put into the engine's group, in a session that is older than that."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from types import SimpleNamespace

import pytest
from double import Double
from invoke import Context
from task_lab import failed

from labcrate import environment
from labcrate.engine.engine import refusal
from labcrate.engine.membership import as_member
from labcrate.errors import Code, LabError
from labcrate.tasks.base import lab_task, with_the_engines_group

PREFIX = ("sudo", "--preserve-env", "--user", "ada", "env", "PATH=/clone/.venv/bin:/usr/bin")
DENIED = LabError("may not", fix="newgrp docker", code=Code.ENGINE_DENIED)


@pytest.fixture
def joining(monkeypatch: pytest.MonkeyPatch) -> None:
    """ada was added to the group a moment ago, and may use sudo."""
    monkeypatch.setenv("PATH", PREFIX[-1].removeprefix("PATH="))
    monkeypatch.setattr(environment, "is_joining", lambda group: group == "docker")
    monkeypatch.setattr(environment, "user_name", lambda: "ada")
    monkeypatch.setattr(environment, "command_path", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sys, "argv", ["x", "setup", "--yes", "up"])


@lab_task()
def setup(c: Context) -> None:  # noqa: ARG001
    """Set up."""
    with with_the_engines_group():
        raise DENIED


@pytest.mark.usefixtures("joining")
@pytest.mark.parametrize("ends", [0, 7])
def test_what_was_typed_runs_once_more_as_a_member(
    double: Double, capsys: pytest.CaptureFixture[str], ends: int
) -> None:
    """All of it, and its exit status is the command's own."""
    double.expect(*PREFIX, "-m", "invoke", returncode=ends)
    double.expect(*PREFIX, "docker", "info")
    assert failed(setup)[0] == ends
    assert double.calls[-1] == (*PREFIX, sys.executable, "-m", "invoke", "setup", "--yes", "up")
    assert "type `newgrp docker` here" in capsys.readouterr().out


@pytest.mark.usefixtures("joining")
def test_a_sudo_that_does_not_help_leaves_the_message(double: Double) -> None:
    double.expect("sudo", "docker", "info", returncode=1)
    code, told = failed(setup)
    assert (code, "newgrp docker" in told) == (Code.ENGINE_DENIED, True)
    assert len(double.calls) == 1


@pytest.mark.usefixtures("joining", "double")
def test_a_stranger_and_a_machine_without_sudo_ask_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "command_path", lambda _name: None)
    assert as_member() == ()
    monkeypatch.setattr(environment, "command_path", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(environment, "is_joining", lambda _group: False)
    assert as_member() == ()


@pytest.mark.usefixtures("joining", "double")
def test_another_failure_is_not_about_the_group() -> None:
    @lab_task()
    def body(c: Context) -> None:  # noqa: ARG001
        """Do."""
        with with_the_engines_group():
            raise LabError("down", fix="start", code=Code.ENGINE_DOWN)

    assert failed(body)[0] == Code.ENGINE_DOWN


@pytest.mark.parametrize(("joins", "fix"), [(True, "newgrp docker (or"), (False, "sudo usermod")])
def test_the_fix_is_what_is_missing(monkeypatch: pytest.MonkeyPatch, joins: bool, fix: str) -> None:
    monkeypatch.setattr(environment, "is_joining", lambda _group: joins)
    error = refusal("permission denied while trying to connect")
    assert (error.code, error.fix.startswith(fix)) == (Code.ENGINE_DENIED, True)


@pytest.mark.parametrize(
    ("members", "session", "joins"),
    [(["ada"], [], True), (["ada"], [77], False), (["bob"], [], False)],
)
def test_a_group_counts_from_the_next_login(
    monkeypatch: pytest.MonkeyPatch, members: list[str], session: list[int], joins: bool
) -> None:
    group = SimpleNamespace(gr_mem=members, gr_gid=77)
    monkeypatch.setattr(grp, "getgrnam", lambda _name: group)
    monkeypatch.setattr(os, "getgroups", lambda: session)
    monkeypatch.setattr(os, "getgid", lambda: 1000)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_name="ada"))
    assert environment.is_joining("docker") is joins


def test_neither_a_group_nor_a_name_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(what: object) -> None:
        raise KeyError(what)

    monkeypatch.setattr(grp, "getgrnam", unknown)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert (environment.is_joining("docker"), environment.user_name()) == (False, "")
