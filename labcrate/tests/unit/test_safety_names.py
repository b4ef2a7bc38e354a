"""Which lab a clone's tasks are about: the clone says it, never the shell they run in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from task_lab import PROJECT, TaskLab, context, failed

from labcrate import labels
from labcrate.clean.another import refuse_living_lab
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings, load, merged
from labcrate.doctor.deadline import DeadlineStarter
from labcrate.doctor.facts import Facts
from labcrate.doctor.gather_lab import LabReader
from labcrate.doctor.parts import Parts
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.lab.compose import REDIRECTING, Lab
from labcrate.lab.containers import Container
from labcrate.tasks.cleaning import clean
from labcrate.tasks.starting import down

EXPLICIT = ("--env-file", ".env", "-f", "compose/compose.yaml")


def test_no_variable_of_composes_own_changes_the_lab() -> None:
    values = {"COMPOSE_PROJECT_NAME": "lab-a", "COMPOSE_FILE": "a.yaml", "GPU": "auto"}
    shell = {"COMPOSE_PROJECT_NAME": "other", "COMPOSE_FILE": "b.yaml", "GPU": "off"}
    assert merged(values, shell) == {**values, "GPU": "off"}


def test_an_exported_name_is_not_the_labs(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "other")
    monkeypatch.setenv("COMPOSE_FILE", "/other/compose.yaml")
    found = load(task_lab.clone)
    assert (found.project, found.compose_files) == (PROJECT, ("compose/compose.yaml",))


def test_down_takes_down_the_lab_of_the_clone(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "other")
    task_lab.double.expect("docker", "compose", "down")
    down(context())
    (command,) = task_lab.double.called("docker", "compose", "down")
    named = ("docker", "compose", "--project-name", PROJECT, "down", "--remove-orphans")
    assert command == named


@pytest.mark.parametrize(
    ("variable", "value", "added"),
    [
        ("COMPOSE_PROJECT_NAME", "lab-test-1", ()),
        ("COMPOSE_PROJECT_NAME", "other", ("--project-name", "lab-test-1")),
        ("COMPOSE_PROJECT_NAME", "", ("--project-name", "lab-test-1")),
        ("COMPOSE_FILE", "compose/compose.yaml", ()),
        ("COMPOSE_FILE", "docker-compose.yml", EXPLICIT),
        ("COMPOSE_FILE", "", EXPLICIT),
        *((name, "x", EXPLICIT) for name in REDIRECTING),
        ("COMPOSE_PROFILES", "mine", ()),
        ("COMPOSE_BAKE", "true", ()),
    ],
)
def test_the_command_is_longer_only_where_the_shell_says_something_else(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    added: tuple[str, ...],
) -> None:
    monkeypatch.setenv(variable, value)
    assert Lab(settings=settings).compose("ps") == ("docker", "compose", *added, "ps")


def test_name_and_files_are_both_said_where_both_differ(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "other")
    monkeypatch.setenv("COMPOSE_FILE", "other.yaml")
    named = ("docker", "compose", "--project-name", "lab-test-1")
    assert Lab(settings=settings).compose("ps") == (*named, *EXPLICIT, "ps")
    own = replace(settings, compose_files=("compose/compose.yaml", "mine.yaml"))
    monkeypatch.setenv("COMPOSE_FILE", "compose/compose.yaml:mine.yaml")
    assert Lab(settings=own).compose("ps") == (*named, "ps")


def row(folder: Path | str, *, project: str = "lab-old-1", lab: str = "lab-old-1") -> str:
    """A container's line in the answer of `docker ps`."""
    told = ["c9", "x-1", "Up", "", project, "jupyter", str(folder), "False", lab, "", "", ""]
    return "\t".join(told) + "\n"


@pytest.fixture
def old(tmp_path: Path) -> Clone:
    """Another clone, which still exists, with a lab of that name."""
    root = tmp_path / "old"
    (root / "compose").mkdir(parents=True)
    (root / ".env").write_text("COMPOSE_PROJECT_NAME=lab-old-1\n")
    return Clone(root=root, here=root)


def refused(lab: str) -> LabError:
    with pytest.raises(LabError) as caught:
        refuse_living_lab(lab)
    return caught.value


def test_a_lab_whose_clone_is_there_is_cleaned_there(double: Any, old: Clone) -> None:
    double.expect("docker", "ps", stdout=row(old.compose))
    error = refused("lab-old-1")
    assert error.code is Code.CLEAN
    assert "still there" in error.problem
    assert error.fix == f"run `invoke clean` in {old.root}"


