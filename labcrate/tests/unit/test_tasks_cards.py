"""gpus: the table of cards, for people and for programs."""

from __future__ import annotations

import json

import pytest
from machines import DRIVEN, PAIR
from task_lab import TaskLab, context

from labcrate.gpu.kernels import KERNEL, Kernel, match_kernels
from labcrate.gpu.usage import Program
from labcrate.tasks import cards as room
from labcrate.tasks.cards import gpus

KERNEL_ID = "0f3c1a52-7f0e-4d0f-9d2e-6a6d7a3c0b11"


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def shared(task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch) -> TaskLab:
    """Two cards: this lab has the first, another one has both, and a stranger computes."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(room, "smi_path", lambda: "nvidia-smi")
    task_lab.offer_gpu()
    task_lab.host = PAIR
    task_lab.containers["jupyter"] = {"gpu": "gpu-cdi nvidia.com/gpu=0"}
    task_lab.others = {
        "lab-b": {"gpu": "gpu-cdi nvidia.com/gpu=all"},
        "lab-gone": {"gpu": "gpu-cdi nvidia.com/gpu=all", "state": "exited"},
        "lab-cpu": {},
    }
    loads = "GPU-0a, 97 %, 5759 MiB, 24564 MiB\nGPU-1a, 0 %, 1 MiB, 24564 MiB\n"
    programs = "GPU-0a, 814, python3, 4202 MiB\nGPU-1a, 4194999, my app, 300 MiB\n"
    task_lab.double.expect("nvidia-smi", stdout=programs)
    task_lab.double.expect(
        "nvidia-smi",
        "--query-gpu=uuid,utilization.gpu,memory.used,memory.total",
        stdout=loads,
    )
    task_lab.double.expect("docker", "top", stdout="PID\n")
    task_lab.double.expect("docker", "top", "id-jupyter", stdout="PID\n814\n")
    return task_lab


@pytest.mark.usefixtures("shared")
def test_each_card_shows_who_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    gpus(context())
    lines = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("│")
    ]
    name, since = "NVIDIA GeForce RTX 4090", "2026-11-26 08:15"
    assert lines == [
        ["0", name, "5759 of 24564 MiB", "97 %", "lab-test-1 (this lab)", "4202 MiB", since],
        ["", "", "", "", "lab-b", "", since],
        ["1", name, "1 of 24564 MiB", "0 %", "lab-b", "", since],
        ["", "", "", "", "my app, process 4194999", "300 MiB", ""],
    ]


@pytest.mark.usefixtures("shared")
def test_the_same_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    gpus(context(), json_=True)
    said = json.loads(capsys.readouterr().out)
    first, second = said["cards"]
    assert (first["index"], first["load_percent"], first["memory_used_mib"]) == (0, 97, 5759)
    assert [(one["lab"], one["own"], one["pids"]) for one in first["labs"]] == [
        ("lab-test-1", True, [814]),
        ("lab-b", False, []),
    ]
    assert first["processes"] == []
    assert [one["lab"] for one in second["labs"]] == ["lab-b"]
    assert second["processes"] == [
        {"pid": 4194999, "name": "my app", "user": "", "memory_mib": 300}
    ]
    assert (said["kernels"], said["not_offered"]) == ([], "")


def test_own_kernels_on_a_card_are_named(
    shared: TaskLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = f"814 /usr/bin/python -m ipykernel_launcher -f /home/lab/x/kernel-{KERNEL_ID}.json"
    shared.double.expect("docker", "top", "id-jupyter", "pid,args", stdout=f"PID COMMAND\n{args}\n")
    session = {
        "path": "notebooks/\x1b[2Jtrain.ipynb",
        "kernel": {
            "id": KERNEL_ID,
            "execution_state": "idle",
            "last_activity": "2026-11-26T09:00:12.5Z",
        },
    }
    answer = type("Answer", (), {"status": 200, "body": json.dumps([session]).encode()})()
    monkeypatch.setattr("labcrate.gpu.kernels.get", lambda _snapshot, _path: answer)
    gpus(context())
    row = "notebooks/\N{REPLACEMENT CHARACTER}[2Jtrain.ipynb │ 4202 MiB │ idle │ 2026-11-26 09:00"
    assert row in told(capsys)
    answer.status = 403
    gpus(context())
    assert "train.ipynb" not in told(capsys)


def test_a_program_that_is_no_kernel_is_none() -> None:
    here = Program(uuid="GPU-0a", pid=814, name="python3", mib=1)
    session = {"path": "a.ipynb", "kernel": {"id": KERNEL_ID}}
    assert list(match_kernels([here], {814: "another"}, [session, {"kernel": None}])) == []
    assert list(match_kernels([here], {814: KERNEL_ID}, [session])) == [
        Kernel(notebook="a.ipynb", state="", since="", mib=1)
    ]
    assert KERNEL.findall("PID COMMAND\n 7 python train.py\n") == []


def test_without_a_gpu_it_says_so_and_why(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus(context())
    said = told(capsys)
    assert "There is no GPU for a lab: no NVIDIA driver is loaded on this machine fix:" in said
    assert "│" not in said
    gpus(context(), json_=True)
    found = json.loads(capsys.readouterr().out)
    assert found["cards"] == []
    assert "no NVIDIA driver is loaded" in found["not_offered"]
    # Not as `GPU=off` would have it: the machine is asked.
    task_lab.set(GPU="off")
    task_lab.host = DRIVEN
    gpus(context())
    said = told(capsys)
    assert "nobody" in said
    assert "The engine gives no GPU to a lab: the engine offers no GPU, although" in said


def test_an_engine_that_offers_a_card_nobody_knows(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stub's `all` alone: no index, and no nvidia-smi."""
    task_lab.info["DiscoveredDevices"] = [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
    gpus(context())
    assert "no card is known: nvidia-smi lists none" in told(capsys)
    task_lab.info["DiscoveredDevices"].append({"Source": "cdi", "ID": "nvidia.com/gpu=0"})
    gpus(context())
    assert "│ 0 │ ? │ ? │ ? │ nobody │" in told(capsys)


def test_this_machines_cards_say_nothing_of_an_engine_elsewhere(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task_lab.host = PAIR
    monkeypatch.setenv("DOCKER_HOST", "ssh://server")
    gpus(context())
    assert "There is no GPU for a lab: the engine at ssh://server offers no GPU" in told(capsys)
