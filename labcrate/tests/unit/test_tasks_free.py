"""up and run with GPU_DEVICES=free, and what `up` says of a card that is shared."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from machines import PAIR
from task_lab import TaskLab, context, failed

from labcrate.errors import Code
from labcrate.gpu import card_lock, free
from labcrate.tasks.running import run
from labcrate.tasks.starting import build, up

ALL = "gpu-cdi nvidia.com/gpu=all"
ZERO, ONE = "gpu-cdi nvidia.com/gpu=0", "gpu-cdi nvidia.com/gpu=1"


@pytest.fixture
def pool(task_lab: TaskLab) -> TaskLab:
    """A machine with two cards, and a lab that is down and takes a free one."""
    task_lab.offer_gpu()
    task_lab.info["DiscoveredDevices"] += [
        {"Source": "cdi", "ID": f"nvidia.com/gpu={index}"} for index in (0, 1)
    ]
    task_lab.host = PAIR
    task_lab.set(GPU_DEVICES="free")
    task_lab.down()
    task_lab.double.expect("docker", "compose", "up", "--wait", does=starts(task_lab))
    task_lab.double.expect("docker", "compose", "run", "quick")
    return task_lab


def starts(lab: TaskLab) -> Any:
    """JupyterLab comes up with the label that the overlay gives it, while nobody else chooses."""

    def start(argv: Sequence[str], _stdin: str | None) -> None:
        gpu = {}
        if ".labcrate/gpu.yaml" in argv:
            assert is_locked()
            told = json.loads((lab.clone.state / "gpu.yaml").read_text())
            gpu = {"gpu": told["services"]["jupyter"]["labels"]["dev.labcrate.gpu"]}
        lab.containers = {"jupyter": gpu, "tensorboard": {}, "mlflow": {}}

    return start


def is_locked() -> bool:
    with (card_lock.PLACES[0] / card_lock.NAME).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def label(lab: TaskLab) -> str:
    return str(lab.containers["jupyter"].get("gpu", ""))


def test_up_takes_a_free_card_and_stays_on_it(
    pool: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.others = {"lab-b": {"gpu": ZERO}, "lab-gone": {"gpu": ONE, "state": "exited"}}
    up(context())
    assert label(pool) == ONE
    assert not is_locked()
    told = capsys.readouterr().out
    assert "  gpu          free through CDI: 2 x NVIDIA GeForce RTX 4090, driver" in told
    assert "  gpu          nvidia.com/gpu=1 through CDI: NVIDIA GeForce RTX 4090, driver" in told
    assert "; it was free\n" in told
    pool.others = {}
    up(context())
    assert label(pool) == ONE
    assert "; it has this already\n" in capsys.readouterr().out


def test_without_a_free_card_up_ends_before_the_build_and_says_who_has_them(
    pool: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free, "smi_path", lambda: "nvidia-smi")
    pool.double.expect("nvidia-smi", stdout="GPU-1a, 4194999, python3, 300 MiB\n")
    pool.double.expect("docker", "top", stdout="PID\n")
    pool.others = {"lab-b": {"gpu": ZERO}}
    pool.built = {"jupyter": "old"}
    code, message = failed(up)
    assert code == 42
    assert "GPU 0: lab-b, since 2026-11-26 08:15 UTC\n" in message
    assert "GPU 1: python3, process 4194999\n" in message
    assert "invoke up --wait-gpu" in message
    assert not pool.double.called("docker", "compose", "build")
    assert not pool.double.called("docker", "compose", "up")
    # A lab that needs no card is not concerned.
    pool.built = {}
    up(context(), gpu="off")
    assert label(pool) == ""


def test_waiting_ends_with_a_card_and_says_who_has_them(
    pool: TaskLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.others = {"lab-b": {"gpu": ALL}}
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            pool.others = {"lab-c": {"gpu": ALL}}
        if len(slept) == 5:
            pool.others = {"lab-b": {"gpu": ZERO}}

    monkeypatch.setattr(free, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    up(context(), wait_gpu=True, quiet=True)
    assert label(pool) == ONE
    told = capsys.readouterr().out
    assert told.count("Waiting (Ctrl-C to give up): no card is free:") == 2
    assert told.index("GPU 0: lab-b") < told.index("GPU 0: lab-c")


def test_who_is_told_is_told_again_after_a_while(
    pool: TaskLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.others = {"lab-b": {"gpu": ALL}}
    now = iter(range(0, 10_000, 100))

    def sleep(_seconds: float) -> None:
        if next(now) >= 700:
            pool.others = {}

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: float(next(now)))
    monkeypatch.setattr(free, "time", clock)
    up(context(), wait_gpu=True)
    assert 1 < capsys.readouterr().out.count("Waiting (Ctrl-C") < 5


def test_a_card_that_is_lost_in_the_last_moment_is_waited_for_again(
    pool: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the lock another lab took it."""
    looks: list[str] = []
    real = free.cards_locked

    def locked(**how: bool) -> Any:
        looks.append("lock")
        pool.others = {"lab-b": {"gpu": ALL}} if len(looks) == 1 else {}
        return real(**how)

    def sleep(_seconds: float) -> None:
        pool.others = {}

    monkeypatch.setattr(free, "cards_locked", locked)
    monkeypatch.setattr(free, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    up(context(), wait_gpu=True)
    assert (label(pool), looks) == (ZERO, ["lock", "lock"])
    pool.down()
    pool.double.expect("docker", "compose", "up", "--wait", does=starts(pool))
    looks.clear()
    assert failed(up)[0] == Code.GPU_TAKEN


def test_there_is_nothing_to_wait_for_with_a_named_card(task_lab: TaskLab) -> None:
    code, message = failed(up, wait_gpu=True)
    assert (code, "GPU_DEVICES=all names them" in message) == (Code.SETTINGS, True)
    assert "set GPU_DEVICES=free" in message
    assert not task_lab.double.called("docker", "compose", "up")


def test_a_dry_up_takes_nothing(pool: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    up(context(dry=True), wait_gpu=True)
    assert ".labcrate/gpu.yaml up" in capsys.readouterr().out
    assert not list(card_lock.PLACES[0].iterdir())
    pool.others = {"lab-b": {"gpu": ALL}}
    assert failed(up, dry=True, wait_gpu=True)[0] == Code.GPU_TAKEN


def test_a_free_card_that_does_not_compute_leaves_the_lab_on_the_cpu(
    pool: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.double.expect("docker", "compose", "run", "quick", returncode=1, stderr="CUDA error")
    up(context())
    assert label(pool) == ""
    assert "The lab goes on on the CPU." in capsys.readouterr().out
    # And there it stays, whichever card is free by now.
    pool.others = {"lab-b": {"gpu": ZERO}}
    up(context())
    assert "fix: invoke up --gpu on (tries again)" in capsys.readouterr().out


def test_a_build_chooses_no_card(pool: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    pool.others = {"lab-b": {"gpu": ALL}}
    build(context())
    assert "gpu          free through CDI: " in capsys.readouterr().out


@pytest.mark.parametrize("detach", [False, True])
def test_a_run_without_a_lab_takes_a_free_card(
    pool: TaskLab, capsys: pytest.CaptureFixture[str], detach: bool
) -> None:
    pool.others = {"lab-b": {"gpu": ZERO}}
    held = []
    state = ("docker", "container", "inspect", "{{.State.Status}}")
    pool.double.expect(*state, does=lambda *_: held.append(is_locked()), stdout="created\n")
    pool.double.expect("docker", "compose", "run", does=lambda *_: held.append(is_locked()))
    run(context(), ("python", "x.py"), detach=detach, name="train")
    assert held[0] is True
    assert ".labcrate/gpu.yaml" in pool.double.called("docker", "compose", "run")[0]
    assert ONE in (pool.clone.state / "gpu.yaml").read_text()
    assert "gpu          nvidia.com/gpu=1 through CDI" in capsys.readouterr().out
    assert not is_locked()
    pool.others = {"lab-b": {"gpu": ALL}}
    assert failed(run, command=("python", "x.py"), detach=detach)[0] == Code.GPU_TAKEN


def test_a_run_on_this_terminal_gives_the_lock_up_as_soon_as_it_runs(
    pool: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free, "POLL_S", 0.01)
    answers = iter(["", "created\n", "running\n"])
    state = ("docker", "container", "inspect", "{{.State.Status}}", "lab-test-1.train")
    pool.answer(*state, told=lambda: next(answers))
    freed: list[str] = []

    def train(_argv: Sequence[str], _stdin: str | None) -> None:
        while is_locked():
            assert not freed
        freed.append(next(answers, "all asked"))

    pool.double.expect("docker", "compose", "run", does=train)
    run(context(), ("python", "x.py"), name="train")
    assert freed == ["all asked"]


@pytest.mark.parametrize(
    ("setting", "others", "told"),
    [
        ("all", {"lab-b": {"gpu": ZERO}}, "GPU 0: lab-b has it, too, since 2026-11-26 08:15 UTC"),
        ("all", {"lab-b": {"gpu": ALL}}, "GPU 0 and 1: lab-b has it, too, since"),
        ("1", {"lab-b": {"gpu": ALL}}, "GPU 1: lab-b has it, too"),
        ("1", {"lab-b": {"gpu": ZERO}}, ""),
        ("all", {"lab-b": {"gpu": ZERO, "state": "exited"}}, ""),
        ("all", {"lab-b": {}}, ""),
    ],
)
def test_up_says_who_has_its_card_too(
    task_lab: TaskLab,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    others: dict[str, dict[str, str]],
    told: str,
) -> None:
    task_lab.offer_gpu()
    task_lab.info["DiscoveredDevices"] += [
        {"Source": "cdi", "ID": f"nvidia.com/gpu={index}"} for index in (0, 1)
    ]
    task_lab.host = PAIR
    task_lab.set(GPU_DEVICES=setting)
    task_lab.others = others
    task_lab.double.expect("docker", "compose", "run", "quick")
    up(context())
    said = capsys.readouterr().out
    assert told in said
    assert ("has it, too" in said) is bool(told)
