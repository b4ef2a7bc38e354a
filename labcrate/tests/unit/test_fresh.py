"""What `setup` makes in a clone: .env with its blanks filled in, the owner's folders."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from double import Double

from labcrate import environment, process
from labcrate.clone.env_file import read_env
from labcrate.clone.fresh import (
    blanks,
    caller_ids,
    ensure_env_file,
    ensure_folders,
    give,
    refresh_package_settings,
)
from labcrate.clone.place import Clone
from labcrate.clone.rules import check
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError

EXAMPLE = "# a port\nJUPYTER_PORT=\nJUPYTER_TOKEN=\nGPU=auto\n"


@pytest.fixture(autouse=True)
def _no_pip_settings(double: Double) -> None:
    double.expect("pip", "config", "list")


def dry() -> process.Mode:
    return process.Mode(dry=True)


def test_blanks_fill_what_is_missing_and_nothing_else(clone: Clone) -> None:
    filled = blanks({"JUPYTER_TOKEN": "mine", "LAB_UID": "1234"}, clone)
    assert not {"JUPYTER_TOKEN", "LAB_UID", "HOST_WHEELS"} & set(filled)
    assert {"COMPOSE_PROJECT_NAME", "JUPYTER_PORT", "TENSORBOARD_PORT", "LAB_GID"} <= set(filled)
    assert filled["COMPOSE_FILE"] == "compose/compose.yaml"


def test_a_random_token_is_one_that_may_face_other_machines(clone: Clone) -> None:
    filled = {**blanks({}, clone), "BIND_ADDRESS": "0.0.0.0"}
    assert check(filled, clone) == []
    assert filled["JUPYTER_TOKEN"] != blanks({}, clone)["JUPYTER_TOKEN"]


def test_two_clones_of_one_name_differ(clone: Clone) -> None:
    assert len({blanks({}, clone)["COMPOSE_PROJECT_NAME"] for _ in range(5)}) == 5


@pytest.mark.parametrize("name", ["My Lab", "lab tést (1)", "日本語", "-x-", "a" * 80])
def test_project_names_suit_compose(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    clone = Clone(root=tmp_path / name, here=tmp_path)
    project = blanks({}, clone)["COMPOSE_PROJECT_NAME"]
    told = [p.text for p in check({"COMPOSE_PROJECT_NAME": project}, clone) if "Compose" in p.text]
    assert told == []


def test_the_hosts_folder_of_wheels_is_the_first_choice(
    clone: Clone, double: Double, tmp_path: Path
) -> None:
    double.expect("pip", "config", "list", stdout=f"install.find-links='{tmp_path}'\n")
    assert blanks({}, clone)["HOST_WHEELS"] == str(tmp_path)


@pytest.mark.parametrize(
    ("environ", "owner", "ids"),
    [
        ({}, (0, 0), (1002, 1002)),
        ({}, (1234, 1235), (1234, 1235)),
        ({"SUDO_UID": "501", "SUDO_GID": "20"}, (0, 0), (501, 20)),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, (0, 0), (1002, 1002)),
    ],
)
def test_root_never_becomes_the_labs_user_nor_does_another_account(
    clone: Clone,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    owner: tuple[int, int],
    ids: tuple[int, int],
) -> None:
    monkeypatch.setattr(environment, "is_root", lambda: True)
    monkeypatch.setattr(pwd, "getpwuid", {1000: "somebody"}.__getitem__)
    monkeypatch.setattr(grp, "getgrgid", {1001: "a group"}.__getitem__)
    for name in ("SUDO_UID", "SUDO_GID"):
        monkeypatch.setenv(name, environ.get(name, ""))
    real = clone.root.stat()
    fake = os.stat_result((real.st_mode, 0, 0, 1, *owner, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda _: fake)
    assert caller_ids(clone) == ids


@pytest.mark.parametrize("root", [True, False])
def test_in_a_rootless_engine_the_labs_user_is_0(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    monkeypatch.setattr(environment, "is_root", lambda: root)
    assert caller_ids(clone, rootless=True) == (0, 0)
    clone.example_file.write_text("LAB_UID=\nLAB_GID=\n")
    ensure_env_file(clone, rootless=True)
    assert read_env(clone.env_file)["LAB_UID"] == read_env(clone.env_file)["LAB_GID"] == "0"


@pytest.mark.parametrize(("uid", "gid"), [("1000", "1000"), ("0", "1000"), ("1000", "0")])
def test_an_env_of_another_kind_of_engine_is_refused(clone: Clone, uid: str, gid: str) -> None:
    text = f"LAB_UID={uid}\nLAB_GID={gid}\n"
    clone.env_file.write_text(text)
    with pytest.raises(LabError, match=f"rootless.* LAB_UID={uid} ") as caught:
        ensure_env_file(clone, rootless=True)
    assert caught.value.code is Code.SETTINGS
    assert "set LAB_UID=0 and LAB_GID=0 in .env" in caught.value.fix
    assert clone.env_file.read_text() == text


@pytest.mark.parametrize("uid", ["", "me"])
def test_an_id_that_is_none_is_not_taken_for_another_user(clone: Clone, uid: str) -> None:
    """A missing one is filled in; a wrong one is refused as such, when the settings are read."""
    clone.env_file.write_text(f"LAB_UID={uid}\nLAB_GID=0\n")
    ensure_env_file(clone, rootless=True)
    assert read_env(clone.env_file)["LAB_UID"] == (uid or "0")


def test_an_ordinary_caller_is_the_labs_user(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "is_root", lambda: False)
    assert caller_ids(clone) == (os.getuid(), os.getgid())


def test_a_shell_of_newgrp_does_not_make_the_engines_group_the_labs(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "is_root", lambda: False)
    monkeypatch.setattr(environment, "user_ids", lambda: (1000, 77))
    monkeypatch.setattr(grp, "getgrnam", lambda _name: SimpleNamespace(gr_gid=77))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_gid=1000))
    assert caller_ids(clone) == (1000, 1000)
    monkeypatch.setattr(environment, "user_ids", lambda: (1000, 78))
    assert caller_ids(clone) == (1000, 78)


def test_env_is_written_once_private_and_then_left_alone(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    clone.example_file.write_text(EXAMPLE)
    ensure_env_file(clone)
    text = clone.env_file.read_text()
    assert stat.S_IMODE(clone.env_file.stat().st_mode) == 0o600
    assert text.startswith("# a port\nJUPYTER_PORT=")
    assert check(read_env(clone.env_file), clone) == []
    ensure_env_file(clone)
    assert clone.env_file.read_text() == text
    told = capsys.readouterr().out
    assert "written, mode 600: JUPYTER_TOKEN" in told
    assert "already there" in told


def test_a_file_that_lacks_something_is_filled_in(
    clone: Clone, double: Double, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An empty HOST_WHEELS in it is the owner's choice."""
    double.expect("pip", "config", "list", stdout=f"install.find-links='{tmp_path}'\n")
    clone.env_file.write_text("# mine\nJUPYTER_TOKEN=kept\nHOST_WHEELS=\n")
    ensure_env_file(clone)
    found = read_env(clone.env_file)
    assert (found["JUPYTER_TOKEN"], found["HOST_WHEELS"]) == ("kept", "")
    assert "filled in: " in capsys.readouterr().out


