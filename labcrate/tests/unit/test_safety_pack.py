"""Packing a project of the clone: its files are read, and none of its code runs here."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest
from double import Double

from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.packages import pack
from labcrate.packages.pack import is_of_project, pack_project, read_archive, stays_inside
from labcrate.packages.requested import Wanted
from labcrate.packages.sources import stage_wanted

PYPROJECT = '[project]\nname = "My.Lab_Tools"\nversion = "0.1"\n'


@pytest.fixture
def project(clone: Clone) -> Path:
    folder = clone.root / "notebooks" / "mine"
    (folder / "mine").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "mine" / "__init__.py").write_text("X = 7\n")
    return folder


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: one for one in archive.getmembers()}


def refused(project: Path, clone: Clone) -> LabError:
    with pytest.raises(LabError) as caught:
        pack_project(project, clone)
    return caught.value


def test_no_process_is_started_and_no_code_runs(
    project: Path, clone: Clone, double: Double
) -> None:
    trap = clone.root / "trap"
    (project / "setup.py").write_text(f"open({str(trap)!r}, 'w')\n")
    (project / "backend.py").write_text(f"open({str(trap)!r}, 'w')\n")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        + PYPROJECT
    )
    name, data = pack_project(project, clone)
    assert (name, "my-lab-tools/setup.py" in members(data)) == ("my-lab-tools", True)
    assert double.calls == []
    assert not trap.exists()


def test_everything_is_in_one_folder_named_after_the_project(project: Path, clone: Clone) -> None:
    found = members(pack_project(project, clone)[1])
    assert set(found) == {
        "my-lab-tools",
        "my-lab-tools/mine",
        "my-lab-tools/mine/__init__.py",
        "my-lab-tools/pyproject.toml",
    }


def test_the_same_files_make_the_same_bytes(project: Path, clone: Clone) -> None:
    """Whoever owns them, whenever they were made, and whatever the umask was."""
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o755)
    before = pack_project(project, clone)
    for path in project.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700 if path.is_dir() or path.name == "run.sh" else 0o600)
    assert pack_project(project, clone) == before
    found = members(before[1])
    modes = [found[f"my-lab-tools/{name}"].mode for name in ("mine", "run.sh", "pyproject.toml")]
    assert modes == [0o755, 0o755, 0o644]
    assert {(one.uid, one.gid, one.uname, one.mtime) for one in found.values()} == {
        (0, 0, "", pack.LONG_AGO)
    }


@pytest.mark.parametrize(
    ("name", "at_top", "kept"),
    [
        (".git", True, False),
        (".venv", False, False),
        ("__pycache__", False, False),
        (".ipynb_checkpoints", False, False),
        ("mine.egg-info", True, False),
        ("build", True, False),
        ("dist", True, False),
        ("build", False, True),
        (".env", True, False),
        ("lab.env", True, False),
        (".labcrate", True, False),
        (".gitignore", True, True),
        ("data.csv", True, True),
    ],
)
def test_what_belongs_to_a_project(name: str, at_top: bool, kept: bool) -> None:
    assert is_of_project(name, at_top) is kept


def test_the_clone_itself_may_be_the_project_and_keeps_its_token(clone: Clone) -> None:
    clone.env_file.write_text("JUPYTER_TOKEN=secret\n")
    (clone.state / "uv.toml").write_text("secret")
    (clone.root / "pyproject.toml").write_text(PYPROJECT)
    (clone.root / "build").mkdir()
    (clone.root / "build" / "old.py").touch()
    found = members(pack_project(clone.root, clone)[1])
    assert not [name for name in found if ".env" in name or ".labcrate" in name or "build" in name]
    assert "my-lab-tools/pyproject.toml" in found


def test_links_stay_links_and_none_leads_out(project: Path, clone: Clone) -> None:
    secret = clone.root / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    links = {
        "inside": "mine/__init__.py",
        "mine/up": "../pyproject.toml",
        "folder": "mine",
        "out": "../../secret/key",
        "out_folder": "../../secret",
        "absolute": str(secret / "key"),
        "home": str(project / "pyproject.toml"),
        "mine/sly": "../folder/../../x",
    }
    for name, target in links.items():
        (project / name).symlink_to(target)
    found = members(pack_project(project, clone)[1])
    kept = {name.partition("/")[2]: one.linkname for name, one in found.items() if one.issym()}
    assert kept == {name: links[name] for name in ("inside", "mine/up", "folder")}
    assert not [name for name in found if "key" in name]


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [("a", "b", True), ("a", "..", False), ("a/b", "..", True), ("a/b", "../..", False),
     ("a", "b/../../c", False), ("a", "/etc", False), ("a/b/c", "../../x", True)],
)  # fmt: skip
def test_where_a_link_leads(path: str, target: str, inside: bool) -> None:
    assert stays_inside(path, target) is inside


def test_a_file_that_is_swapped_for_a_link_is_not_followed(
    project: Path, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a notebook, after the file was looked at and before it is opened."""
    secret = clone.root / "secret"
    secret.write_text("root's")
    victim, real = project / "mine" / "__init__.py", os.stat

    def hostile(path: object, **options: object) -> os.stat_result:
        found = real(path, **options)  # type: ignore[arg-type]
        if path == victim.name:
            victim.unlink()
            victim.symlink_to(secret)
        return found

    monkeypatch.setattr(os, "stat", hostile)
    data = pack_project(project, clone)[1]
    assert victim.is_symlink()
    assert "my-lab-tools/mine/__init__.py" not in members(data)
    assert b"root's" not in data


