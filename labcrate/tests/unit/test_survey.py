"""What a lab has on the engine, from recorded answers: its own and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from double import Double

from labcrate.clean.survey import (
    Lot,
    Thing,
    ask_engine,
    begun_file,
    engine_bytes,
    other_clones,
    survey,
    unneeded_cache,
)
from labcrate.clone.place import Clone
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.lab.built import remember_images
from labcrate.lab.compose import parse_model

RAW: dict[str, Any] = {
    "name": "lab-x",
    "volumes": {"home": {"name": "lab-x_home"}, "own": {"name": "lab-x_own"}},
    "services": {"jupyter": {"image": "lab-x/jupyter"}, "app": {"build": {"context": "."}}},
}
STEP = "ID: r1\nSize: 1MB\nDescription: mount / from exec /bin/sh -c : labcrate 'x'\n"


@pytest.fixture
def lot(clone: Clone) -> Lot:
    """This clone's own lab."""
    clone.env_file.write_text("COMPOSE_PROJECT_NAME=lab-x\n")
    return Lot(clone=clone, project="lab-x", model=parse_model(RAW))


@pytest.fixture
def elses(lot: Lot) -> Lot:
    """Another clone's lab, which the environment names."""
    return replace(lot, project="lab-y")


@pytest.fixture
def engine(double: Double) -> Double:
    """An engine that has nothing at all."""
    for words in (("ps",), ("network",), ("image", "ls"), ("volume",), ("buildx", "du")):
        double.expect("docker", *words)
    return double


def kinds(lot: Lot, kind: str) -> list[Thing]:
    return [thing for thing in survey(lot, other_clones(lot.project)) if thing.kind == kind]


def test_every_listing_is_by_this_clones_label(engine: Double, lot: Lot, elses: Lot) -> None:
    """By Compose's label too, for what the owner's services have; but only in his own lab."""
    for one, project in ((elses, "lab-y"), (lot, "lab-x")):
        engine.calls.clear()
        assert survey(one, other_clones(one.project)) == []
        asked = [argv for argv in engine.calls if argv[1] != "buildx" and "{{.ID}}" in str(argv)]
        asked += [argv for argv in engine.calls if argv[1] == "volume" and "{{.Name}}" in str(argv)]
        assert {argv[1] for argv in asked} == {"ps", "network", "image", "volume"}
        ours = f"label=dev.labcrate.project={project}"
        composes = f"label=com.docker.compose.project={project}"
        base = "label=dev.labcrate.base"
        assert [argv for argv in asked if not {ours, composes, base} & set(argv)] == []
        assert any(composes in argv and ours not in argv for argv in asked) is one.mine


def test_an_owners_containers_count_in_the_clone_that_made_them(engine: Double, lot: Lot) -> None:
    ours, here = "label=dev.labcrate.project=lab-x", f"working_dir={lot.clone.compose}"
    engine.expect("docker", "ps", ours, stdout="c1\tlab-x-jupyter-1\t0B\n")
    engine.expect(
        "docker",
        "ps",
        "label=com.docker.compose.project=lab-x",
        f"label=com.docker.compose.project.{here}",
        stdout="c1\tlab-x-jupyter-1\t0B\nc2\tlab-x-app-1\t0B\n",
    )
    assert [one.ref for one in kinds(lot, "container")] == ["c1", "c2"]
    asked = [argv for argv in engine.called("docker", "ps") if "{{.ID}}" in str(argv)]
    assert [argv for argv in asked if "label=com.docker.compose.oneoff" not in argv] == []


def test_a_shared_build_cache_is_not_touched(engine: Double, lot: Lot) -> None:
    engine.expect("docker", "buildx", "du", "--verbose", stdout=STEP)
    assert [one.ref for one in kinds(lot, "cache")] == ["r1"]
    engine.calls.clear()
    engine.expect("docker", "volume", "label=dev.labcrate.project", stdout="lab-x\nlab-y\n")
    assert kinds(lot, "cache") == []


def test_what_a_clone_alone_downloaded_goes_beside_other_clones(engine: Double, lot: Lot) -> None:
    """Of two clones each has a cache; a name that begins like ours is another clone's."""
    step = "cached mount /var/cache/uv from exec /bin/sh -c : labcrate 'x' with id"
    names = ("lab-x-1000", "lab-y-1000", "lab-x-1000-1000", "1000")
    rows = [f'ID: {n}\nSize: 1MB\nDescription: {step} "/labcrate-uv-{n}"' for n in names]
    engine.expect("docker", "buildx", "du", "--verbose", stdout="\n\n".join(rows))
    engine.expect("docker", "volume", "label=dev.labcrate.project", stdout="lab-x\nlab-y\n")
    assert [(one.ref, one.size) for one in kinds(lot, "cache")] == [("lab-x-1000", 10**6)]


def test_beside_another_clone_only_what_no_image_holds_goes(engine: Double, lot: Lot) -> None:
    held = STEP.replace("r1", "r2") + "Shared: true\n"
    engine.expect("docker", "buildx", "du", "--verbose", stdout=f"{STEP}\n{held}")
    assert [one.ref for one in unneeded_cache(lot)] == ["r1"]


