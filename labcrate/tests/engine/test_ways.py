"""The ways to have the template, each from its first command to the lab's tests, and an update."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clone import copy_tree, said
from conftest import remove_lab, share_base
from older import older_state
from owner import Owner, after_line, append, commit, copier_rules, git, owner_copy, replace
from web import get

Take = Callable[[Path], Owner]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the template as it is now, one commit."""
    root = copy_tree(tmp_path_factory.mktemp("template") / "labcrate")
    commit(root, "The template")
    return root


@pytest.fixture
def take() -> Iterator[Take]:
    """Make a folder the lab of an owner, whose things on the engine go with the test."""
    taken: list[Owner] = []

    def settle(root: Path) -> Owner:
        own = Owner(root)
        share_base(root)
        append(root / "lab.env", "TORCHDYNAMO_DISABLE=1\n")  # as in test_owner.py
        (root / "lab.env").chmod(0o600)
        taken.append(own)
        return own

    yield settle
    for own in taken:
        remove_lab(own)


def come_up(own: Owner, *between: str) -> None:
    """The README's first command, and JupyterLab answers."""
    own.invoke("setup", "--yes", *between, "up")
    assert get(f"{own.jupyter}/api")[0] == 200


def copier(folder: Path, *arguments: str) -> str:
    """copier, as one types it in this folder; what it said."""
    done = Owner(folder).command((sys.executable, "-m", "copier", *arguments))
    assert done.returncode == 0, said(done)
    return said(done)


def test_a_git_clone(template: Path, tmp_path: Path, take: Take) -> None:
    git(tmp_path, "clone", "--quiet", str(template), "mine")
    own = take(tmp_path / "mine")
    come_up(own)
    assert "test_example.py" in own.nox("--", "-v")
    listed = own.nox("--list")
    assert "machinery" in listed
    assert "gpu_smoke" in listed


def test_questions_are_few_and_have_defaults() -> None:
    questions = {name: q for name, q in copier_rules().items() if not name.startswith("_")}
    assert len(questions) <= 4
    assert all(question.get("default") for question in questions.values())


def test_a_copy_by_copier(template: Path, tmp_path: Path, take: Take) -> None:
    copier(tmp_path, "copy", "--defaults", "--quiet", str(template), "mine")
    root = tmp_path / "mine"
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    expected = owner_copy(tmp_path / "expected")
    assert names - {".copier-answers.yml"} == {
        path.relative_to(expected).as_posix() for path in expected.rglob("*") if path.is_file()
    }
    assert not any(re.match(r"labcrate/(tests|docs)/|\.ci/|copier\.yml", name) for name in names)
    assert "_commit" in (root / ".copier-answers.yml").read_text()
    own = take(root)
    come_up(own)
    own.nox()


def test_without_the_folder_labcrate(tmp_path: Path, take: Take) -> None:
    """The machinery as a wheel, which bootstrap.py installs."""
    own = take(owner_copy(tmp_path / "mine"))
    build = ("-m", "uv", "build", "--wheel", "--out-dir", "vendor", "labcrate")
    done = own.command((sys.executable, *build))
    assert done.returncode == 0, said(done)
    shutil.rmtree(own.root / "labcrate")
    own.tools = (sys.executable, "bootstrap.py")
    come_up(own)
    own.nox()
    where = own.typed("", ".venv/bin/python", "-c", "import labcrate; print(labcrate.__file__)")
    assert Path(where).is_relative_to(own.root / ".venv")


def test_the_wheel_holds_what_a_lab_needs_and_nothing_else(tmp_path: Path) -> None:
    """Also where the folder has the machinery's tests and docs."""
    own = Owner(copy_tree(tmp_path / "mine"))
    done = own.command((sys.executable, "-m", "uv", "build", "--wheel", "-o", "vendor", "labcrate"))
    assert done.returncode == 0, said(done)
    with zipfile.ZipFile(next((own.root / "vendor").glob("*.whl"))) as wheel:
        names = [name for name in wheel.namelist() if "dist-info" not in name]
    wanted = [
        path.relative_to(own.root).as_posix()
        for path in (own.root / "labcrate").rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and path.relative_to(own.root / "labcrate").parts[0] not in ("tests", "docs")
        and path.name not in ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
    ]
    assert sorted(names) == sorted(wanted)
    for needed in ("image/stages.Dockerfile", "known.toml", "smoke/suite/test_lab.py"):
        assert f"labcrate/{needed}" in names


