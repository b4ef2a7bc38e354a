"""What every task shares: errors with exit codes, consent, the lock, --dry and --echo."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest
from invoke import Collection, Context, Exit, task
from task_lab import TaskLab, answers, context, failed

from labcrate import process
from labcrate.errors import Code, LabError
from labcrate.packages.transaction import UNDO
from labcrate.tasks import lab_tasks, verbs
from labcrate.tasks.base import agreed, alone, asker, finish, lab_task, terminal_flags
from labcrate.tasks.verbs import VERBS, read_verb

REFUSAL = LabError("nobody agreed", fix="--yes", code=Code.CONSENT)


def raising(error: BaseException) -> Any:
    @lab_task()
    def body(c: Context) -> None:  # noqa: ARG001
        """Fail."""
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (LabError("wrong", fix="right", code=Code.FOLDER), Code.FOLDER, "  fix: right"),
        (KeyboardInterrupt(), Code.INTERRUPTED, "interrupted"),
        (process.Terminated(), Code.TERMINATED, "terminated"),
        (process.Terminated(signal.SIGHUP), Code.HUNG_UP, "the terminal went away"),
    ],
)
def test_a_failure_ends_in_one_message_and_a_code(
    error: BaseException, code: Code, told: str
) -> None:
    ended, message = failed(raising(error))
    assert (ended, told in message) == (code, True)


def test_a_bug_stays_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())(context())


def test_sigterm_unwinds_a_task_and_is_as_before_afterwards() -> None:
    @lab_task()
    def body(c: Context) -> None:  # noqa: ARG001
        """End."""
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert failed(body)[0] == Code.TERMINATED
    assert signal.getsignal(signal.SIGTERM) is before


def test_flags_keep_their_help() -> None:
    @lab_task(yes="do not ask")
    def body(c: Context, yes: bool = False) -> None:
        """Do."""

    assert body.help == {"yes": "do not ask"}
    assert body.__doc__ == "Do."


@pytest.mark.parametrize(
    ("said", "agrees"), [("y", True), (" YES ", True), ("n", False), ("", False), (None, False)]
)
def test_consent_is_asked_for_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, said: str | None, agrees: bool
) -> None:
    answers(monkeypatch, said)
    assert asker(yes=False)("Go?") is agrees


def test_nobody_there_is_a_no_and_yes_is_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("labcrate.environment.is_terminal", lambda: False)
    assert not asker(yes=False)("Go?")
    assert asker(yes=True)("Go?")
    with process.in_mode(process.Mode(dry=True)):
        assert asker(yes=False)("Go?")
    with pytest.raises(LabError):
        agreed(False, "Go?", "Nothing.", REFUSAL)
    answers(monkeypatch, "n")
    assert not agreed(False, "Go?", "Nothing.", REFUSAL)
    assert capsys.readouterr().out == "Nothing.\n"
    assert terminal_flags() == []


def test_alone_puts_back_what_was_cut_off(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    docker = task_lab.clone.docker
    undo = '{"files": {"packages.in": "# before\\n"}, "fresh": [], "image": ""}'
    (task_lab.clone.state / UNDO).write_text(undo)
    with alone("up") as settings:
        assert settings.project == "lab-test-1"
        assert (docker / "packages.in").read_text() == "# before\n"
    assert "has been put back" in capsys.readouterr().out


def test_another_commands_status_is_the_tasks() -> None:
    finish(0)
    with pytest.raises(Exit) as caught:
        finish(3)
    assert caught.value.code == 3


def test_a_clone_has_every_verb_and_its_owners_own() -> None:
    @task
    def my_own(c: Context) -> None:
        """Mine."""

    @task
    def up(c: Context) -> None:
        """My up."""

    namespace = lab_tasks(my_own, up)
    assert isinstance(namespace, Collection)
    assert set(namespace.task_names) == {*VERBS, "my-own"}
    assert namespace["up"].__doc__ == "My up."


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_line_is_its_docstrings_first(verb: str) -> None:
    assert str(read_verb(verb).__doc__).splitlines()[0] == VERBS[verb][1]


def test_invoke_imports_what_was_typed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have their line for `--list`, and work for whoever calls them all the same."""
    read: list[str] = []

    def reading(verb: str) -> Any:
        read.append(verb)
        return read_verb(verb)

    monkeypatch.setattr(verbs, "read_verb", reading)
    monkeypatch.setattr(sys, "argv", ["/x/invoke", "url"])
    namespace = lab_tasks()
    assert read == ["url"]
    assert namespace["up"].__doc__ == read_verb("up").__doc__
    monkeypatch.setattr(sys, "argv", ["/x/invoke", "--help=wait"])
    lab_tasks()
    assert read == ["url", "wait"]
    with pytest.raises(Exit):
        namespace["tunnel"](context(), "")
    assert read == ["url", "wait", "tunnel"]
    monkeypatch.setattr(sys, "argv", ["/x/nox"])
    lab_tasks()
    assert {*read} == {*VERBS}
