"""A lab knows its clone's folder: a moved clone takes it along, and a copy is another lab."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from task_lab import PROJECT, TaskLab, context, failed

from labcrate import process
from labcrate.clone import identity
from labcrate.clone.chosen_ports import recorded_ports
from labcrate.clone.env_file import parse_env, read_env
from labcrate.clone.identity import (
    OF_THE_ORIGINAL,
    PORTS,
    original_of,
    part_from_original,
    place_file,
    recorded_place,
    refuse_copy,
    settle,
)
from labcrate.clone.place import Clone
from labcrate.doctor.gather import copied
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.smoke import prove
from labcrate.tasks.base import alone
from labcrate.tasks.starting import setup, up
from labcrate.tasks.verbs import VERBS, read_verb

OWN_PORTS = "JUPYTER_PORT=21888\nTENSORBOARD_PORT=21889\nSEARCH_PORT=21890\n"
ENV = f"COMPOSE_PROJECT_NAME={PROJECT}\n{OWN_PORTS}"


@pytest.fixture
def here(clone: Clone) -> Clone:
    """A clone that has been used."""
    clone.env_file.write_text(ENV + "JUPYTER_TOKEN=secret\n")
    settle(clone)
    return clone


def copy_of(clone: Clone, folder: str = "copy") -> Clone:
    root = shutil.copytree(clone.root, clone.root.with_name(folder))
    return Clone(root=Path(root), here=Path(root))


def test_the_first_task_writes_down_where_the_clone_is(here: Clone) -> None:
    folder = here.root.stat()
    numbers = f"{folder.st_dev}:{folder.st_ino}"
    assert place_file(here).read_text() == f"{here.root}\n{numbers} {PROJECT}\n"
    assert original_of(here) is None


def test_a_clone_that_was_moved_is_followed_without_a_word(
    here: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    root = here.root.rename(here.root.with_name("elsewhere"))
    moved = Clone(root=root, here=root)
    refuse_copy(moved)
    settle(moved)
    assert recorded_place(moved).folder == str(root)
    assert capsys.readouterr().out == ""


def test_a_copy_of_a_moved_clone_is_a_copy(here: Clone) -> None:
    """Before any task ran where it is now: only the folder's number tells the two apart."""
    root = here.root.rename(here.root.with_name("elsewhere"))
    moved = Clone(root=root, here=root)
    copy = copy_of(moved)
    with pytest.raises(LabError, match="which was moved or deleted since, and has its name"):
        settle(copy)
    settle(moved)
    assert recorded_place(moved).folder == str(root)


def on_another_disk(clone: Clone) -> None:
    """As `mv` to another file system leaves it, or as an older version wrote it."""
    place_file(clone).write_text(place_file(clone).read_text().partition("\n")[0] + "\n")


def test_a_clone_moved_to_another_disk_is_followed(here: Clone) -> None:
    on_another_disk(here)
    copy = copy_of(here)
    assert original_of(copy) == here.root
    shutil.rmtree(here.root)
    settle(copy)
    assert recorded_place(copy).folder == str(copy.root)


def test_another_clone_in_the_old_place_does_not_make_it_a_copy(here: Clone) -> None:
    root = here.root.rename(here.root.with_name("elsewhere"))
    here.root.mkdir()
    moved = Clone(root=root, here=root)
    assert original_of(moved) is None  # nothing is there yet that names a lab
    here.env_file.write_text("COMPOSE_PROJECT_NAME=lab-new-1\n")
    assert original_of(moved) is None


def test_one_folder_under_two_names_is_one_clone(here: Clone) -> None:
    link = here.root.with_name("link")
    link.symlink_to(here.root)
    place_file(here).write_text(f"{link}\n")
    assert original_of(here) is None


def test_a_copy_is_refused_and_stays_refused(here: Clone) -> None:
    copy = copy_of(here)
    for attempt in (refuse_copy, settle):
        with pytest.raises(LabError) as caught:
            attempt(copy)
        assert caught.value.code is Code.SETTINGS
        assert str(here.root) in caught.value.problem
        assert caught.value.fix.startswith("invoke setup ")
    assert recorded_place(copy).folder == str(here.root)
    refuse_copy(here)


