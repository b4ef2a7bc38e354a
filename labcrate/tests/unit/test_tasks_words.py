"""Several words after a verb, through Invoke's own command; and words that are no task."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clone import ROOT
from double import Double
from invoke import Context, Exit, Program, task
from task_lab import context

from labcrate.errors import Code
from labcrate.tasks import lab_tasks
from labcrate.tasks.verbs import read_verb
from labcrate.tasks.words import pieces_of, typed_words

TASKS = """
import copy, functools, json
from unittest import mock
from invoke import task
from labcrate.tasks import lab_tasks, verbs

def telling(verb, body):
    @functools.wraps(body)
    def tell(c, **values):
        given = {name: value for name, value in values.items() if value}
        print(json.dumps([verb, given]))
    return tell

read = verbs.read_verb

def read_telling(verb):
    one = copy.copy(read(verb))
    one.body = one.body if verb == "help" else telling(verb, one.body)
    return one

@task
def train(c, name, epochs=1):
    print(json.dumps(["train", {"name": name, "epochs": epochs}]))

with mock.patch.object(verbs, "read_verb", read_telling):
    namespace = lab_tasks(train)

@task
def later(c):
    print(json.dumps(["later", {}]))

namespace.add_task(later)
"""
"""Every verb prints what it was given."""

Typed = Callable[..., tuple[int, str, str]]
"""Words after `invoke` -> exit code, output, errors."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose verbs say what they were given."""
    here = tmp_path_factory.mktemp("typed")
    (here / "tasks.py").write_text(TASKS)
    return here


@pytest.fixture
def typed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Typed:
    """Invoke's own program, in this process: a new one takes a second each time."""
    monkeypatch.chdir(folder)

    def type_in(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/x/invoke", *words])
        code: object = 0
        try:
            Program().run()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return int(str(code)), said.out, said.err

    return type_in


@pytest.fixture
def command(folder: Path) -> Typed:
    """The real command."""

    def type_in(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return type_in


def told(ended: tuple[int, str, str]) -> list[Any]:
    code, shown, errors = ended
    assert (code, errors) == (0, "")
    return [json.loads(line) for line in shown.splitlines()]


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("add-package timm einops", [["add-package", {"packages": ["timm", "einops"]}]]),
        (
            "add-package timm --upgrade einops",
            [["add-package", {"packages": ["timm", "einops"], "upgrade": True}]],
        ),
        (
            "add-package -r a.txt timm -r b.txt up --force",
            [
                ["add-package", {"packages": ["timm"], "requirement": ["a.txt", "b.txt"]}],
                ["up", {"force": True}],
            ],
        ),
        ("add-package --no-live x=1 -s", [["add-package", None]]),
        ("add-package lock", [["add-package", {"packages": ["lock"]}]]),
        ("add-package --packages a b", [["add-package", {"packages": ["a", "b"]}]]),
        ("remove-package a b down", [["remove-package", {"packages": ["a", "b"]}], ["down", {}]]),
        ("add-package --extra=-x a", [["add-package", {"packages": ["--extra=-x", "a"]}]]),
        ("logs jupyter tensorboard -f", [["logs", None]]),
        ("logs --service a --follow", [["logs", {"service": ["a"], "follow": True}]]),
        ("shell tensorboard", [["shell", {"service": ["tensorboard"]}]]),
        ("run python x.py", [["run", {"command": ["python", "x.py"]}]]),
        (
            "run python x.py --epochs 3 --lr=-0.1 -vv up",
            [["run", {"command": ["python", "x.py", "--epochs", "3", "--lr=-0.1", "-vv", "up"]}]],
        ),
        ("run python -c 1 -- z", [["run", {"command": ["python", "-c", "1", "--", "z"]}]]),
        ("run -- python -h --x", [["run", {"command": ["python", "-h", "--x"]}]]),
        ("cluster up", [["cluster", {"what": ["up"]}]]),
        ("cluster down --force", [["cluster", {"what": ["down", "--force"]}]]),
        (
            "cluster run -- python x.py --what 3 -- up",
            [["cluster", {"what": ["run", "--", "python", "x.py", "--what", "3", "--", "up"]}]],
        ),
        ("down cluster status", [["down", {}], ["cluster", {"what": ["status"]}]]),
        ("run python --help --dry", [["run", {"command": ["python", "--help", "--dry"]}]]),
        ("down up", [["down", {}], ["up", {}]]),
        ("down run x down", [["down", {}], ["run", {"command": ["x", "down"]}]]),
        ("train up later", [["train", {"name": "up", "epochs": 1}], ["later", {}]]),
        ("up --gpu on", [["up", {"gpu": "on"}]]),
    ],
)
def test_words_reach_their_verb(typed: Typed, words: str, given: list[Any]) -> None:
    found = told(typed(*words.split()))
    assert [verb for verb, _ in found] == [verb for verb, _ in given]
    assert all(wanted in (None, seen) for (_, seen), (_, wanted) in zip(found, given, strict=True))


