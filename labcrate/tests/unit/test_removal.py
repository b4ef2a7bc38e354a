"""What `clean` removes, and in which order."""

from __future__ import annotations

import pytest
from double import Double

from labcrate import process
from labcrate.clean.removal import Wish, plan_removal, removal_command, remove_things
from labcrate.clean.survey import Kind, Thing, begun_file
from labcrate.clone.place import Clone

FOUND = [
    Thing(kind="volume", ref="lab_home", name="lab_home", size=10),
    Thing(kind="image", ref="sha256:1", name="lab/jupyter:latest", size=100),
    Thing(kind="image", ref="sha256:2", name="<none>:<none>", size=100),
    Thing(kind="network", ref="n1", name="lab_default"),
    Thing(kind="container", ref="c1", name="lab-jupyter-1"),
    Thing(kind="cache", ref="r1", name="step"),
    Thing(kind="state", ref=".labcrate", name=".labcrate"),
]
ALL = Wish(images=True, volumes=True, cache=True)


@pytest.mark.parametrize(
    ("wish", "kinds"),
    [
        (Wish(), ["container", "network", "image"]),
        (Wish(images=True), ["container", "network", "image", "image"]),
        (Wish(volumes=True), ["container", "network", "image", "volume"]),
        (Wish(cache=True), ["container", "network", "image", "cache"]),
        (ALL, ["container", "network", "image", "image", "volume", "cache", "state"]),
    ],
)
def test_the_plan_holds_what_was_asked_for_in_order(wish: Wish, kinds: list[Kind]) -> None:
    assert [thing.kind for thing in plan_removal(FOUND, wish)] == kinds


def test_a_superseded_image_goes_and_a_named_one_stays() -> None:
    images = [t.name for t in plan_removal(FOUND, Wish()) if t.kind == "image"]
    assert images == ["<none>:<none>"]


@pytest.mark.parametrize(
    ("index", "command"),
    [
        (0, ("docker", "volume", "rm", "lab_home")),
        (1, ("docker", "image", "rm", "lab/jupyter:latest")),
        (2, ("docker", "image", "rm", "sha256:2")),
        (3, ("docker", "network", "rm", "n1")),
        (4, ("docker", "container", "rm", "--force", "c1")),
    ],
)
def test_each_thing_has_its_command(index: int, command: tuple[str, ...]) -> None:
    """A tagged image goes by name: another clone may have tagged the very same image."""
    assert removal_command(FOUND[index]) == command


def test_all_goes_and_the_state_last(clone: Clone, double: Double) -> None:
    double.expect("docker")
    for name in ("lock", "place", "gpu.json"):
        (clone.state / name).touch()
    (clone.state / "parts").mkdir()
    assert remove_things(clone, plan_removal(FOUND, ALL)) == []
    assert double.called("docker", "buildx", "prune", 'id="r1"')
    assert sorted(path.name for path in clone.state.iterdir()) == ["lock", "place"]
    assert len(double.calls) == 7


def test_records_go_at_once_and_what_stays_one_at_a_time(clone: Clone, double: Double) -> None:
    """A Buildx that knows no pattern of ids removes nothing by the first command."""
    records = [Thing(kind="cache", ref=f"r{n}", name="step") for n in range(3)]
    double.expect("docker", "buildx", "prune")
    double.expect("docker", "buildx", "du", stdout="ID\nr2 true\n")
    assert remove_things(clone, records) == []
    assert [argv[-1] for argv in double.called("prune")] == ['id="r0|r1|r2"', "id=r2"]
    double.calls.clear()
    assert remove_things(clone, []) == []
    assert double.calls == []


def test_what_would_not_go_is_named_and_what_is_gone_already_is_not(
    clone: Clone, double: Double
) -> None:
    double.expect("docker", returncode=1, stderr="is in use")
    double.expect("docker", "network", returncode=1, stderr="Error: No such network: n1")
    failures = remove_things(clone, plan_removal(FOUND, Wish(cache=True)))
    assert failures == [
        "container lab-jupyter-1: is in use",
        "image <none>:<none>: is in use",
        "build cache r1: is in use",
    ]
    assert begun_file(clone).read_text() == "r1"


def test_a_dry_run_removes_nothing(clone: Clone, double: Double) -> None:
    (clone.state / "gpu.json").touch()
    with process.in_mode(process.Mode(dry=True)):
        assert remove_things(clone, plan_removal(FOUND, ALL)) == []
    assert double.calls == []
    assert [path.name for path in clone.state.iterdir()] == ["gpu.json"]


@pytest.mark.parametrize(
    "words",
    [
        "unable to delete 2 (cannot be forced) - image is being used by running container 3",
        "unable to delete 2 (must be forced) - container 3 is using its referenced image 2",
    ],
)
def test_a_superseded_image_that_somebody_runs_on_stays_and_is_no_failure(
    clone: Clone, double: Double, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    nameless, named = FOUND[2], FOUND[1]
    double.expect("docker", "image", "rm", stderr=words, returncode=1)
    assert remove_things(clone, [nameless]) == []
    assert "it stays" in capsys.readouterr().out
    assert len(remove_things(clone, [named])) == 1