def test_an_original_that_may_not_be_read_still_makes_it_a_copy(
    here: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_another_disk(here)
    copy = copy_of(here)

    def denied(_path: Path) -> dict[str, str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(identity, "read_env", denied)
    assert original_of(copy) == here.root


def test_a_copy_of_what_may_not_be_looked_at_is_refused(
    here: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original lies in another user's folder."""
    copy, stat = copy_of(here), Path.stat

    def denied(path: Path, **options: Any) -> os.stat_result:
        if path == here.root:
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(LabError, match=f"is a copy of {here.root}, and has its name"):
        refuse_copy(copy)


def test_a_copy_with_a_name_of_its_own_is_none(here: Clone) -> None:
    copy = copy_of(here)
    copy.env_file.write_text("COMPOSE_PROJECT_NAME=lab-mine-1\n")
    settle(copy)
    assert recorded_place(copy).folder == str(copy.root)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"\n"])
def test_a_damaged_place_is_written_anew(here: Clone, damage: bytes) -> None:
    place_file(here).write_bytes(damage)
    settle(here)
    assert recorded_place(here).folder == str(here.root)


def test_a_folder_whose_name_is_not_text_is_no_obstacle(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"lab\xff")
    (root / ".labcrate").mkdir(parents=True)
    odd = Clone(root=root, here=root)
    settle(odd)
    settle(odd)
    assert original_of(odd) is None


def test_a_copy_becomes_a_clone_of_its_own(here: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    for name in OF_THE_ORIGINAL:
        if name != "candidate":
            (here.state / name).write_text("the original's")
    (here.state / "candidate").mkdir()
    (here.state / "candidate" / "x").touch()
    (here.state / "uv.toml").write_text("of this machine")
    copy = copy_of(here)
    part_from_original(copy)
    values = read_env(copy.env_file)
    assert (values["COMPOSE_PROJECT_NAME"], values["JUPYTER_TOKEN"]) == ("", "")
    ports = {int(values[name]) for name in PORTS}
    assert len(ports) == 3
    assert not ports & {21888, 21889, 21890}
    assert not [name for name in OF_THE_ORIGINAL if (copy.state / name).exists()]
    assert recorded_ports(copy) == {name: values[name] for name in PORTS}
    assert (copy.state / "uv.toml").exists()
    assert capsys.readouterr().out.count("\n") == 1
    # Nothing of the original's was touched.
    assert read_env(here.env_file)["JUPYTER_TOKEN"] == "secret"
    assert all((here.state / name).exists() for name in OF_THE_ORIGINAL)


def test_a_base_image_that_setup_built_is_the_originals() -> None:
    before = {"COMPOSE_PROJECT_NAME": "lab-x", "BASE_IMAGE": "lab-x/debian:trixie"}
    assert identity.values_anew(before)["BASE_IMAGE"] == ""
    assert "BASE_IMAGE" not in identity.values_anew({**before, "BASE_IMAGE": "debian:trixie-slim"})


def test_a_dry_run_changes_no_copy(here: Clone) -> None:
    copy = copy_of(here)
    before = copy.env_file.read_text()
    with process.in_mode(process.Mode(dry=True)):
        part_from_original(copy)
        settle(here)
    assert copy.env_file.read_text() == before


def stand_in_a_copy(lab: TaskLab, monkeypatch: pytest.MonkeyPatch) -> Clone:
    settle(lab.clone)
    copy = copy_of(lab.clone)
    monkeypatch.chdir(copy.root)
    return copy


WITHOUT_A_LAB = {"setup", "doctor", "lock", "help", "tunnel"}
"""setup is the fix; the doctor reports it; `lock --check` reads docker/ alone; help explains;
tunnel is about a lab on another machine."""
TYPED: dict[str, dict[str, Any]] = {
    "add-package": {"packages": "einops"},
    "remove-package": {"packages": "einops"},
    "run": {"command": ("true",)},
    "cluster": {"what": ("up",)},
    "wait": {"name": ("train",)},
}


@pytest.mark.parametrize("verb", sorted(set(VERBS) - WITHOUT_A_LAB))
def test_every_verb_refuses_in_a_copy(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    stand_in_a_copy(task_lab, monkeypatch)
    code, message = failed(read_verb(verb), **TYPED.get(verb, {}))
    assert (code, "is a copy of" in message) == (Code.SETTINGS, True)
    assert task_lab.calls == 0


def test_lock_and_a_dry_run_refuse_too(task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_a_copy(task_lab, monkeypatch)
    assert failed(read_verb("lock"))[0] == Code.SETTINGS
    assert failed(up, dry=True)[0] == Code.SETTINGS
    with pytest.raises(LabError, match="is a copy of"):
        prove.lab_for("cpu")


def test_the_doctor_says_it(here: Clone) -> None:
    (problem,) = copied(copy_of(here))
    assert (problem.code, problem.fix.startswith("invoke setup ")) == (Code.SETTINGS, True)
    assert list(copied(here)) == []


def test_setup_makes_the_copy_a_lab_of_its_own(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = "".join(f"{name}=\n" for name in parse_env(ENV))
    task_lab.clone.example_file.write_text(example)
    before = task_lab.clone.env_file.read_text()
    copy = stand_in_a_copy(task_lab, monkeypatch)
    monkeypatch.setattr("labcrate.tasks.starting.ensure_engine", lambda _confirm: Engine())
    setup(context(), yes=True)
    told = capsys.readouterr().out
    assert told.count("it gets a name, ports and a token of its own") == 1
    own, others = read_env(copy.env_file), parse_env(before)
    for name in ("COMPOSE_PROJECT_NAME", "JUPYTER_PORT", "TENSORBOARD_PORT", "JUPYTER_TOKEN"):
        assert own[name]
        assert own[name] != others[name]
    assert copy.env_file.stat().st_mode & 0o777 == 0o600
    assert recorded_place(copy).folder == str(copy.root)
    assert task_lab.clone.env_file.read_text() == before
    with alone("up") as settings:
        assert settings.project == own["COMPOSE_PROJECT_NAME"]
    setup(context(), yes=True)
    assert read_env(copy.env_file) == own
