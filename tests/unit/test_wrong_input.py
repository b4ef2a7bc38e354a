"""Wrong input, as a user meets it: typed in a clone where no engine can be reached.

That each of these ends with its own error although there is no `docker` at all shows that it was
found before anything was asked of the engine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from clone import Lab, copy_tree, said

from labcrate.errors import Code
from labcrate.shell import ROOT

GOOD = {
    "COMPOSE_PROJECT_NAME": "lab-refusals-1",
    "JUPYTER_PORT": "18901",
    "JUPYTER_TOKEN": "0123456789abcdef" * 3,
    "TENSORBOARD_PORT": "18902",
    "LAB_UID": "1000",
    "LAB_GID": "1000",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def clone(tree: Path, tmp_path: Path) -> Lab:
    (tree / ".env").unlink(missing_ok=True)
    (tmp_path / "bin").mkdir()
    made = Lab(root=tree, environ={"PATH": str(tmp_path / "bin")})
    (tree / ".env").touch(mode=0o600)
    made.set(**GOOD)
    return made


def test_no_engine_at_all(clone: Lab) -> None:
    done = clone.invoke("up", check=False)
    assert done.returncode == Code.ENGINE_MISSING
    assert "fix: invoke setup" in said(done)


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"JUPYTER_PORT": "0"}, Code.SETTINGS, "JUPYTER_PORT=0"),
        ({"JUPYTER_PORT": "99999"}, Code.SETTINGS, "JUPYTER_PORT=99999"),
        ({"JUPYTER_PORT": "abc"}, Code.SETTINGS, "JUPYTER_PORT=abc"),
        ({"TENSORBOARD_PORT": "18901"}, Code.SETTINGS, "are both 18901"),
        ({"JUPYTER_TOKEN": ""}, Code.SETTINGS, "JUPYTER_TOKEN is empty"),
        ({"JUPYTER_PROT": "1"}, Code.SETTINGS, "did you mean JUPYTER_PORT?"),
        ({"ROOT_DIR": "/no/such/place"}, Code.FOLDER, "/no/such/place does not exist"),
        ({"ROOT_DIR": "/etc/hostname"}, Code.FOLDER, "is a file"),
        ({"ROOT_DIR": "/proc"}, Code.FOLDER, "is not writable"),
    ],
)
def test_wrong_settings(clone: Lab, changes: dict[str, str], code: Code, told: str) -> None:
    clone.set(**changes)
    for task in ("up", "build", "status"):
        done = clone.invoke(task, check=False)
        assert (done.returncode, told in said(done)) == (code, True), said(done)
        assert "fix:" in said(done)
        assert "Traceback" not in said(done)


def test_no_env(clone: Lab) -> None:
    (clone.root / ".env").unlink()
    done = clone.invoke("up", check=False)
    assert done.returncode == Code.NO_ENV
    assert "invoke setup" in said(done)


def test_env_readable_by_others(clone: Lab) -> None:
    (clone.root / ".env").chmod(0o644)
    done = clone.invoke("up", check=False)
    assert done.returncode == Code.ENV_READABLE
    assert "chmod 600 .env" in said(done)


def test_all_problems_in_one_go(clone: Lab) -> None:
    clone.set(JUPYTER_PORT="abc", JUPYTER_TOKEN="", ROOT_DIR="/no/such/place", GPU="perhaps")
    done = clone.invoke("up", check=False)
    assert "4 problems with .env" in said(done)
    assert done.returncode == Code.SETTINGS


def test_an_unknown_service_is_named_with_the_known(clone: Lab) -> None:
    for task in ("logs", "shell"):
        done = clone.invoke(task, "--service", "jupiter", check=False)
        assert done.returncode == Code.SETTINGS
        assert "use one of: jupyter, tensorboard" in said(done)


def test_the_list_of_tasks_reads_like_a_table_of_contents(clone: Lab) -> None:
    listed = clone.invoke("--list").stdout.splitlines()
    rows = [line.split(maxsplit=1) for line in listed if line.startswith("  ")]
    verbs = {row[0]: row[1] for row in rows}
    assert all(len(help_) > 10 for help_ in verbs.values())
    wanted = "setup build up down status url open logs shell run clean"
    assert set(wanted.split()) <= set(verbs)
    readme = (ROOT / "README.md").read_text()
    assert [verb for verb in verbs if f"`invoke {verb}" not in readme] == []


def test_every_flag_is_explained_and_in_the_readme(clone: Lab) -> None:
    readme = (ROOT / "README.md").read_text()
    listed = clone.invoke("--list").stdout.splitlines()
    for verb in (line.split()[0] for line in listed if line.startswith("  ")):
        help_ = clone.invoke(verb, "--help").stdout
        options = help_.partition("Options:")[2].splitlines()
        flags = [line.split() for line in options if line.strip().startswith("-")]
        for words in flags:
            name = next(word for word in words if word.startswith("--")).partition("=")[0]
            assert len(words) > 2, f"{verb} {name} has no help"
            if name in ("--requirement", "--package"):
                continue  # what is typed without its flag
            assert name in readme, f"README does not name `invoke {verb} {name}`"


def test_bootstrap_names_its_tools() -> None:
    """bootstrap.py refuses an unknown tool with the ones there are."""
    done = Lab(root=ROOT).command((sys.executable, "bootstrap.py", "make"))
    assert done.returncode == 25
    assert "use invoke or nox" in said(done)
