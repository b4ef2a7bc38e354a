"""What is asked for, locked, built and running; and what may be removed."""

from __future__ import annotations

import json

import pytest
from double import Double
from package_lab import about, fill_docker, snapshot_of

from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.packages.live import Installed
from labcrate.packages.overview import HEADINGS, needed_by, overview_rows, refuse_unasked


def one(version: str, *needs: str) -> Installed:
    return Installed(version=version, url="", needs=needs, requested=True)


def test_a_row_for_each_package(clone: Clone) -> None:
    fill_docker(clone)
    image = {"tqdm": one("4.0"), "matplotlib": one("3.1"), "numpy": one("2.5.5")}
    running = {**image, "tqdm": one("4.1"), "einops": one("0.8")}
    rows = {row["package"]: row for row in overview_rows(clone, image, running)}
    assert list(rows) == ["einops", "matplotlib", "pillow", "tqdm"]
    assert all(tuple(row) == HEADINGS for row in rows.values())
    assert tuple(rows["matplotlib"].values()) == (
        "matplotlib", "matplotlib", "3.1", "3.1", "3.1", "",
    )  # fmt: skip
    assert rows["einops"]["note"] == "by hand: invoke capture keeps it"
    assert (rows["pillow"]["asked for"], rows["pillow"]["locked"]) == ("", "9.0")
    assert rows["pillow"]["note"] == "not in the image yet: invoke up"
    assert rows["tqdm"]["note"] == "the running lab differs from the image"


def test_without_an_image_nothing_is_called_missing(clone: Clone) -> None:
    fill_docker(clone)
    assert {row["note"] for row in overview_rows(clone, {}, {})} == {""}


def test_needed_by() -> None:
    assert needed_by("b", {"z": one("1", "b"), "a": one("1", "b", "c"), "b": one("1")}) == [
        "a",
        "z",
    ]


@pytest.mark.parametrize(
    ("name", "problem", "fix"),
    [
        ("numpy", "numpy belongs to the base", "nothing to do"),
        ("pillow", "pillow was not asked for: matplotlib needs it", "remove-package matplotlib"),
        ("tdqm", "tdqm is not among the added packages", "did you mean tqdm?"),
        ("zzqqxx", "zzqqxx is not among the added packages", "invoke packages"),
    ],
)
def test_only_what_was_asked_for_is_removed(
    settings: Settings, double: Double, name: str, problem: str, fix: str
) -> None:
    fill_docker(settings.clone)
    image = json.dumps({"matplotlib": about("3.1", ["pillow"]), "other": about("1", ["pillow"])})
    double.expect("docker", "run", "installed", stdout=image)
    with pytest.raises(LabError) as caught:
        refuse_unasked(snapshot_of(settings), ["tqdm", name])
    assert caught.value.code is Code.PACKAGE_UNKNOWN
    assert caught.value.problem == problem
    assert fix in caught.value.fix


def test_what_nothing_is_known_to_need_is_another_packages(settings: Settings) -> None:
    fill_docker(settings.clone)
    with pytest.raises(LabError, match="another package needs it"):
        refuse_unasked(snapshot_of(settings, built=False), ["pillow"])


def test_what_was_asked_for_may_go(settings: Settings, double: Double) -> None:
    fill_docker(settings.clone)
    refuse_unasked(snapshot_of(settings), ["tqdm", "matplotlib"])
    assert double.calls == []