def test_a_folder_on_the_way_that_became_a_link_is_refused(project: Path, clone: Clone) -> None:
    (clone.root / "notebooks").rename(clone.root / "away")
    (clone.root / "notebooks").symlink_to(clone.root / "away")
    error = refused(project, clone)
    assert (error.code, "notebooks/mine cannot be packed" in error.problem) == (
        Code.PACKAGE_BROKEN,
        True,
    )


def test_pipes_and_sockets_are_no_files(project: Path, clone: Clone) -> None:
    os.mkfifo(project / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(project)  # a socket's path may not be long
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        names = " ".join(members(pack_project(project, clone)[1]))
    assert "pipe" not in names
    assert "socket" not in names


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"pyproject.toml": '[project]\nname = "a_b"\n'}, "a-b"),
        ({"pyproject.toml": '[tool.poetry]\nname = "poem"\n'}, "poem"),
        ({"pyproject.toml": "[build-system]\n", "setup.cfg": "[metadata]\nname = %(x)s y\n"}, ""),
        ({"pyproject.toml": "", "setup.cfg": "[metadata]\nname = cfg\n"}, "cfg"),
        ({"setup.py": "", "setup.cfg": "[metadata]\nname = cfg\n"}, "cfg"),
        ({"setup.py": "from setuptools import setup\nsetup(name='x')\n"}, ""),
        ({"pyproject.toml": "[project]\nname = 3.5\n"}, "3-5"),
        ({"pyproject.toml": '[project]\nname = "../x"\n'}, ""),
        ({"pyproject.toml": "project = 1\ntool = 2\n"}, ""),
    ],
)
def test_the_name_is_what_a_file_says(
    project: Path, clone: Clone, files: dict[str, str], name: str
) -> None:
    (project / "pyproject.toml").unlink()
    for file, text in files.items():
        (project / file).write_text(text)
    if name:
        assert pack_project(project, clone)[0] == name
        return
    error = refused(project, clone)
    assert error.code is Code.PACKAGE_REFUSED
    assert error.fix == "add [project] with name and version to notebooks/mine/pyproject.toml"


@pytest.mark.parametrize(
    ("file", "data", "line"),
    [
        ("pyproject.toml", b"[project]\nname = \n", 2),
        ("pyproject.toml", b"[project]\n\nname = 'x", 3),
        ("pyproject.toml", b"[project]\nname = '\xff'\n", 2),
        ("setup.cfg", b"name = x\n", 1),
        ("setup.cfg", b"[metadata]\nname\n", 2),
        ("setup.cfg", b"[metadata]\nname=a\nname=b\n", 3),
        ("setup.cfg", b"[metadata]\n\xff\n", 2),
    ],
)
def test_an_invalid_file_is_named_with_its_line(
    project: Path, clone: Clone, file: str, data: bytes, line: int
) -> None:
    (project / "pyproject.toml").write_text("")
    (project / file).write_bytes(data)
    error = refused(project, clone)
    assert error.problem.startswith(f"notebooks/mine/{file}, line {line}: ")
    assert error.code is Code.PACKAGE_BROKEN


def test_a_project_is_staged_under_its_content(project: Path, clone: Clone, tmp_path: Path) -> None:
    wanted = Wanted(name="", line="", path=project)
    first = stage_wanted(wanted, tmp_path, clone)
    assert first.name == "my-lab-tools"
    archive = first.line.removeprefix("my-lab-tools @ file:///tmp/docker/")
    assert archive.endswith("/my-lab-tools.tar.gz")
    assert (tmp_path / archive).read_bytes() == pack_project(project, clone)[1]
    assert stage_wanted(wanted, tmp_path, clone) == first
    (project / "mine" / "__init__.py").write_text("X = 8\n")
    assert stage_wanted(wanted, tmp_path, clone) != first


def test_an_archive_that_became_a_link_is_not_read(clone: Clone) -> None:
    path = clone.root / "notebooks" / "x-1.0-py3-none-any.whl"
    path.write_bytes(b"wheel")
    assert read_archive(path, clone) == b"wheel"
    path.unlink()
    path.symlink_to(clone.root / "compose" / "compose.yaml")
    with pytest.raises(LabError, match="it is no file any more"):
        read_archive(path, clone)