def test_one_argument_with_spaces_stays_one_word(command: Typed) -> None:
    found = told(command("add-package", "timm up", "a >= 2\nb"))
    assert found == [["add-package", {"packages": ["timm up", "a >= 2\nb"]}]]
    found = told(command("run", "python", "x y.py", "--epochs=3"))
    assert found == [["run", {"command": ["python", "x y.py", "--epochs=3"]}]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("upp", "did you mean up?"),
        ("down upp", "did you mean up?"),
        ("-R stopp", "No idea what 'stopp' is"),
        ("install einops", "did you mean add-package?"),
        ("latar", "did you mean later?"),
        ("status xyzzy", "there is no task 'xyzzy'\n  fix: invoke --list"),
        ("run --dry python", "invoke --dry run ..."),
        ("cluster --force down", "--force is no flag of `invoke cluster`"),
        ("cluster run x --what 1", "put -- before the command: invoke cluster -- run x --what 1"),
        ("run python --command 1", "put -- before the command: invoke run -- python --command 1"),
    ],
)
def test_what_is_refused_names_what_to_type(typed: Typed, words: str, message: str) -> None:
    code, shown, errors = typed(*words.split())
    assert message in errors
    assert (code in (1, Code.SETTINGS), shown) == (True, "")


def test_invoke_alone_lists_the_tasks(command: Typed) -> None:
    code, shown, _ = command()
    assert code == 0
    assert all(f"  {verb}" in shown for verb in ("add-package", "help", "train", "up"))
    assert "Core options" not in shown


@pytest.mark.parametrize("words", ["add-package --help", "run -h", "logs a -h"])
def test_help_is_no_word(typed: Typed, words: str) -> None:
    code, shown, _ = typed(*words.split())
    assert (code, "Usage: " in shown) == (0, True)


@pytest.mark.parametrize(("verb", "asked"), [((), ("--list",)), (("up",), ("--help", "up"))])
def test_help_is_invokes(double: Double, verb: tuple[str, ...], asked: tuple[str, ...]) -> None:
    double.expect(sys.executable, "-m", "invoke", *asked)
    read_verb("help")(context(), verb)
    assert double.calls == [(sys.executable, "-m", "invoke", *asked)]


def test_another_programs_words_are_not_the_labs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/pytest", "upp"])
    assert typed_words() == []
    assert lab_tasks().to_contexts()
    monkeypatch.setattr(sys, "argv", ["/x/inv", "upp"])
    with pytest.raises(Exit, match="there is no task 'upp'"):
        lab_tasks().to_contexts()


@pytest.mark.parametrize(
    ("word", "pieces"),
    [
        ("a=b", ["a=b"]),
        ("--a", ["--a"]),
        ("--a=b=c", ["--a", "b=c"]),
        ("--a=-bc", ["--a", "-b", "-c"]),
        ("-abc", ["-a", "-b", "-c"]),
        ("-a", ["-a"]),
        ("-", ["-"]),
    ],
)
def test_invokes_pieces_of_a_word(word: str, pieces: list[str]) -> None:
    assert pieces_of(word) == pieces


def test_a_verb_of_the_owners_own_replaces_the_labs_help() -> None:
    @task(name="help")
    def own(c: Context) -> None:
        """Mine."""

    assert lab_tasks(own)[""].__doc__ == "Mine."
