"""Wrong input, as a user meets it: typed in a clone where no engine can be reached.

That each of these ends with its own error although there is no `docker` at all shows that it was
found before anything was asked of the engine. Few start a process of their own, as a user would;
the others call the tasks.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from clone import ROOT, Lab, copy_tree, said
from invoke import Program
from task_lab import failed
from test_rules import GOOD

from labcrate.clone.env_file import fill
from labcrate.clone.place import Clone
from labcrate.errors import Code
from labcrate.tasks.verbs import VERBS, read_verb

OPEN_TO_ALL = 0o644
PAGES = ("README.md", "labcrate/docs/daily-use.md")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def typed_in(tree: Path, tmp_path: Path) -> Lab:
    """A whole clone, for what is typed there; no program is on PATH."""
    (tmp_path / "bin").mkdir()
    made = Lab(root=tree, environ={"PATH": str(tmp_path / "bin")})
    (tree / ".env").unlink(missing_ok=True)
    (tree / ".env").touch(mode=0o600)
    made.set(**GOOD)
    return made


@pytest.fixture
def here(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """A clone for tasks of this process; every process would fail the test."""
    clone.env_file.touch(mode=0o600)
    change(clone, **GOOD)
    monkeypatch.chdir(clone.root)
    return clone


def change(clone: Clone, **values: str) -> None:
    clone.env_file.write_text(fill(clone.env_file.read_text(), values))


def test_no_engine_at_all(typed_in: Lab) -> None:
    done = typed_in.invoke("up", check=False)
    assert done.returncode == Code.ENGINE_MISSING
    assert "fix: invoke setup" in said(done)
    assert "Traceback" not in said(done)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"JUPYTER_PORT": "0"}, Code.SETTINGS, "JUPYTER_PORT=0"),
        ({"JUPYTER_PORT": "99999"}, Code.SETTINGS, "JUPYTER_PORT=99999"),
        ({"JUPYTER_PORT": "abc"}, Code.SETTINGS, "JUPYTER_PORT=abc"),
        ({"TENSORBOARD_PORT": "8888"}, Code.SETTINGS, "are both 8888"),
        ({"JUPYTER_TOKEN": ""}, Code.SETTINGS, "JUPYTER_TOKEN is empty"),
        ({"JUPYTER_PROT": "1"}, Code.SETTINGS, "did you mean JUPYTER_PORT?"),
        ({"ROOT_DIR": "/no/such/place"}, Code.FOLDER, "/no/such/place does not exist"),
        ({"ROOT_DIR": "/etc/hostname"}, Code.FOLDER, "is a file"),
        ({"ROOT_DIR": "/proc"}, Code.FOLDER, "is not writable"),
    ],
)
@pytest.mark.parametrize("verb", ["up", "status", "clean"])
def test_wrong_settings(
    here: Clone, verb: str, changes: dict[str, str], code: Code, told: str
) -> None:
    change(here, **changes)
    ended, message = failed(read_verb(verb))
    assert (ended, told in message, "fix:" in message) == (code, True, True), message


@pytest.mark.usefixtures("double")
def test_no_env(here: Clone) -> None:
    here.env_file.unlink()
    code, message = failed(read_verb("up"))
    assert (code, "invoke setup" in message) == (Code.NO_ENV, True)


@pytest.mark.usefixtures("double")
def test_env_readable_by_others(here: Clone) -> None:
    here.env_file.chmod(OPEN_TO_ALL)
    code, message = failed(read_verb("up"))
    assert (code, "chmod 600 .env" in message) == (Code.ENV_READABLE, True)


@pytest.mark.usefixtures("double")
def test_all_problems_in_one_go(here: Clone) -> None:
    change(here, JUPYTER_PORT="abc", JUPYTER_TOKEN="", ROOT_DIR="/no/such/place", GPU="perhaps")
    code, message = failed(read_verb("up"))
    assert (code, "4 problems with .env" in message) == (Code.SETTINGS, True)


def test_a_task_outside_of_any_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert failed(read_verb("status"))[0] == Code.FOLDER


def test_the_list_of_tasks_reads_like_a_table_of_contents(typed_in: Lab) -> None:
    listed = typed_in.invoke("--list").stdout.splitlines()
    rows = [line.split(maxsplit=1) for line in listed if re.match(r"  \S", line)]
    verbs = {row[0]: row[1] for row in rows}
    assert all(len(help_) > 10 for help_ in verbs.values())
    assert set(VERBS) < set(verbs)
    pages = "\n".join((ROOT / name).read_text() for name in PAGES)
    assert [verb for verb in verbs if f"`invoke {verb}" not in pages] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_explained_and_in_the_pages(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for _ in range(2):  # in one process, as a program that reads the tasks twice
        capsys.readouterr()
        Program().run(["invoke", "--help", verb], exit=False)
    options = capsys.readouterr().out.partition("Options:")[2].splitlines()
    flags = [line.split() for line in options if line.strip().startswith("-")]
    page = (ROOT / PAGES[1]).read_text()
    for words in flags:
        name = next(word for word in words if word.startswith("--")).partition("=")[0]
        assert len(words) > 2, f"{verb} {name} has no help"
        assert name in page, f"{PAGES[1]} does not name `invoke {verb} {name}`"


def test_bootstrap_names_its_tools() -> None:
    """bootstrap.py refuses an unknown tool with the ones there are."""
    done = Lab(root=ROOT).command((sys.executable, "bootstrap.py", "make"))
    assert done.returncode == 25
    assert "name invoke or nox" in said(done)
