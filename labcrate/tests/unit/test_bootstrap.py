"""bootstrap.py: which wheel of the machinery it takes, and what it says where there is none."""

from __future__ import annotations

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
