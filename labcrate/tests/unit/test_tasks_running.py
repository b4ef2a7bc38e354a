"""shell and run: commands of the user's own, in the lab."""

from __future__ import annotations

import pytest
from task_lab import TaskLab, context, failed

from labcrate import environment
from labcrate.errors import Code
from labcrate.tasks.running import run, shell, wait


def test_a_shell_opens_in_a_running_service(task_lab: TaskLab) -> None:
    task_lab.double.expect("docker", "compose", "exec")
    shell(context(), service=("mlflow",))
    command = task_lab.double.calls[-1]
    assert command[:6] == ("docker", "compose", "exec", "--no-TTY", "mlflow", "sh")


def test_a_shells_status_is_the_tasks(task_lab: TaskLab) -> None:
    task_lab.double.expect("docker", "compose", "exec", returncode=3)
    assert failed(shell)[0] == 3


@pytest.mark.parametrize(
    ("service", "containers", "code"),
    [("jupiter", None, Code.SETTINGS), ("jupyter", {}, Code.NOT_UP)],
)
def test_a_shell_needs_a_service_that_is_up(
    task_lab: TaskLab, service: str, containers: dict[str, dict[str, str]] | None, code: Code
) -> None:
    if containers is not None:
        task_lab.containers = containers
    assert failed(shell, service=(service,))[0] == code
    assert not task_lab.double.called("docker", "compose", "exec")


def test_run_needs_a_command(task_lab: TaskLab) -> None:
    code, message = failed(run)
    assert (code, "invoke run python train.py" in message) == (Code.SETTINGS, True)
    assert task_lab.calls == 0


def test_run_uses_the_running_labs_gpu_and_returns_the_status(task_lab: TaskLab) -> None:
    task_lab.containers["jupyter"] = {"gpu": "gpu-cdi nvidia.com/gpu=all"}
    task_lab.double.expect("docker", "compose", "run", returncode=7)
    assert failed(run, command=("python", "-c", "x y", "--", "z"))[0] == 7
    command = task_lab.double.calls[-1]
    assert command[-6:] == ("jupyter", "python", "-c", "x y", "--", "z")
    assert "compose/gpu-cdi.yaml" in command
    assert {"--rm", "--no-deps", "--no-TTY"} <= set(command)


def test_run_decides_as_up_does_where_no_lab_runs(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "is_terminal", lambda: True)
    task_lab.containers = {}
    task_lab.offer_gpu()
    task_lab.built = {"jupyter": "old"}
    task_lab.double.expect("docker", "compose", "build").expect("docker", "image", "ls")
    task_lab.double.expect("docker", "compose", "run")
    run(context(), ("ls",))
    command = task_lab.double.calls[-1]
    assert "compose/gpu-cdi.yaml" in command
    assert "--no-TTY" not in command
    assert "gpu          nvidia.com/gpu=all through CDI" in capsys.readouterr().out
    assert len(task_lab.double.called("docker", "compose", "build")) == 1
    assert not (task_lab.clone.state / "holder").exists()


# runs


COMMAND = ("python", "x.py")


@pytest.fixture
def typed_run(task_lab: TaskLab) -> TaskLab:
    """Compose starts what it is told to."""
    task_lab.double.expect("docker", "compose", "run")
    return task_lab


def test_a_run_has_a_name_that_its_container_carries(typed_run: TaskLab) -> None:
    run(context(), COMMAND, name="train")
    command = typed_run.double.calls[-1]
    assert {"lab-test-1.train", "dev.labcrate.run=train", "--rm"} <= set(command)


def test_a_detached_run_says_how_to_get_at_it(
    typed_run: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    run(context(), COMMAND, detach=True, name="train")
    command = typed_run.double.calls[-1]
    assert "--detach" in command
    assert "--rm" not in command
    told = capsys.readouterr().out
    for line in ("logs --run train --follow", "invoke wait train", "invoke run --remove train"):
        assert line in told


def test_a_dry_run_starts_none(typed_run: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    run(context(dry=True), COMMAND, detach=True, name="train")
    told = capsys.readouterr().out
    assert "--detach" in told
    assert "invoke wait" not in told
    assert not typed_run.double.called("docker", "compose", "run")


def test_a_name_that_is_taken_is_refused(typed_run: TaskLab) -> None:
    typed_run.runs = {"train": {"state": "exited"}}
    code, message = failed(run, command=COMMAND, detach=True, name="train")
    assert (code, "invoke run --remove train" in message) == (Code.SETTINGS, True)
    assert not typed_run.double.called("docker", "compose", "run")


def test_a_run_is_removed_by_name(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    task_lab.runs = {"train": {}}
    task_lab.double.expect("docker", "ps", "--quiet", stdout="c1\n")
    task_lab.double.expect("docker", "stop", "c1").expect("docker", "rm", "--force", "c1")
    run(context(), remove="train")
    assert task_lab.double.calls[-1] == ("docker", "rm", "--force", "c1")
    assert "The run train is gone." in capsys.readouterr().out
    assert failed(run, remove="other")[0] == Code.SETTINGS


@pytest.mark.parametrize("status", [0, 3])
def test_waiting_ends_with_the_runs_status(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    task_lab.runs = {"train": {}}
    task_lab.double.expect("docker", "wait", "id-train", stdout=f"{status}\n")
    if status:
        assert failed(wait, name=("train",))[0] == status
    else:
        wait(context(), ("train",))
    assert f"ended with exit code {status}" in capsys.readouterr().out


def test_waiting_for_nothing_is_an_error(task_lab: TaskLab) -> None:
    task_lab.runs = {"train": {}}
    code, message = failed(wait, name=("trian",))
    assert (code, "use one of: train" in message) == (Code.SETTINGS, True)


def test_waiting_for_several_ends_with_the_first_that_failed(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.runs = {"a": {}, "b": {}, "c": {}}
    for name, status in (("a", 0), ("b", 4), ("c", 5)):
        task_lab.double.expect("docker", "wait", f"id-{name}", stdout=f"{status}\n")
    assert failed(wait, name=("a", "b", "c"))[0] == 4
    assert "The run c ended with exit code 5" in capsys.readouterr().out


@pytest.mark.usefixtures("task_lab")
def test_waiting_needs_a_name() -> None:
    code, message = failed(wait)
    assert (code, "invoke wait NAME" in message) == (Code.SETTINGS, True)