SERVICE = """  files:
    <<: *service
    image: ${COMPOSE_PROJECT_NAME}/tensorboard
    command: [python, -m, http.server, "8000", --directory, /tmp]

"""

TASK = """

@task
def hello(c: Context) -> None:
    \"\"\"Mine.\"\"\"
    print("hello")


namespace.add_task(hello)
"""


def edit(root: Path) -> None:
    """What an owner changes: seven files, one more that is new, and one that he deletes."""
    (root / "README.md").write_text("# My paper\n")
    append(root / "tasks.py", TASK)
    append(root / "docker" / "Dockerfile", "RUN echo mine > /home/lab/mine\n")
    after_line(root / "compose" / "compose.yaml", r"^services:", SERVICE)
    append(root / ".gitignore", "/scratch/\n")
    append(root / "docker" / "packages.in", "einops\n")
    quickstart = root / "notebooks" / "01-quickstart.ipynb"
    replace(quickstart, '\\"epochs\\": 12', '\\"epochs\\": 3')
    (root / "notebooks" / "02-mine.ipynb").write_text(quickstart.read_text())
    (root / "tests" / "test_example.py").unlink()


def edits_left(root: Path) -> list[str]:
    """Which of these edits are there."""
    holds = {
        "README.md": "# My paper\n",
        "tasks.py": TASK,
        "docker/Dockerfile": "RUN echo mine > /home/lab/mine\n",
        "compose/compose.yaml": SERVICE,
        ".gitignore": "/scratch/\n",
        "docker/packages.in": "einops\n",
        "notebooks/01-quickstart.ipynb": '\\"epochs\\": 3',
        "notebooks/02-mine.ipynb": '\\"epochs\\": 3',
    }
    found = [name for name, text in holds.items() if text in (root / name).read_text()]
    return found + ["deleted"] * (not (root / "tests" / "test_example.py").exists())


@pytest.fixture
def old_template(tmp_path: Path) -> tuple[Path, str]:
    """A repository with an older state and the newest; the commit of the older one."""
    root = older_state(tmp_path / "template")
    first = commit(root, "Older")
    for path in root.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    copy_tree(root)
    commit(root, "Newest")
    return root, first


def test_an_update_keeps_the_owners_edits(
    old_template: tuple[Path, str], tmp_path: Path, take: Take
) -> None:
    root, first = old_template
    copier(tmp_path, "copy", "--defaults", "--quiet", "--vcs-ref", first, str(root), "mine")
    mine = tmp_path / "mine"
    edit(mine)
    commit(mine, "My lab")
    edited = edits_left(mine)
    assert len(edited) == 9
    copier(mine, "update", "--defaults", "--quiet")
    git(mine, "add", "--all")
    print(git(mine, "diff", "--cached", "--stat"))
    refuse_conflicts(mine)
    assert edits_left(mine) == edited
    assert unlike_newest(mine, tmp_path / "newest") == set()
    own = take(mine)
    come_up(own, "lock")
    assert own.in_image("cat", "/home/lab/mine") == "mine"
    assert own.in_image("python", "-c", "import einops; print(1)") == "1"
    assert "hello" in own.invoke("hello").stdout
    assert "files" in own.invoke("status").stdout
    own.nox()


def refuse_conflicts(root: Path) -> None:
    """No file holds the marks of a conflict, and none was put aside."""
    names = git(root, "ls-files").splitlines()
    assert not [name for name in names if name.endswith((".rej", ".orig"))]
    marked = Owner(root).command(("git", "grep", "--cached", "-lE", "^(<{7}|>{7})( |$)"))
    assert (marked.returncode, marked.stdout) == (1, "")


def unlike_newest(root: Path, target: Path) -> set[str]:
    """The files that are not the newest template's, of those that its owner has not edited."""
    newest = owner_copy(target)
    his = {"README.md", ".gitignore", "tasks.py", "tests/test_example.py"}
    his |= {"docker/Dockerfile", "compose/compose.yaml", "docker/packages.in"}
    his |= {".copier-answers.yml", "docker/settled.lock"}  # the tasks write that one
    both = set(git(root, "ls-files").splitlines())
    both |= {p.relative_to(newest).as_posix() for p in newest.rglob("*") if p.is_file()}
    # His too: an update brings no notebook, and changes none.
    his |= {name for name in both if name.startswith("notebooks/")}
    return {
        name
        for name in both - his
        if not (root / name).exists()
        or not (newest / name).exists()
        or (root / name).read_bytes() != (newest / name).read_bytes()
    }
