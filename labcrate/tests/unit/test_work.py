"""What is lost with a lab's containers, from recorded answers of the engine and of the lab."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from double import Double

from labcrate.clone.settings import Settings
from labcrate.lab.compose import Lab
from labcrate.lab.containers import Container
from labcrate.lab.images import PARTS
from labcrate.lab.work import Work, jupyter_work, lab_work

NOTHING: dict[str, Any] = {"busy": [], "idle": [], "packages": {}, "unasked": ""}
PROJECT = "lab-test-1"


def jupyter(state: str = "running") -> Container:
    return Container(id="j1", project=PROJECT, service="jupyter", own=True, state=state)


def a_run(name: str, state: str = "running", project: str = PROJECT) -> Container:
    return Container(id=name, project=project, service="jupyter", run=name, state=state)


def says(double: Double, **told: Any) -> None:
    double.expect("docker", "exec", "j1", "work", stdout=json.dumps({**NOTHING, **told}))


def test_each_kind_of_loss_is_named(settings: Settings, double: Double) -> None:
    says(double, busy=["train.ipynb", "python x.py"], idle=["eda.ipynb"])
    others = (a_run("old", "exited"), a_run("theirs", project="lab-else-1"))
    found = lab_work(Lab(settings=settings), (jupyter(), a_run("long"), *others))
    assert found.busy == ("train.ipynb", "python x.py", "the run long")
    assert (found.idle, found.packages, found.unasked) == (("eda.ipynb",), (), "")
    assert found.lines == [
        "at work: train.ipynb, python x.py, the run long",
        "kernels, whose variables go: eda.ipynb",
    ]


def test_a_paused_run_is_no_ended_one(settings: Settings) -> None:
    found = lab_work(Lab(settings=settings), (a_run("long", "paused"),))
    assert found.busy == ("the run long",)


@pytest.mark.parametrize("one", [None, jupyter("exited"), jupyter("restarting")])
def test_a_lab_that_does_not_run_is_not_asked(
    settings: Settings, double: Double, one: Container | None
) -> None:
    assert jupyter_work(Lab(settings=settings), one) == Work()
    assert double.calls == []


def test_packages_by_hand_are_those_that_the_image_has_not(
    settings: Settings, double: Double
) -> None:
    """What add-package installed into the running lab is in the image, too."""
    says(double, packages={"einops": "0.8.2", "timm": "1.0", "tqdm": "5"})
    has = {"timm": {"version": "1.0"}, "tqdm": {"version": "4"}}
    double.expect("docker", "run", "installed", stdout=json.dumps(has))
    found = jupyter_work(Lab(settings=settings), jupyter())
    assert found.packages == ("einops 0.8.2", "tqdm 5")
    assert found.lines == [
        "installed by hand, `invoke capture` would keep it: einops 0.8.2, tqdm 5"
    ]


def test_the_image_is_asked_only_where_something_was_installed(
    settings: Settings, double: Double
) -> None:
    says(double)
    assert jupyter_work(Lab(settings=settings), jupyter()) == Work()
    assert len(double.calls) == 1


def test_an_answer_that_failed_is_not_an_empty_one(settings: Settings, double: Double) -> None:
    lab = Lab(settings=settings)
    says(double, packages={"einops": "0.8.2"}, unasked="timed out")
    double.expect("docker", "run", "installed", returncode=125, stderr="no such image")
    found = jupyter_work(lab, jupyter())
    assert found.packages == ("einops 0.8.2",)
    assert "JupyterLab does not say what is at work in it: timed out" in found.lines
    double.expect("docker", "exec", "work", returncode=1, stderr="cannot exec\nit is paused\n")
    assert jupyter_work(lab, jupyter("paused")).unasked == "it is paused"
    double.expect("docker", "exec", "work", returncode=9)
    assert jupyter_work(lab, jupyter()).unasked == "exit code 9"


@pytest.mark.parametrize(
    ("line", "idle"),
    [
        (["/bin/bash"], True),
        (["-bash", ""], True),
        (["bash", "-l"], True),
        (["sh", "-c", "python train.py"], False),
        (["bash", "train.sh"], False),
        (["python"], False),
    ],
)
def test_a_shell_that_waits_is_no_program(line: list[str], idle: bool) -> None:
    inside = runpy.run_path(str(PARTS / "inside.py"), run_name="inside")
    assert inside["is_idle_shell"](line) is idle


def test_a_command_that_is_only_starting_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = runpy.run_path(str(PARTS / "inside.py"), run_name="inside")
    line = tmp_path / "cmdline"
    line.write_bytes(b"runc\0init\0")
    probe = b"python\0-I\0/opt/lab/health.py\0"
    monkeypatch.setattr("time.sleep", lambda _: line.write_bytes(probe))
    assert inside["words_of"](tmp_path) == ["python", "-I", "/opt/lab/health.py", ""]


def test_what_never_starts_counts_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = runpy.run_path(str(PARTS / "inside.py"), run_name="inside")
    (tmp_path / "cmdline").write_bytes(b"runc\0init\0")
    clock = iter(range(0, 100, 3))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert inside["words_of"](tmp_path) == ["runc", "init", ""]
