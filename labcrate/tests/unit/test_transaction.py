"""Files and the image's name change together or not at all, whenever the process dies."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labcrate.packages import transaction

OLD = {"packages.in": "a\n", "packages.lock": "a==1\n", "apt.txt": "", "Dockerfile": "FROM x\n"}
NEW = {"packages.in": "a\nmine @ file:///l/local/ff/m.whl\n", "packages.lock": "a==1\nb==1\n"}
ARCHIVE = "local/ff/m.whl"


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    folder = tmp_path / "docker"
    folder.mkdir()
    for name, text in OLD.items():
        (folder / name).write_text(text)
    (tmp_path / "state").mkdir()
    (tmp_path / "tag").write_text("old")
    return folder


def candidate(docker: Path) -> Path:
    made = transaction.prepare_candidate(docker.parent / "state", docker)
    for name, text in NEW.items():
        (made / name).write_text(text)
    (made / ARCHIVE).parent.mkdir(parents=True)
    (made / ARCHIVE).write_text("wheel")
    return made


def retag(docker: Path) -> transaction.Retag:
    def name(image: str) -> None:
        (docker.parent / "tag").write_text(image)

    return name


def commit(docker: Path, new_image: str = "new") -> None:
    candidate(docker)
    transaction.commit_candidate(
        docker.parent / "state",
        docker,
        old_image="old",
        new_image=new_image,
        retag=retag(docker),
    )


def seen(docker: Path) -> dict[str, str]:
    files = {str(p.relative_to(docker)): p.read_text() for p in docker.rglob("*") if p.is_file()}
    return {**files, "tag": (docker.parent / "tag").read_text()}


BEFORE = {**OLD, "tag": "old"}
AFTER = {**OLD, **NEW, ARCHIVE: "wheel", "tag": "new"}


def test_a_commit_changes_everything(docker: Path) -> None:
    commit(docker)
    assert seen(docker) == AFTER
    assert not transaction.recover_commit(docker.parent / "state", docker, retag(docker))
    assert seen(docker) == AFTER


def test_without_a_new_image_its_name_stays(docker: Path) -> None:
    commit(docker, new_image="")
    assert seen(docker) == {**AFTER, "tag": "old"}


def test_an_archive_that_nothing_names_any_more_goes(docker: Path) -> None:
    commit(docker)
    (docker / "packages.in").write_text("a\n")
    transaction.drop_unused_archives(docker)
    assert not (docker / "local").exists()


def test_what_the_owner_put_beside_an_archive_stays_until_no_archive_is_left(docker: Path) -> None:
    commit(docker)
    (docker / "local" / "ff" / "mine").mkdir()
    (docker / "local" / "ee").mkdir()
    (docker / "local" / "ee" / "kept.whl").touch()
    (docker / "packages.in").write_text("x @ file:///l/local/ee/kept.whl\n")
    transaction.drop_unused_archives(docker)
    assert (docker / "local" / "ff" / "mine").is_dir()
    assert not (docker / ARCHIVE).exists()
    assert (docker / "local" / "ee" / "kept.whl").exists()


def test_writing_a_candidate_does_not_go_through_a_link(docker: Path) -> None:
    (docker / "packages.in").rename(docker.parent / "elsewhere")
    (docker / "packages.in").symlink_to(docker.parent / "elsewhere")
    (docker / "dangling").symlink_to(docker / "nowhere")
    candidate(docker)
    assert (docker.parent / "elsewhere").read_text() == OLD["packages.in"]


def test_a_power_cut_finds_every_name_on_the_disk(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each file that appears, moves or goes, its folder is written out."""
    events: list[str] = []
    real_fsync, real_replace, real_unlink = os.fsync, Path.replace, Path.unlink

    def fsync(number: int) -> None:
        events.append(f"sync {Path(f'/proc/self/fd/{number}').readlink().name}")
        real_fsync(number)

    def replace(path: Path, target: Path) -> Path:
        events.append(f"replace {target.name}")
        return real_replace(path, target)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        events.append(f"unlink {path.name}")
        real_unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "unlink", unlink)
    commit(docker)
    after = {name: events[place + 1] for place, name in enumerate(events[:-1])}
    assert after["replace undo.json"] == "sync state"
    assert after["replace packages.in"] == "sync docker"
    assert after["unlink undo.json"] == "sync state"
    assert events.index("sync m.whl") < events.index("replace packages.in")


def test_an_error_half_way_is_put_back(docker: Path) -> None:
    def fail(_image: str) -> None:
        raise RuntimeError

    candidate(docker)
    with pytest.raises(RuntimeError):
        transaction.commit_candidate(
            docker.parent / "state",
            docker,
            old_image="old",
            new_image="new",
            retag=fail,
        )
    assert seen(docker) != BEFORE
    assert transaction.recover_commit(docker.parent / "state", docker, retag(docker))
    assert seen(docker) == BEFORE


def test_killed_at_every_step(docker: Path) -> None:
    """SIGKILL before the first change to the disk, before the second, ... until a run survives."""
    outcomes: list[Any] = []
    while len(outcomes) < 100:
        shutil.rmtree(docker)
        shutil.rmtree(docker.parent / "state")
        docker.mkdir()
        for name, text in OLD.items():
            (docker / name).write_text(text)
        (docker.parent / "state").mkdir()
        (docker.parent / "tag").write_text("old")
        died = run_and_die(lambda: commit(docker), len(outcomes))
        transaction.recover_commit(docker.parent / "state", docker, retag(docker))
        outcomes.append(seen(docker))
        assert outcomes[-1] in (BEFORE, AFTER), len(outcomes)
        assert not list((docker.parent / "state").iterdir())
        if not died:
            break
    assert outcomes[-1] == AFTER
    assert outcomes.index(AFTER) > 10, "most of the steps lie before the commit"
    assert BEFORE not in outcomes[outcomes.index(AFTER) :]


def run_and_die(act: Callable[[], None], steps: int) -> bool:
    """Act in a child that is killed before its step number `steps`; whether it was."""
    child = os.fork()
    if child == 0:
        left = [steps]
        for owner, name in (
            (os, "replace"),
            (os, "rename"),
            (os, "unlink"),
            (os, "rmdir"),
            (os, "mkdir"),
            (os, "fsync"),
            (shutil, "copy2"),
            (Path, "open"),
            (Path, "write_text"),
        ):
            setattr(owner, name, dying(getattr(owner, name), left))
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def dying(real: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*arguments, **options)

    return call
