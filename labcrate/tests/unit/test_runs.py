"""Runs: their names, starting them, and ending what nobody waits for any more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from double import Double

from labcrate import process
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab import runs as room
from labcrate.lab.compose import Lab
from labcrate.lab.containers import Container
from labcrate.lab.runs import (
    choose_name,
    end_run,
    exit_code_of,
    find_run,
    run_attached,
    since,
    start_detached,
)

PROJECT = "lab-test-1"
TRAIN = Container(id="c1", name=f"{PROJECT}.train", project=PROJECT, run="train", state="exited")


@pytest.fixture
def lab(settings: Settings, double: Double) -> Lab:
    """A lab whose engine has one container of the run train."""
    double.expect("docker", "ps", "--quiet", stdout="c1\n")
    for words in (("stop", "c1"), ("rm", "--force", "c1"), ("wait", "c1")):
        double.expect("docker", *words)
    return Lab(settings=settings)


def ended(double: Double) -> list[str]:
    """What was done to the container, in order."""
    return [argv[1] for argv in double.calls if argv[-1] == "c1"]


def test_a_name_is_the_one_typed_or_a_random_one() -> None:
    assert choose_name("train-2", [TRAIN]) == "train-2"
    drawn = {choose_name("", []) for _ in range(20)}
    assert len(drawn) > 15
    assert all(name.startswith("run-") for name in drawn)


@pytest.mark.parametrize("name", ["train", "a b", "-x", "ü", "a/b", "x" * 80, "$(id)"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(LabError) as caught:
        choose_name(name, [TRAIN])
    assert caught.value.code is Code.SETTINGS
    assert "--name" in caught.value.fix or "--remove train" in caught.value.fix


def test_a_detached_run_has_a_name_a_label_and_no_terminal(lab: Lab, double: Double) -> None:
    double.expect("docker", "compose", "run")
    start_detached(lab, "train", ("python", "x.py"))
    (command,) = double.called("docker", "compose", "run")
    named = ("--no-deps", "--name", f"{PROJECT}.train", "--label", "dev.labcrate.run=train")
    assert command[3:8] == named
    flags = ("--detach", "--no-TTY", "--interactive=false", "jupyter", "python", "x.py")
    assert command[8:] == flags


def test_a_run_that_did_not_start_leaves_nothing(lab: Lab, double: Double) -> None:
    double.expect("docker", "compose", "run", returncode=1, stderr="no such device")
    with pytest.raises(LabError, match="no such device"):
        start_detached(lab, "train", ("true",))
    assert ended(double) == ["stop", "rm"]


def test_an_attached_run_that_ends_is_left_alone(lab: Lab, double: Double) -> None:
    double.expect("docker", "compose", "run", returncode=3)
    assert run_attached(lab, "train", ["--no-TTY"], ("true",)) == 3
    assert ended(double) == []


def test_a_client_that_was_killed_leaves_no_run(lab: Lab, double: Double) -> None:
    double.expect("docker", "compose", "run", returncode=-9)
    assert run_attached(lab, "train", ["--no-TTY"], ("true",)) == -9
    assert ended(double) == ["stop", "rm"]


@pytest.mark.parametrize(
    ("error", "flags", "at_once", "done"),
    [
        (process.Terminated(), ["--no-TTY"], True, ["stop", "rm"]),
        (process.Terminated(), [], True, ["stop", "rm"]),
        (KeyboardInterrupt(), [], True, ["stop", "rm"]),
        (KeyboardInterrupt(), ["--no-TTY"], False, ["wait", "stop", "rm"]),
    ],
)
def test_what_ends_the_wait_ends_the_container(
    lab: Lab,
    double: Double,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    flags: list[str],
    at_once: bool,
    done: list[str],
) -> None:
    """At once, except for Ctrl-C, which the command has heard itself and may answer."""

    def attach(*_: Any, at_once: process.AtOnce, **__: Any) -> int:
        at_once(error)
        first.extend(ended(double))
        double.expect("docker", "ps", "--quiet", stdout="" if first else "c1\n")
        raise error

    first: list[str] = []
    monkeypatch.setattr(room.process, "attach", attach)
    with pytest.raises(type(error)):
        run_attached(lab, "train", flags, ("true",))
    assert bool(first) is at_once
    assert ended(double) == done


def test_only_a_run_of_this_lab_is_ended(lab: Lab, double: Double) -> None:
    end_run(lab.project, "train")
    (listing,) = double.called("docker", "ps")
    filters = [part for part in listing if part.startswith("label=")]
    assert filters == [
        f"label=com.docker.compose.project={PROJECT}",
        "label=com.docker.compose.oneoff=True",
        "label=dev.labcrate.run=train",
    ]


def test_a_run_is_found_by_its_name() -> None:
    assert find_run([TRAIN], PROJECT, "train") is TRAIN
    for listed, fix in (([TRAIN], "use one of: train"), ([], "invoke run --detach")):
        with pytest.raises(LabError) as caught:
            find_run(listed, PROJECT, "trian")
        assert fix in caught.value.fix


def test_an_exit_code_is_waited_for(double: Double) -> None:
    double.expect("docker", "wait", "c1", stdout="3\n")
    assert exit_code_of(TRAIN) == 3
    double.expect("docker", "wait", "c1", stderr="No such container", returncode=1)
    with pytest.raises(LabError, match="No such container"):
        exit_code_of(TRAIN)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("Up 2 hours (unhealthy)", "Up 2 hours"),
        ("Up 1 second (health: starting)", "Up 1 second"),
        ("Exited (3) 8 minutes ago", "Exited (3) 8 minutes ago"),
        ("Up 2 hours (Paused)", "Up 2 hours (Paused)"),
    ],
)
def test_the_health_of_a_run_is_not_shown(status: str, told: str) -> None:
    assert since(replace(TRAIN, status=status)) == told
