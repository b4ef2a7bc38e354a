"""Handing root's files in the owner's folders to the lab's user, while a notebook is at work."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labcrate.clone.fresh import give

LAB = (1000, 1000)
Node = tuple[int, int]
"""A file itself, whatever its name: device and inode."""


class Watch:
    """Every file counts as root's. given: the files that were handed over, by what they are."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.given: list[Node] = []
        self.real = os.stat
        self.before_answer: Callable[[str], None] = lambda _name: None
        patch.setattr(os, "stat", self.stat)
        real_fstat = os.fstat
        patch.setattr(os, "fstat", lambda number: as_of(real_fstat(number), 0))
        patch.setattr(os, "chown", self.chown)

    def stat(self, path: Any, **options: Any) -> os.stat_result:
        found = as_of(self.real(path, **options), 0)
        if not isinstance(path, int):
            self.before_answer(Path(path).name)
        return found

    def chown(self, path: Any, uid: int, gid: int, **options: Any) -> None:
        assert (uid, gid) == LAB
        found = self.real(path, **options)
        self.given.append((found.st_dev, found.st_ino))


def as_of(found: os.stat_result, uid: int) -> os.stat_result:
    fields = list(found)
    fields[4] = uid
    return os.stat_result(fields)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the owner's, and one of the machine's with a file of the same name."""
    for name in ("notebooks/sub", "etc"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "victim").write_text(name)
    return tmp_path / "notebooks"


def node(path: Path, real: Callable[..., os.stat_result]) -> Node:
    found = real(path, follow_symlinks=False)
    return found.st_dev, found.st_ino


def test_all_of_it_is_handed_over(folder: Path, watch: Watch) -> None:
    own = {node(path, watch.real) for path in (folder, folder / "sub", folder / "sub" / "victim")}
    assert give(folder, LAB)
    assert set(watch.given) == own


def test_what_is_not_roots_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is somebody's, who put it there."""
    given: list[object] = []
    for name in ("stat", "fstat"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, **k: as_of(real(*a, **k), 4321))
    monkeypatch.setattr(os, "chown", lambda *a, **_: given.append(a))
    assert not give(folder, LAB)
    assert given == []


def test_spared_folders_are_not_looked_at(folder: Path, watch: Watch) -> None:
    """At the top alone: a folder of that name below is like any other."""
    (folder / "notebooks" / "sub").mkdir(parents=True)
    deep = {node(folder / name, watch.real) for name in ("notebooks", "notebooks/sub")}
    assert give(folder, LAB, spared=("sub",))
    assert set(watch.given) == {node(folder, watch.real), *deep}


@pytest.mark.parametrize("moment", ["sub", "victim"])
def test_a_folder_that_a_notebook_swaps_for_a_link_leads_nowhere(
    folder: Path, watch: Watch, moment: str
) -> None:
    """Just after it was asked for, as the race that the notebook wins."""
    etc = folder.parent / "etc"
    machines = {node(path, watch.real) for path in (etc, etc / "victim")}

    def swap(name: str) -> None:
        if name == moment:
            watch.before_answer = lambda _name: None
            (folder / "sub").rename(folder / "away")
            (folder / "sub").symlink_to(etc)

    watch.before_answer = swap
    give(folder, LAB)
    assert (folder / "sub").is_symlink()
    assert not machines & set(watch.given)


def test_a_link_in_a_folder_is_handed_over_itself(folder: Path, watch: Watch) -> None:
    (folder / "link").symlink_to(folder.parent / "etc")
    give(folder, LAB)
    assert node(folder / "link", watch.real) in watch.given
    assert node(folder.parent / "etc", watch.real) not in watch.given


def test_a_folder_that_is_a_link_is_left_alone(folder: Path, watch: Watch) -> None:
    link = folder.with_name("data")
    link.symlink_to(folder)
    assert not give(link, LAB)
    assert watch.given == []


def test_a_second_name_of_a_file_is_not_handed_over(folder: Path, watch: Watch) -> None:
    os.link(folder.parent / "etc" / "victim", folder / "second")
    give(folder, LAB)
    assert node(folder / "second", watch.real) not in watch.given


def test_a_file_that_goes_meanwhile_is_no_error(folder: Path, watch: Watch) -> None:
    watch.before_answer = lambda _name: (folder / "sub" / "victim").unlink(missing_ok=True)
    assert give(folder, LAB)


def test_the_labs_user_may_be_root_and_then_nothing_changes(folder: Path, watch: Watch) -> None:
    assert not give(folder, (0, 0))
    assert watch.given == []
