"""Building a base image's file system: as whom, and what a killed try leaves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from double import Double

from labcrate import environment, process
from labcrate.clone.place import Clone
from labcrate.engine import debian_root as room
from labcrate.engine.debian_root import (
    build_command,
    build_note,
    has_subordinate_ids,
    is_work_folder,
    mounts_below,
    remove_killed_build,
    work_folder,
)

ARCHIVE = Path("/tmp/labcrate-x/base.tar")
MOUNT = "36 35 98:0 / {} rw,noatime master:1 - proc proc rw\n"


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(room, "MOUNTS", tmp_path / "mountinfo")
    room.MOUNTS.write_text("")


def programs(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(environment, "is_root", lambda: False)
    monkeypatch.setattr(environment, "command_path", lambda name: name if name in names else None)


@pytest.mark.parametrize(
    ("found", "ids", "start", "mode"),
    [
        (("newuidmap", "sudo"), True, (), "unshare"),
        (("newuidmap", "sudo"), False, ("sudo",), "root"),
        (("sudo",), True, ("sudo",), "root"),
    ],
)
def test_an_ordinary_user_builds_one_as_he_can(
    monkeypatch: pytest.MonkeyPatch,
    found: Sequence[str],
    ids: bool,
    start: Sequence[str],
    mode: str,
) -> None:
    """Without uidmap mmdebstrap's own way for users fails, and no package recommends it."""
    programs(monkeypatch, *found)
    monkeypatch.setattr(room, "has_subordinate_ids", lambda: ids)
    made = build_command("trixie", "http://m.example/debian", ARCHIVE)
    assert made[: len(start) + 3] == (*start, "env", f"TMPDIR={ARCHIVE.parent}", "mmdebstrap")
    assert f"--mode={mode}" in made


@pytest.mark.parametrize(
    ("uids", "gids", "has"),
    [
        ("bob:1:9\nada:100000:65536\n", "ada:100000:65536\n", True),
        ("4321:100000:65536\n", "4321:1:2\n", True),
        ("ada:100000:65536\n", "", False),
        ("adam:100000:65536\n", "adam:1:2\n", False),
    ],
)
def test_whose_subordinate_ids_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uids: str, gids: str, has: bool
) -> None:
    files = (tmp_path / "subuid", tmp_path / "subgid")
    monkeypatch.setattr(room, "SUBORDINATE", files)
    monkeypatch.setattr(environment, "user_name", lambda: "ada")
    monkeypatch.setattr(environment, "user_ids", lambda: (4321, 4321))
    assert not has_subordinate_ids()
    for path, text in zip(files, (uids, gids), strict=True):
        path.write_text(text)
    assert has_subordinate_ids() is has


def test_a_build_leaves_nothing(clone: Clone) -> None:
    with work_folder(clone) as folder:
        (folder / "base.tar").touch()
        assert build_note(clone).read_text() == f"{os.getpid()} {folder}\n"
        assert is_work_folder(folder)
        # Of a build that is under way: another `setup` leaves it alone.
        remove_killed_build(clone)
        assert folder.exists()
    assert not folder.exists()
    assert not build_note(clone).exists()


def killed(clone: Clone, folder: Path) -> None:
    build_note(clone).write_text(f"999999999 {folder}\n")


def test_what_a_killed_build_left_goes_with_its_mounts(
    clone: Clone, double: Double, tmp_path: Path
) -> None:
    folder = tmp_path / "labcrate-x"
    points = [str(folder / name) for name in ("m/proc", "m/dev", "m/dev/pts")]
    (folder / "m").mkdir(parents=True)
    room.MOUNTS.write_text("".join(map(MOUNT.format, ["/", *points, f"{folder}y/proc"])))

    def umount(argv: Sequence[str], _stdin: str | None) -> None:
        points.remove(argv[-1])
        room.MOUNTS.write_text("".join(map(MOUNT.format, ["/", *points])))

    double.expect("umount", does=umount)
    killed(clone, folder)
    remove_killed_build(clone)
    taken = [argv[-1] for argv in double.called("umount")]
    assert taken == [str(folder / name) for name in ("m/dev/pts", "m/dev", "m/proc")]
    assert not folder.exists()
    assert not build_note(clone).exists()


def test_what_stays_mounted_is_not_deleted_into(
    clone: Clone, double: Double, tmp_path: Path
) -> None:
    """rm stays on its own disk, and the next `setup` tries again."""
    folder = tmp_path / "labcrate-x"
    (folder / "m" / "kept").mkdir(parents=True)
    room.MOUNTS.write_text(MOUNT.format(folder / "m"))
    double.expect("umount", returncode=32).expect("rm", "--one-file-system", returncode=1)
    killed(clone, folder)
    remove_killed_build(clone)
    assert (folder / "m" / "kept").exists()
    assert build_note(clone).exists()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", ["other", "labcrate-file", "labcrate-link", "sub/labcrate-x", ""])
def test_what_stands_in_the_record_is_not_believed(clone: Clone, tmp_path: Path, name: str) -> None:
    for folder in ("other", "sub/labcrate-x"):
        (tmp_path / folder / "kept").mkdir(parents=True)
    (tmp_path / "labcrate-file").touch()
    (tmp_path / "labcrate-link").symlink_to(tmp_path / "other")
    killed(clone, tmp_path / name)
    remove_killed_build(clone)
    assert (tmp_path / "other" / "kept").exists()
    assert (tmp_path / "sub" / "labcrate-x" / "kept").exists()
    assert (tmp_path / "labcrate-file").exists()


@pytest.mark.usefixtures("double")
def test_a_dry_run_removes_nothing(clone: Clone, tmp_path: Path) -> None:
    folder = tmp_path / "labcrate-x"
    folder.mkdir()
    killed(clone, folder)
    with process.in_mode(process.Mode(dry=True)):
        remove_killed_build(clone)
    assert folder.exists()


def test_mounts_of_a_folder_with_a_similar_name_are_others() -> None:
    text = MOUNT.format("/tmp/labcrate-xy/proc") + MOUNT.format("/tmp/labcrate-x")
    assert list(mounts_below(ARCHIVE.parent, text)) == ["/tmp/labcrate-x"]
