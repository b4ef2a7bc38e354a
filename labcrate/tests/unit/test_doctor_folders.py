"""The doctor's checks of the owner's folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from facts_of import HEALTHY, TOP, assert_told, changed, told

from labcrate.doctor.facts import Facts, Folder, Link

IMAGENET = Link(path=TOP / "data" / "imagenet", target="/mnt/imagenet", exists=True)


def with_links(*links: Link) -> tuple[Folder, ...]:
    return tuple(
        replace(one, links=links) if one.path.name == "data" else one for one in HEALTHY.folders
    )


SUB_UID = replace(HEALTHY.folders[2], uid=101233, strangers=("runs/a",))
ROOTLESS = {
    "engine.security": ("rootless",),
    "settings.uid": 0,
    "settings.gid": 0,
    "caller": (1000, 100),
}
"""The lab of the user 1000 in a rootless engine of his own."""

FOLDERS = [
    (
        {"folders": (Folder(path=Path("/lab/runs"), exists=False),)},
        "folders",
        "error",
        "missing: runs",
        "invoke setup",
    ),
    (
        {"folders": (Folder(path=Path("/lab/runs"), exists=True, mode=0o755),)},
        "folders",
        "error",
        "belongs to root",
        "sudo chown -R 1000:1000 '/lab/runs'",
    ),
    (
        {
            "folders": (
                Folder(
                    path=Path("/lab/my runs"),
                    exists=True,
                    uid=1000,
                    gid=1000,
                    mode=0o755,
                    strangers=("runs/a",),
                ),
            )
        },
        "folders",
        "warning",
        "runs/a",
        "sudo chown -R 1000:1000 '/lab/my runs'",
    ),
    (
        {"folders": with_links(IMAGENET)},
        "links",
        "warning",
        "the link data/imagenet points to /mnt/imagenet",
        "{type: bind, source: /mnt/imagenet, target: /lab/data/imagenet, read_only: true}",
    ),
    (
        {"folders": (replace(HEALTHY.folders[1], for_host=("tasks.py", ".envrc")),)},
        "mounted",
        "warning",
        "src/tasks.py, src/.envrc",
        "in the clone's top folder",
    ),
]


@pytest.mark.parametrize(
    ("changes", "check", "severity", "problem", "fix"), FOLDERS, ids=lambda v: str(v)[:40]
)
def test_folders(
    changes: dict[str, Any], check: str, severity: str, problem: str, fix: str
) -> None:
    assert_told(changed(HEALTHY, changes), check, severity, problem, fix)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "open_"),
    [
        (0o755, 1000, 5, True),
        (0o555, 1000, 5, False),
        (0o775, 0, 1000, True),
        (0o755, 0, 1000, False),
        (0o777, 0, 0, True),
        (0o770, 0, 0, False),
        (0o075, 1000, 1000, False),
    ],
)
def test_who_may_write_into_a_folder(mode: int, uid: int, gid: int, open_: bool) -> None:
    """The owner's bits alone count for the owner, as the kernel has it."""
    folder = Folder(path=Path("/lab/runs"), exists=True, uid=uid, gid=gid, mode=mode)
    assert (told(replace(HEALTHY, folders=(folder,)), "folders") == []) is open_


def found_links(*links: Link, **changes: Any) -> list[str]:
    facts: Facts = changed(HEALTHY, {"folders": with_links(*links), **changes})
    return [finding.fix for finding in told(facts, "links")]


@pytest.mark.parametrize(
    "target",
    ["/lab/models/best", "../models/best", "best", "/usr/share/dict", "../data/x/../y"],
)
def test_a_link_that_the_lab_can_follow(target: str) -> None:
    assert found_links(replace(IMAGENET, target=target)) == []


@pytest.mark.parametrize("target", ["../../mnt/x", "/home/me/x", "/labs/x", "../../lab2/data"])
def test_a_link_that_leads_out(target: str) -> None:
    assert len(found_links(replace(IMAGENET, target=target))) == 1


def test_a_link_that_is_dead_here_is_not_judged() -> None:
    """It may have been made in the lab, and lead to something there."""
    assert found_links(replace(IMAGENET, exists=False)) == []


@pytest.mark.parametrize("mount", ["/lab/data/imagenet", "/mnt"])
def test_a_link_whose_target_is_mounted(mount: str) -> None:
    assert found_links(IMAGENET, **{"lab.mounts": ("/lab/data", mount)}) == []


def test_links_are_not_judged_where_the_mounts_are_unknown() -> None:
    assert found_links(IMAGENET, **{"lab.mounts": None}) == []


def test_an_absolute_link_into_the_owners_folders_is_made_relative() -> None:
    top = Path("/home/me/clone")
    link = Link(path=top / "data" / "best", target=str(top / "models" / "best"), exists=True)
    folders = (
        Folder(path=top / "models", exists=True, uid=1000, mode=0o755),
        Folder(path=top / "data", exists=True, uid=1000, mode=0o755, links=(link,)),
    )
    (found,) = told(replace(HEALTHY, folders=folders), "links")
    assert found.fix.startswith(f"ln -sfnr '{top}/models/best' '{top}/data/best'")


def test_a_path_with_a_space_is_quoted_and_a_dollar_is_kept_from_compose() -> None:
    (fix,) = found_links(replace(IMAGENET, target="/mnt/my $et"))
    assert 'source: "/mnt/my $$et", target: /lab/data/imagenet,' in fix


def test_many_links_are_not_all_named() -> None:
    links = [
        Link(path=TOP / "data" / f"img{number}", target=f"/mnt/{number}", exists=True)
        for number in range(10)
    ]
    facts = replace(HEALTHY, folders=with_links(*links))
    found = told(facts, "links")
    assert len(found) == 3
    assert "7 more" in found[0].problem


def test_in_a_rootless_engine_the_callers_files_are_the_labs() -> None:
    """User 0 of the container is the caller on this machine."""
    assert told(changed(HEALTHY, ROOTLESS), "folders") == []
    facts = changed(HEALTHY, {**ROOTLESS, "folders": (SUB_UID,)})
    assert_told(facts, "folders", "error", "lab's user (1000)", "sudo chown -R 1000:100 ")
