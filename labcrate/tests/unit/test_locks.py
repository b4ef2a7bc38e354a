"""Requirement files and locks: what is pinned, what moved, what is stale."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from labcrate.clone.place import find_clone
from labcrate.errors import Code, LabError
from labcrate.packages.locks import (
    changed_pins,
    lock_header,
    made_from,
    pins_of,
    requirements_digest,
    stale_locks,
)
from labcrate.packages.tools import stale_tools

CLONE = find_clone(Path(__file__).parent)

LOCK = """# Made by the tasks from packages.in (0123456789abcdef): change that file, not this one.
a==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
B_c==2.0+cpu ; sys_platform == 'linux' \\
    --hash=sha256:cc
only-mac==3.0 ; sys_platform == 'darwin' \\
    --hash=sha256:dd
git-one @ git+https://host/x@abc
"""


def test_pins_are_what_applies_in_the_image() -> None:
    found = pins_of(LOCK)
    assert {name: pin.where for name, pin in found.items()} == {
        "a": "1.0",
        "b-c": "2.0+cpu",
        "git-one": "git+https://host/x@abc",
    }
    assert found["git-one"].version == ""
    assert found["a"].text.count("--hash") == 2
    assert "".join(f"{pin.text}\n" for pin in found.values()).count("sha256") == 3


def test_difference_shows_added_removed_and_moved() -> None:
    before = pins_of("a==1\nb==1\nc==1\n")
    after = pins_of("a==1\nb==2\nd==1\n")
    assert changed_pins(before, after) == (("b", "1", "2"), ("c", "1", ""), ("d", "", "1"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a\nb>=2\n", "# note\nb >= 2   # why\n\na\n", True),
        ("a\n", "a==1\n", False),
        ("a\nb\n", "a\n", False),
    ],
)
def test_digest_sees_what_is_asked_for(one: str, other: str, same: bool) -> None:
    assert (requirements_digest(one) == requirements_digest(other)) is same
    assert made_from(lock_header("x.in", one)) == requirements_digest(one)


def test_our_own_locks_are_fresh() -> None:
    """What `invoke lock --check` says in CI."""
    assert list(stale_locks(CLONE.docker)) == []
    assert list(stale_tools(CLONE)) == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("packages.in", "transformers\neinops\n", "packages.lock was made from another"),
        ("packages.in", "transformers<1\n", "transformers<1 is asked for, and"),
        ("packages.in", "nowhere\n", "nowhere is asked for and not locked"),
        ("base.in", "jupyterlab\n", "base.lock was made from another base.in"),
        ("torch.in", "torch==1.0\n", "torch==1.0 is asked for, and 2."),
        ("packages.lock", "", "packages.lock was made from another"),
    ],
)
def test_stale_locks_are_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    docker = Path(shutil.copytree(CLONE.docker, tmp_path / "docker"))
    (docker / name).write_text(text)
    assert any(told in problem for problem in stale_locks(docker)), list(stale_locks(docker))


@pytest.mark.parametrize("name", ["packages", "base"])
def test_a_lock_that_lost_a_hash_is_named(tmp_path: Path, name: str) -> None:
    """Nothing else would say so: uv installs whatever has that name."""
    docker = Path(shutil.copytree(CLONE.docker, tmp_path / "docker"))
    path = docker / f"{name}.lock"
    package = "tqdm" if name == "packages" else "jupyterlab"
    text = re.sub(rf"(?m)^({package}==[^ ]+)(?: \\\n +--hash=\S+)+", r"\1", path.read_text())
    path.write_text(f"{text}local @ file:///tmp/docker/local/x.whl\n")
    assert list(stale_locks(docker)) == [f"{name}.lock holds no hash for {package}"]


def test_an_entry_whose_index_gives_no_hash_lost_none(inside: ModuleType) -> None:
    """The image writes the mark that is read here."""
    (pin,) = pins_of(inside.marked("plain==1", "plain==1")).values()
    assert (pin.name, pin.version, pin.has_hash) == ("plain", "1", True)
    assert not pins_of("plain==1  # mine")["plain"].has_hash


def test_what_the_base_holds_satisfies_packages_in(tmp_path: Path) -> None:
    docker = Path(shutil.copytree(CLONE.docker, tmp_path / "docker"))
    source = (docker / "packages.in").read_text() + "numpy\n"
    lock = (docker / "packages.lock").read_text().partition("\n")[2]
    (docker / "packages.in").write_text(source)
    (docker / "packages.lock").write_text(lock_header("packages.in", source) + lock)
    assert list(stale_locks(docker)) == []


def test_no_lock_names_an_index() -> None:
    for path in (*CLONE.docker.glob("*.lock"), CLONE.tools_lock):
        assert "://" not in path.read_text(), path.name


@pytest.mark.parametrize("name", ["packages.in", "base.in", "packages.lock"])
def test_what_a_merge_left_is_named_with_its_file(tmp_path: Path, name: str) -> None:
    docker = Path(shutil.copytree(CLONE.docker, tmp_path / "docker"))
    (docker / name).write_text("tqdm==4.0\n<<<<<<< HEAD\n")
    with pytest.raises(LabError, match=f"docker/{name}") as caught:
        list(stale_locks(docker))
    assert caught.value.code is Code.LOCK_STALE


def test_a_line_of_a_lock_that_is_no_pin_is_named() -> None:
    with pytest.raises(LabError, match=r"docker/x\.lock is damaged: 'a=>1'") as caught:
        pins_of("a=>1\n", "docker/x.lock")
    assert "git checkout HEAD -- docker/x.lock" in caught.value.fix


def test_what_does_not_apply_in_the_image_need_not_be_locked(tmp_path: Path) -> None:
    docker = Path(shutil.copytree(CLONE.docker, tmp_path / "docker"))
    source = "colorama; sys_platform == 'win32'\n"
    (docker / "packages.in").write_text(source)
    (docker / "packages.lock").write_text(lock_header("packages.in", source))
    assert list(stale_locks(docker)) == []
