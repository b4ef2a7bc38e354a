"""bootstrap.py: which wheel of the machinery it takes, and what it says where there is none."""

from __future__ import annotations

import fcntl
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from clone import ROOT


@pytest.fixture
def bootstrap(tmp_path: Path) -> ModuleType:
    """The script as a module, in a clone without labcrate/."""
    (tmp_path / "bootstrap.py").write_text((ROOT / "bootstrap.py").read_text())
    (tmp_path / "vendor").mkdir()
    spec = importlib.util.spec_from_file_location("bootstrap", tmp_path / "bootstrap.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_wheels(folder: Path, *versions: str) -> None:
    for version in versions:
        (folder / "vendor" / f"labcrate-{version}-py3-none-any.whl").write_text(version)


def test_the_newest_wheel_is_installed(bootstrap: ModuleType, tmp_path: Path) -> None:
    put_wheels(tmp_path, "0.9.0", "0.10.0", "0.2.0")
    assert [Path(path).name.split("-")[1] for path in bootstrap.wheels()] == ["0.10.0"]


def test_the_folder_wins_over_a_wheel(bootstrap: ModuleType, tmp_path: Path) -> None:
    put_wheels(tmp_path, "0.9.0")
    (tmp_path / "labcrate").mkdir()
    assert bootstrap.wheels() == []


def test_removing_the_folder_makes_the_environment_anew(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    put_wheels(tmp_path, "0.9.0")
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "labcrate").mkdir()
    before = bootstrap.wanted()
    (tmp_path / "labcrate").rmdir()
    assert bootstrap.wanted() != before


def test_a_folder_with_a_colon_is_refused_before_anything_is_made(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", "/home/me/a:b")
    with pytest.raises(SystemExit) as caught:
        bootstrap.make_venv()
    assert caught.value.code == 25
    told = capsys.readouterr()
    assert "below a `:`, as in /home/me/a:b\n  fix: move or rename" in told.err
    assert told.out == ""


def test_a_clone_without_the_machinery_says_so(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "invoke", "up"])
    with pytest.raises(SystemExit):
        bootstrap.main()
    assert "neither labcrate/ nor a wheel" in capsys.readouterr().err


@pytest.fixture
def made(bootstrap: ModuleType, tmp_path: Path) -> Path:
    """A .venv as `make_venv` leaves it, with a package and its caches."""
    (tmp_path / "labcrate").mkdir()
    (tmp_path / "requirements.lock").write_text("")
    site = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("invoke", "__pycache__"):
        (site / name).mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    Path(bootstrap.STAMP).write_text(f"{bootstrap.wanted()}\n{site / 'invoke'}")
    return site


@pytest.mark.parametrize("lost", ["site-packages/invoke", "bin/python", "labcrate.stamp", ""])
def test_half_a_venv_is_none(bootstrap: ModuleType, made: Path, lost: str) -> None:
    """Its remains would end in a traceback, or in a module that is not found."""
    assert bootstrap.is_current()
    (made / "__pycache__").rmdir()
    assert bootstrap.is_current()
    if lost == "site-packages/invoke":
        (made / "invoke").rmdir()
    elif lost:
        Path(bootstrap.VENV, lost).unlink()
    assert bootstrap.is_current() is not bool(lost)


def test_a_venv_of_before_counts_as_it_is(bootstrap: ModuleType, made: Path) -> None:
    assert made
    Path(bootstrap.STAMP).write_text(bootstrap.wanted())
    assert bootstrap.is_current()


def test_the_stamp_names_what_was_installed(
    bootstrap: ModuleType, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(_argv: object) -> None:
        (made / "invoke").mkdir(parents=True, exist_ok=True)
        (made / "__pycache__").mkdir(exist_ok=True)

    monkeypatch.setattr(bootstrap.subprocess, "check_call", install)
    bootstrap.make_venv()
    listed = Path(bootstrap.STAMP).read_text().splitlines()[1:]
    assert sorted(listed) == [str(made / "clone.pth"), str(made / "invoke")]


def test_a_venv_that_root_made_is_one_message(
    bootstrap: ModuleType,
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bootstrap.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(bootstrap.os, "access", lambda *_: False)
    with pytest.raises(SystemExit):
        bootstrap.make_venv()
    assert f"fix: sudo rm -r '{bootstrap.VENV}', then" in capsys.readouterr().err
    assert made.exists()


def test_two_at_once_make_one_venv(
    bootstrap: ModuleType, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits, and finds what the first has made. The lock is gone with the process."""
    held: list[bool] = []

    def look() -> bool:
        with Path(bootstrap.LOCK).open("r+") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
            else:
                held.append(False)
        return held[-1]

    assert made
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "invoke", "up"])
    monkeypatch.setattr(bootstrap, "is_current", look)
    monkeypatch.setattr(bootstrap.os, "execv", lambda *_: None)
    monkeypatch.setattr(bootstrap.os, "chdir", lambda *_: None)
    monkeypatch.setenv("PATH", "/usr/bin")
    bootstrap.main()
    assert held == [False, True]


@pytest.mark.parametrize("words", [[], ["pip"], ["--yes"]])
def test_another_tool_is_refused_with_the_way_in(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", *words])
    with pytest.raises(SystemExit) as caught:
        bootstrap.main()
    assert caught.value.code == 25
    assert "fix: python3 bootstrap.py invoke --list" in capsys.readouterr().err