@pytest.mark.parametrize("text", [None, b"\xff=1\n", b"GPU=on\n"], ids=["none", "binary", "other"])
def test_a_clone_that_does_not_say_its_name_counts_as_there(
    double: Any, old: Clone, text: bytes | None
) -> None:
    double.expect("docker", "ps", stdout=row(old.compose))
    old.env_file.unlink()
    if text is not None:
        old.env_file.write_bytes(text)
    assert refused("lab-old-1").code is Code.CLEAN


def test_a_clone_that_is_gone_or_was_renamed_is_no_obstacle(double: Any, old: Clone) -> None:
    double.expect("docker", "ps", stdout=row("/no/such/place/compose") + row(""))
    refuse_living_lab("lab-old-1")
    double.expect("docker", "ps", stdout=row(old.compose))
    old.env_file.write_text("COMPOSE_PROJECT_NAME=lab-new-1\n")
    refuse_living_lab("lab-old-1")


def test_other_labs_clones_do_not_count(double: Any, old: Clone) -> None:
    double.expect("docker", "ps", stdout=row(old.compose, project="lab-x", lab="lab-x"))
    refuse_living_lab("lab-old-1")


@pytest.mark.parametrize("name", ["Lab", "a b", "-x", "x=y", "../x"])
def test_what_is_no_name_is_refused_before_anything_is_asked(double: Any, name: str) -> None:
    assert "is not the name of a lab" in refused(name).problem
    assert double.calls == []


def test_an_engine_that_does_not_answer_is_an_error(double: Any) -> None:
    double.expect("docker", "ps", stderr="Cannot connect", returncode=1)
    assert refused("lab-old-1").code is Code.ENGINE_DOWN


def test_clean_of_another_lab_asks_for_labelled_things_alone(task_lab: TaskLab) -> None:
    double = task_lab.double
    for words in (("network", "ls"), ("image", "ls"), ("volume", "ls"), ("buildx", "du")):
        double.expect("docker", *words)
    ours = f"label={labels.PROJECT}=lab-old-1"
    double.expect("docker", "ps", "--all", "--filter", ours, stdout="c9\tlab-old-1-jupyter-1\t0B\n")
    double.expect("docker", "container", "rm")
    (task_lab.clone.state / "uv.toml").touch()
    clean(context(), lab="lab-old-1", all_=True, yes=True)
    removed = [argv[1:] for argv in double.calls if "rm" in argv]
    assert removed == [("container", "rm", "--force", "c9")]
    # This clone's own state is no part of the other lab.
    assert (task_lab.clone.state / "uv.toml").exists()


def test_clean_of_another_lab_needs_consent_in_its_own_words(task_lab: TaskLab) -> None:
    double = task_lab.double
    for words in (("network", "ls"), ("image", "ls"), ("volume", "ls"), ("buildx", "du")):
        double.expect("docker", *words)
    ours = f"label={labels.PROJECT}=lab-old-1"
    double.expect("docker", "ps", "--all", "--filter", ours, stdout="c9\tlab-old-1-jupyter-1\t0B\n")
    code, message = failed(clean, lab="lab-old-1")
    assert (code, "fix: invoke clean --lab lab-old-1 --yes" in message) == (Code.CLEAN, True)
    assert not [argv for argv in double.calls if "rm" in argv]


def test_clean_of_a_lab_that_lives_removes_nothing(task_lab: TaskLab, old: Clone) -> None:
    task_lab.double.expect("docker", "ps", stdout=row(old.compose))
    code, message = failed(clean, lab="lab-old-1", all_=True, yes=True)
    assert (code, str(old.root) in message) == (Code.CLEAN, True)
    assert not [argv for argv in task_lab.double.calls if "rm" in argv]


def test_an_orphan_is_a_lab_and_not_a_project_on_its_image(
    double: Any, clone: Clone, settings: Settings
) -> None:
    """Whose clean-up would find nothing by that name."""
    facts = replace(Facts(clone=clone, environ={}), engine=Engine(root_dir="/x"))
    reader = LabReader(facts, Parts(DeadlineStarter(double, 1.0)))
    double.expect("docker", "ps", "--quiet", stdout="c1\nc2\n")
    gone = Container(id="c1", own=True, folder="/gone/compose", project="lab-x", lab="lab-x")
    others = replace(gone, id="c2", project="other", folder="/away")
    assert reader.orphans((gone, others), settings) == (("lab-x", "/gone"),)