def test_a_clean_that_was_killed_left_word_of_its_records(engine: Double, lot: Lot) -> None:
    engine.expect("docker", "buildx", "du", stdout="ID: r9\nSize: 1MB\nDescription: from local\n")
    assert kinds(lot, "cache") == []
    begun_file(lot.clone).write_text("r9")
    assert [one.ref for one in kinds(lot, "cache")] == ["r9"]


def test_a_users_image_on_the_labs_is_the_users(engine: Double, lot: Lot) -> None:
    """It inherits the labels of the image that it is built on."""
    rows = ("1\tlab-x/jupyter:latest\t7GB", "2\t<none>:<none>\t7GB", "3\tmine:1\t8GB")
    owners = ("4\tlab-xy/jupyter:latest\t7GB", "5\tlab-x-app:latest\t1GB")
    remember_images(lot.clone, ["2"])
    unknown = "6\t<none>:<none>\t9GB"
    listed = "\n".join((*rows, unknown, *owners))
    engine.expect("docker", "image", "ls", "--no-trunc", stdout=listed)
    assert [thing.ref for thing in kinds(lot, "image")] == ["1", "2", "5"]


BASE = "localhost/labcrate/debian:trixie"


def test_the_base_goes_with_the_last_clone(engine: Double, lot: Lot) -> None:
    """What the user built on it inherits its label."""
    label = "label=dev.labcrate.base"
    rows = f"1\t{BASE}\t120MB\n2\tmine:1\t130MB\n3\t<none>:<none>\t130MB\n"
    engine.expect("docker", "image", "ls", label, stdout=rows)
    engine.expect("docker", "image", "ls", f"reference={BASE}", f"{label}={BASE}", stdout="1\n")
    assert [thing.name for thing in kinds(lot, "image")] == [BASE]
    engine.expect("docker", "volume", "label=dev.labcrate.project", stdout="lab-x\nlab-y\n")
    assert kinds(lot, "image") == []


def test_the_owners_images_of_another_clone_are_not_ours(engine: Double, elses: Lot) -> None:
    listed = "1\tlab-y/jupyter:latest\t7GB\n5\tlab-x-app:latest\t1GB"
    engine.expect("docker", "image", "ls", "--no-trunc", stdout=listed)
    assert [thing.ref for thing in kinds(elses, "image")] == ["1"]


def test_networks_are_listed_once(engine: Double, lot: Lot) -> None:
    engine.expect("docker", "network", "ls", stdout="n1\tlab-x_default\t0B\n")
    assert [thing.name for thing in kinds(lot, "network")] == ["lab-x_default"]


def test_volumes_are_those_of_the_model_with_their_sizes(engine: Double, lot: Lot) -> None:
    def line(name: str) -> str:
        return f"{name}\t{name}\t0B\n"

    engine.expect("docker", "volume", "label=dev.labcrate.project=lab-x", stdout=line("lab-x_home"))
    engine.expect(
        "docker",
        "volume",
        "label=com.docker.compose.project=lab-x",
        stdout=line("lab-x_home") + line("lab-x_own") + line("lab-x_of-an-old-file"),
    )
    sizes = [{"Name": "lab-x_home", "Size": "1.5GB"}]
    engine.expect("docker", "system", "df", "--verbose", stdout=json.dumps(sizes))
    assert [(one.ref, one.size) for one in kinds(lot, "volume")] == [
        ("lab-x_home", 1_500_000_000),
        ("lab-x_own", 0),
    ]


def test_the_state_counts_without_the_lock(engine: Double, lot: Lot, elses: Lot) -> None:
    assert engine.expected
    (lot.clone.state / "lock").write_text("held")
    assert kinds(lot, "state") == []
    (lot.clone.state / "parts").mkdir()
    (lot.clone.state / "parts" / "x").write_text("12345")
    assert [one.size for one in kinds(lot, "state")] == [5]
    assert kinds(elses, "state") == []


def test_other_clones_are_found_by_what_they_have(engine: Double) -> None:
    engine.expect("docker", "ps", stdout="lab-x\nlab-y\n")
    engine.expect("docker", "image", "ls", "--quiet", stdout="i1\ni1\ni2\n")
    engine.expect("docker", "image", "inspect", stdout="lab-z\n", returncode=1)
    assert other_clones("lab-x") == {"lab-y", "lab-z"}
    assert engine.called("image", "inspect")[0][-2:] == ("i1", "i2")


def test_no_answer_is_an_error_and_never_nothing_there(double: Double) -> None:
    double.expect("docker", "ps", stderr="Cannot connect", returncode=1)
    with pytest.raises(LabError) as caught:
        ask_engine(("ps",))
    assert caught.value.code is Code.ENGINE_DOWN


def test_what_came_back_is_the_disks_own_figure(double: Double, tmp_path: Path) -> None:
    """Its own disk where that is here; the engine's account where it is on another machine."""
    double.expect("docker", "system", "df", stdout='{"Size": "1.5GB"}\n{"Size": "500MB"}\n')
    here = Engine(root_dir=str(tmp_path))
    assert engine_bytes(here) == pytest.approx(shutil.disk_usage(tmp_path).used, rel=0.01)
    assert double.calls == []
    for elsewhere in (replace(here, host="ssh://far"), Engine(root_dir="/no/such/folder")):
        assert engine_bytes(elsewhere) == 2_000_000_000
