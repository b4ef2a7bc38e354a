"""JUPYTER_DIR and TENSORBOARD_DIR are made for the lab's user, or refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labcrate import environment, process
from labcrate.clone.fresh import ensure_folders
from labcrate.clone.named_folders import make_named_folders
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError


def test_a_folder_that_env_names_is_made_for_the_labs_user(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[tuple[str, int, int]] = []

    def chown(folder: int, uid: int, gid: int, **_: Any) -> None:
        given.append((str(Path(f"/proc/self/fd/{folder}").readlink()), uid, gid))

    monkeypatch.setattr(environment, "is_root", lambda: True)
    monkeypatch.setattr("labcrate.clone.fresh.give", lambda *_: False)
    monkeypatch.setattr(os, "chown", chown)
    wished = replace(
        settings,
        jupyter_dir="/lab/notebooks/thesis/one",
        tensorboard_dir="/lab/runs/thesis",
        uid=1234,
        gid=1235,
    )
    ensure_folders(wished, quiet=True)
    made = ("notebooks/thesis", "notebooks/thesis/one", "runs/thesis")
    assert given == [(str(settings.root_dir / name), 1234, 1235) for name in made]
    assert "/lab/notebooks/thesis/one, /lab/runs/thesis" in capsys.readouterr().out
    given.clear()
    ensure_folders(wished, quiet=True)
    assert (given, capsys.readouterr().out) == ([], "")


def test_a_dry_run_makes_none(settings: Settings) -> None:
    with process.in_mode(process.Mode(dry=True)):
        ensure_folders(replace(settings, jupyter_dir="/lab/notebooks/thesis"))
    assert not (settings.root_dir / "notebooks" / "thesis").exists()


def test_a_file_in_its_place_is_refused(settings: Settings) -> None:
    (settings.root_dir / "notebooks" / "thesis").touch()
    with pytest.raises(LabError, match=r"JUPYTER_DIR=.*thesis: Not a directory") as caught:
        make_named_folders(replace(settings, jupyter_dir="/lab/notebooks/thesis/one"))
    assert caught.value.code is Code.FOLDER
    assert "another folder" in caught.value.fix


def test_a_link_to_a_folder_of_the_lab_is_fine(settings: Settings) -> None:
    (settings.root_dir / "data" / "thesis").mkdir()
    (settings.root_dir / "notebooks" / "link").symlink_to("../data")
    wished = replace(settings, jupyter_dir="/lab/notebooks/link/thesis")
    assert make_named_folders(wished) == []


@pytest.mark.parametrize("target", ["nowhere", "../../../outside", "../data"])
def test_nothing_is_made_behind_a_link(settings: Settings, tmp_path: Path, target: str) -> None:
    """The engine would make it as root, wherever the link leads in there."""
    (tmp_path / "outside" / "thesis").mkdir(parents=True)
    (settings.root_dir / "notebooks" / "link").symlink_to(target)
    with pytest.raises(LabError, match="link is a symbolic link, which leads to no folder"):
        make_named_folders(replace(settings, jupyter_dir="/lab/notebooks/link/thesis"))
    assert list((settings.root_dir / "data").iterdir()) == []
