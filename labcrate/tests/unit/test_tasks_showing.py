"""status, doctor, url, open, logs: what there is to see, the owner's service included."""

from __future__ import annotations

import json
import webbrowser

import pytest
from machines import DRIVEN
from task_lab import TaskLab, context, failed

from labcrate.doctor.findings import Finding
from labcrate.errors import Code
from labcrate.tasks import examining
from labcrate.tasks.examining import doctor
from labcrate.tasks.showing import logs, open_, status, url


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_status_takes_six_processes_and_shows_the_owners_service(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status(context())
    assert task_lab.calls <= 6, task_lab.double.calls
    rows = [line for line in capsys.readouterr().out.splitlines() if "http://" in line]
    assert ["jupyter" in rows[0], "tensorboard" in rows[1], "mlflow" in rows[2]] == [True] * 3
    assert all("running" in row and "Up 2 hours" in row for row in rows)
    assert f"http://127.0.0.1:{task_lab.ports['mlflow']}/" in rows[2]
    assert "t" * 48 not in rows[0]


def test_status_says_what_is_stale_and_what_happened(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.built = {"tensorboard": "old"}
    task_lab.containers = {"jupyter": {"oom": True, "gpu": "gpu-cdi nvidia.com/gpu=0"}}
    status(context())
    said = told(capsys)
    assert "Not up to date: tensorboard. The next `invoke up` builds it." in said
    assert "note: jupyter: this machine ran out of memory" in said
    assert "JupyterLab has the GPU: nvidia.com/gpu=0" in said
    assert "down" in said


def test_status_says_that_a_card_stays_unused(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.host = DRIVEN
    status(context())
    assert "THE GPU IS NOT USED: the engine offers no GPU, although this machine has" in told(
        capsys
    )
    task_lab.offer_gpu()
    status(context())
    assert "fix: invoke up --gpu on" in told(capsys)
    status(context(), json_=True)
    assert "JupyterLab was started without it" in json.loads(capsys.readouterr().out)["gpu_unused"]


@pytest.mark.parametrize("why", ["used", "off", "cpu", "elsewhere", "down"])
def test_status_complains_of_no_other_card(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_lab.host = DRIVEN
    match why:
        case "used":
            task_lab.containers["jupyter"] = {"gpu": "gpu-cdi nvidia.com/gpu=all"}
        case "off":
            task_lab.set(GPU="off")
        case "cpu":
            task_lab.set(TORCH_BACKEND="cpu")
        case "elsewhere":
            monkeypatch.setenv("DOCKER_HOST", "ssh://server")
        case "down":
            task_lab.offer_gpu()
            task_lab.down()
    status(context())
    assert "NOT USED" not in told(capsys)


def test_status_for_programs(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    task_lab.containers["jupyter"] = {"gpu": "gpu-cdi 0,1", "health": "starting"}
    del task_lab.containers["tensorboard"]
    task_lab.backend = "cu126"
    status(context(), json_=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["project"], said["stale"]) == ("lab-test-1", False)
    assert (said["gpu"], said["torch_backend"], said["notices"]) == (["0", "1"], "cu126", [])
    states = {name: (row["state"], row["health"]) for name, row in said["services"].items()}
    assert states == {
        "jupyter": ("running", "starting"),
        "tensorboard": ("down", ""),
        "mlflow": ("running", ""),
    }


def test_status_says_when_idle_kernels_are_ended(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the running JupyterLab has it; .env may say something else by now."""
    task_lab.set(IDLE_HOURS="3")
    for env, told_hours in (("IDLE_HOURS=12", 12), ("IDLE_HOURS=0", 0), ("IDLE_HOURS=x", 0)):
        task_lab.containers["jupyter"] = {"env": ["A=b", env]}
        status(context())
        said = "Kernels that compute nothing for 12 hours are ended (IDLE_HOURS)."
        assert (said in told(capsys)) is (told_hours == 12)
        status(context(), json_=True)
        assert json.loads(capsys.readouterr().out)["idle_hours"] == told_hours


def test_url_prints_every_link_jupyters_with_its_token(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    url(context())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f":{task_lab.ports['jupyter']}/lab?token={'t' * 48}")
    assert [line.split()[0] for line in lines] == ["jupyter", "tensorboard", "mlflow"]


def test_url_names_the_dashboard_of_a_cluster_that_is_up(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its token is named, and not shown: it opens more than a page."""
    folder = task_lab.clone.state / "cluster"
    folder.mkdir(parents=True)
    (folder / "token.env").write_text(f"CLUSTER_TOKEN={'7' * 64}\n")
    url(context())
    said = capsys.readouterr().out
    assert "  dashboard    http://127.0.0.1:8265/ on the first host of cluster.toml\n" in said
    assert f"  its token    {folder / 'token.env'} (" in said
    assert "7" * 64 not in said


def test_open_opens_them_all_but_only_of_a_lab_that_is_up(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    open_(context())
    assert len(opened) == 3
    task_lab.containers["tensorboard"] = {"health": "unhealthy"}
    code, message = failed(open_)
    assert (code, "fix: invoke up" in message) == (Code.NOT_UP, True)
    assert len(opened) == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, ("logs",)),
        ({"follow": True}, ("logs", "--follow")),
        ({"service": ("mlflow", "jupyter")}, ("logs", "mlflow", "jupyter")),
    ],
)
def test_logs_are_composes(
    task_lab: TaskLab, flags: dict[str, object], words: tuple[str, ...]
) -> None:
    task_lab.double.expect("docker", "compose", "logs", returncode=0)
    logs(context(), **flags)
    assert task_lab.double.calls[-1] == ("docker", "compose", *words)


def test_status_lists_runs_those_that_ended_too(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = {"state": "exited", "status": "Exited (3) 2 hours ago"}
    task_lab.runs = {"train": {"status": "Up 2 hours (unhealthy)"}, "old": ended}
    status(context())
    said = told(capsys)
    for text in ("train │ Up 2 hours │ python x.py", "old │ Exited (3) 2 hours ago"):
        assert text in said
    assert task_lab.calls <= 6, task_lab.double.calls
    status(context(), json_=True)
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert (runs["train"]["exit_code"], runs["old"]["exit_code"]) == (None, 3)
    assert (runs["old"]["state"], runs["train"]["status"]) == ("exited", "Up 2 hours")


def test_logs_of_a_run_are_by_its_name(task_lab: TaskLab) -> None:
    task_lab.runs = {"train": {}}
    task_lab.double.expect("docker", "logs")
    logs(context(), run="train", follow=True)
    assert task_lab.double.calls[-1] == ("docker", "logs", "--follow", "lab-test-1.train")
    assert failed(logs, run="trian")[0] == Code.SETTINGS


def test_logs_of_an_unknown_service_are_refused(task_lab: TaskLab) -> None:
    code, message = failed(logs, service=("jupiter",))
    assert code == Code.SETTINGS
    assert "use one of: jupyter, tensorboard, mlflow" in message
    assert not task_lab.double.called("docker", "compose", "logs")


ERROR = Finding(severity="error", check="driver", problem="no driver is loaded", fix="load it")
NOTE = Finding(severity="info", check="card", problem="one card", fix="")


@pytest.mark.usefixtures("task_lab")
@pytest.mark.parametrize("json_", [False, True])
def test_the_doctor_shows_findings_and_fails_for_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], json_: bool
) -> None:
    monkeypatch.setattr(examining, "diagnose", lambda _: [ERROR, NOTE])
    assert failed(doctor, json_=json_)[0] == Code.FINDINGS
    said = capsys.readouterr().out
    assert "no driver is loaded" in " ".join(said.split())
    assert not json_ or json.loads(said)
    monkeypatch.setattr(examining, "diagnose", lambda _: [NOTE])
    doctor(context(), json_=json_)