def test_a_complete_file_that_others_can_read_is_made_private(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    clone.example_file.write_text(EXAMPLE)
    ensure_env_file(clone)
    clone.env_file.chmod(0o644)
    ensure_env_file(clone)
    assert stat.S_IMODE(clone.env_file.stat().st_mode) == 0o600
    assert "made private" in capsys.readouterr().out


def test_a_dry_run_writes_no_env(clone: Clone) -> None:
    clone.example_file.write_text(EXAMPLE)
    with process.in_mode(dry()):
        ensure_env_file(clone)
    assert not clone.env_file.exists()


def test_missing_folders_are_made_and_named(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in settings.folders[:2]:
        path.rmdir()
    with process.in_mode(dry()):
        ensure_folders(settings)
    assert not settings.folders[0].exists()
    ensure_folders(settings)
    assert all(path.is_dir() for path in settings.folders)
    assert "notebooks, src" in capsys.readouterr().out


@pytest.mark.parametrize("quiet", [False, True])
def test_folders_that_are_there_are_said_unless_quiet(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quiet: bool,
) -> None:
    monkeypatch.setattr(environment, "is_root", lambda: False)
    ensure_folders(settings, quiet=quiet)
    assert ("already there" in capsys.readouterr().out) is not quiet


def test_a_file_in_place_of_one_of_the_owners_folders_is_refused(settings: Settings) -> None:
    settings.folders[0].rmdir()
    settings.folders[0].touch()
    with pytest.raises(LabError, match="notebooks cannot be made: File exists") as caught:
        ensure_folders(settings)
    assert caught.value.code is Code.FOLDER


def test_only_roots_files_are_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").touch()
    mine = tmp_path.lstat().st_uid
    given: list[int | str] = []
    monkeypatch.setattr(os, "chown", lambda what, *_, **__: given.append(what))
    assert give(tmp_path, (1000, 1000)) is (mine == 0)
    assert len(given) == (2 if mine == 0 else 0)
    assert not give(tmp_path, (0, 0))


def test_package_settings_are_brought_and_what_is_unreachable_is_named(
    settings: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    double.expect(
        "pip", "config", "list", stdout="global.extra-index-url='file://me:pw@srv/wheels'\n"
    )
    mine = replace(settings, uid=os.getuid(), gid=os.getgid())
    refresh_package_settings(mine)
    told = capsys.readouterr().out
    assert "copied from this host" in told
    assert "no container can reach it: file://***@srv/wheels" in told
    refresh_package_settings(mine)
    assert "already up to date" in capsys.readouterr().out
