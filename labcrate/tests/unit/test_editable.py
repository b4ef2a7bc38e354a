"""Projects whose folder the lab imports itself: how they are packed, and what their wheel holds."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from double import Double

from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.packages.editable import mounted_path, pack_editable, parse_editable
from labcrate.packages.sources import stage_wanted

SYSTEM = """\
[build-system]
requires = ["nothing>=1"]
build-backend = "own:backend.inner"
backend-path = ["."]
"""
PYPROJECT = '[project]\nname = "Mine"\nversion = "0.1"\n'
BACKEND = '''\
"""A backend that does what real ones do: a .pth with the path of the folder that it stands in."""
import os, types, zipfile
from pathlib import Path

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(Path(folder, WHEEL), "w") as wheel:
        wheel.writestr("mine.pth", os.getcwd() + "/src\\n")
        wheel.writestr("mine-0.1.dist-info/METADATA", "Name: mine\\n")
        wheel.writestr("mine-0.1.dist-info/RECORD", "mine.pth,sha256=old,3\\n")
    return WHEEL

WHEEL = "mine-0.1-py3-none-any.whl"
backend = types.SimpleNamespace(inner=types.SimpleNamespace(
    build_editable=build_editable,
    get_requires_for_build_editable=lambda config_settings=None: ["more"],
))
'''


@pytest.fixture
def project(clone: Clone) -> Path:
    folder = clone.root / "src" / "my project"
    (folder / "src" / "mine").mkdir(parents=True)
    (folder / "src" / "mine" / "__init__.py").write_text("X = 7\n")
    (folder / "pyproject.toml").write_text(SYSTEM + PYPROJECT)
    (folder / "own.py").write_text(BACKEND)
    return folder


def folders(clone: Clone) -> tuple[Path, ...]:
    return (clone.root / "notebooks", clone.root / "src")


def packed(project: Path, clone: Clone, target: Path) -> Path:
    """The unpacked archive, as the image has it."""
    name, data = pack_editable(project, clone, folders(clone))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(target, filter="data")
    return target / name


def built(folder: Path, hook: str) -> subprocess.CompletedProcess[str]:
    """Ask the backend as an installer does: in the archive's folder, by its pyproject.toml."""
    named = tomllib.loads((folder / "pyproject.toml").read_text())["build-system"]
    code = (
        f"import sys; sys.path.insert(0, {str(folder / named['backend-path'][0])!r});"
        f"import {named['build-backend']} as b; print(b.{hook})"
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True
    )


def test_the_wheel_leads_to_the_mounted_folder(project: Path, clone: Clone, tmp_path: Path) -> None:
    folder = packed(project, clone, tmp_path)
    assert tomllib.loads((folder / "pyproject.toml").read_text())["build-system"]["requires"] == [
        "nothing>=1"
    ]
    assert built(folder, "get_requires_for_build_wheel()").stdout.strip() == "['more']"
    done = built(folder, f"build_wheel({str(tmp_path)!r})")
    assert done.stdout.strip() == "mine-0.1-py3-none-any.whl", done.stderr
    with zipfile.ZipFile(tmp_path / done.stdout.strip()) as wheel:
        link = wheel.read("mine.pth")
        record = list(csv.reader(io.StringIO(wheel.read("mine-0.1.dist-info/RECORD").decode())))
    assert link == b"/lab/src/my project/src\n"
    digest = base64.urlsafe_b64encode(hashlib.sha256(link).digest()).rstrip(b"=").decode()
    assert ["mine.pth", f"sha256={digest}", str(len(link))] in record
    assert record[-1] == ["mine-0.1.dist-info/RECORD", "", ""]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("py3-none-any", "cp313-cp313-linux_x86_64", "compiled parts, which cannot be editable"),
        ("build_editable=build_editable,", "", "cannot make editable wheels"),
    ],
)
def test_what_cannot_be_editable_says_so(
    project: Path, clone: Clone, tmp_path: Path, old: str, new: str, told: str
) -> None:
    (project / "own.py").write_text(BACKEND.replace(old, new))
    done = built(packed(project, clone, tmp_path), f"build_wheel({str(tmp_path)!r})")
    assert done.returncode == 1
    assert done.stderr.startswith("labcrate: ")
    assert told in done.stderr


def test_a_project_that_names_no_backend_gets_setuptools(
    project: Path, clone: Clone, tmp_path: Path
) -> None:
    (project / "pyproject.toml").write_text(PYPROJECT)
    folder = packed(project, clone, tmp_path)
    told = json.loads((folder / "editable.json").read_text())
    assert told["backend"] == "setuptools.build_meta:__legacy__"
    system = tomllib.loads((folder / "pyproject.toml").read_text())["build-system"]
    assert system["requires"] == ["setuptools>=64"]


def test_no_code_of_the_project_runs_here_and_the_same_files_make_the_same_bytes(
    project: Path, clone: Clone, double: Double
) -> None:
    trap = clone.root / "trap"
    for name in ("setup.py", "own.py"):
        (project / name).write_text(f"open({str(trap)!r}, 'w')\n")
    first = pack_editable(project, clone, folders(clone))
    assert pack_editable(project, clone, folders(clone)) == first
    assert double.calls == []
    assert not trap.exists()


@pytest.mark.usefixtures("project")
def test_it_is_staged_as_an_archive_of_its_own(clone: Clone, tmp_path: Path) -> None:
    (wanted,) = parse_editable(["src/my project", "./src/my project"], clone)
    one = stage_wanted(wanted, tmp_path, clone, folders(clone))
    assert one.line.startswith("mine @ file:///tmp/docker/local/")
    assert one.line.endswith("/mine.editable.tar.gz")


@pytest.mark.parametrize("typed", ["einops", "git+https://host/x.git", "src/x.whl", "src/gone"])
def test_only_a_folder_of_the_clone_can_be_editable(clone: Clone, typed: str) -> None:
    (clone.root / "src").mkdir(exist_ok=True)
    (clone.root / "src" / "x.whl").touch()
    with pytest.raises(LabError, match="only a folder of this clone") as caught:
        parse_editable([typed], clone)
    assert caught.value.code is Code.PACKAGE_REFUSED


def test_a_folder_that_the_lab_does_not_see_is_refused(clone: Clone) -> None:
    project = clone.root / "elsewhere" / "mine"
    with pytest.raises(LabError, match="none of the folders that the lab sees") as caught:
        mounted_path(project.resolve(), clone, folders(clone))
    assert "src/" in caught.value.fix


def test_a_path_that_breaks_a_line_of_python_is_refused(clone: Clone) -> None:
    project = (clone.root / "src").resolve() / "it's mine"
    with pytest.raises(LabError, match="other characters"):
        mounted_path(project, clone, folders(clone))
