"""Who has which card: labels of containers, processes of nvidia-smi, and both together."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path

import pytest
from double import Double
from machines import BARE, MIG, PAIR, TWO, make_engine

from labcrate.gpu.holders import (
    containers_with_cards,
    held_cards,
    holders_of,
    known_cards,
    processes_of,
)
from labcrate.gpu.usage import (
    Load,
    Program,
    Usage,
    parse_loads,
    parse_programs,
    read_usage,
)
from labcrate.lab.containers import Container

# As an H200 with driver 580 printed it, but for the name with a comma and what is not reported.
LOADS = """GPU-0a, 100 %, 5759 MiB, 143771 MiB
GPU-1a, [N/A], [N/A], 24564 MiB
"""
PROGRAMS = """GPU-0a, 814, python3, 4202 MiB
GPU-1a, 814, python3, 300 MiB
GPU-1a, 999, /opt/my, app, [N/A]
No running processes found
"""


def container(
    ident: str, gpu: str, lab: str = "", run: str = "", state: str = "running"
) -> Container:
    lab = lab or ident
    started = "2026-11-26 08:15:30"
    return Container(id=ident, lab=lab, project=lab, run=run, gpu=gpu, state=state, started=started)


def test_the_load_of_each_card_is_read() -> None:
    assert parse_loads(LOADS + "WARNING: infoROM is corrupted\n") == (
        Load(uuid="GPU-0a", percent=100, used_mib=5759, total_mib=143771),
        Load(uuid="GPU-1a", percent=None, used_mib=None, total_mib=24564),
    )


def test_a_process_is_read_on_each_card_that_it_uses() -> None:
    assert parse_programs(PROGRAMS) == (
        Program(uuid="GPU-0a", pid=814, name="python3", mib=4202),
        Program(uuid="GPU-1a", pid=814, name="python3", mib=300),
        Program(uuid="GPU-1a", pid=999, name="/opt/my, app", mib=None),
    )


def test_usage_names_the_account_that_runs_a_process(double: Double) -> None:
    gone = 2**22 + 1
    text = f"GPU-0a, {os.getpid()}, python3, 1 MiB\nGPU-0a, {gone}, python3, 1 MiB\n"
    double.expect("--format=csv,noheader", stdout=text)
    found = read_usage("nvidia-smi").programs
    assert [one.user for one in found] == [getpass.getuser(), ""]
    assert read_usage("nvidia-smi", proc=Path("/no/such")).programs[0].user == ""


def test_without_nvidia_smi_or_an_answer_usage_is_empty(double: Double) -> None:
    assert read_usage("") == Usage()
    assert double.calls == []
    double.expect("--format=csv,noheader", stdout=LOADS + PROGRAMS, returncode=9)
    assert read_usage("nvidia-smi") == Usage()


@pytest.mark.parametrize(
    ("label", "indexes"),
    [
        ("gpu-cdi nvidia.com/gpu=all", [0, 1]),
        ("gpu-cdi nvidia.com/gpu=1", [1]),
        ("gpu-cdi nvidia.com/gpu=0,nvidia.com/gpu=1", [0, 1]),
        ("gpu-cdi nvidia.com/gpu=GPU-1a", [1]),
        ("gpu-cdi nvidia.com/gpu=0:1", [0]),
        ("gpu-cdi nvidia.com/gpu=MIG-5c", [0]),
        ("gpu-runtime all", [0, 1]),
        ("gpu-runtime 0", [0]),
        ("gpu-nvidia GPU-0a", [0]),
        ("gpu-nvidia 7", []),
        ("", []),
        ("all", []),
    ],
)
def test_a_label_says_which_cards_a_container_has(label: str, indexes: list[int]) -> None:
    assert [card.index for card in held_cards(label, MIG)] == indexes


WHOLE = container("c1", "gpu-cdi nvidia.com/gpu=all", "lab-a")
FIRST = container("c2", "gpu-cdi nvidia.com/gpu=0", "lab-own")
RUN = container("c3", "gpu-runtime 1", "lab-b", run="train")
ON_0 = Program(uuid="GPU-0a", pid=10, name="python3", mib=100)
ON_1 = Program(uuid="GPU-1a", pid=20, name="python3", mib=200, user="alice")
STRAY = Program(uuid="GPU-1a", pid=11, name="python3", mib=1)


@pytest.mark.parametrize(
    ("containers", "programs", "told"),
    [
        ((), (), [[], []]),
        ((WHOLE,), (), [["lab-a"], ["lab-a"]]),
        ((FIRST, RUN), (), [["lab-own (this lab)"], ["the run train of lab-b"]]),
        ((WHOLE, FIRST), (), [["lab-a", "lab-own (this lab)"], ["lab-a"]]),
        ((), (ON_0, ON_1), [["python3, process 10"], ["python3, process 20 of alice"]]),
        # A process in a container whose label says nothing of this card.
        ((FIRST,), (ON_0, STRAY), [["lab-own (this lab)"], ["lab-own (this lab)"]]),
        ((FIRST,), (ON_0, ON_1), [["lab-own (this lab)"], ["python3, process 20 of alice"]]),
        ((RUN,), (ON_0,), [["python3, process 10"], ["the run train of lab-b"]]),
    ],
)
def test_who_has_what(
    containers: tuple[Container, ...], programs: tuple[Program, ...], told: list[list[str]]
) -> None:
    pids = {one.id: frozenset({10, 11} if one is FIRST else {30}) for one in containers}
    for card, names in zip(TWO, told, strict=True):
        found = holders_of(card, TWO, containers, programs, pids, "lab-own")
        assert [one.name for one in found] == names


def test_a_holder_says_since_when_and_how_much() -> None:
    pids = {"c2": frozenset({10, 11})}
    more = Program(uuid="GPU-0a", pid=11, name="python3", mib=5)
    other = Program(uuid="GPU-1a", pid=10, name="python3", mib=7)
    (found,) = holders_of(TWO[0], TWO, (FIRST,), (ON_0, more, other), pids, "lab-x")
    assert (found.mib, found.told) == (105, "lab-own, since 2026-11-26 08:15 UTC")
    (silent,) = holders_of(TWO[0], TWO, (FIRST,), (), {}, "lab-x")
    assert silent.mib is None


def test_a_name_from_elsewhere_does_nothing_to_the_terminal() -> None:
    evil = container("c9", "gpu-cdi nvidia.com/gpu=0", "lab\x1b[2J")
    (found,) = holders_of(TWO[0], TWO, (evil,), (), {}, "")
    assert "\x1b" not in found.name


@pytest.mark.parametrize(
    ("names", "indexes"),
    [
        (("all", "0", "1", "GPU-x"), [0, 1]),
        (("all", "GPU-x", "GPU-y"), [0, 1]),
        (("all",), []),
        (("0:0", "0:1"), []),
    ],
)
def test_without_nvidia_smi_the_engine_says_which_cards_there_are(
    names: tuple[str, ...], indexes: list[int]
) -> None:
    assert [card.index for card in known_cards(make_engine(*names), BARE)] == indexes
    assert known_cards(make_engine(*names), PAIR) == TWO


@pytest.mark.parametrize(
    ("state", "holds"),
    [("running", True), ("paused", True), ("restarting", True), ("exited", False), ("dead", False)],
)
def test_a_container_that_ended_gives_its_cards_back(
    double: Double, state: str, holds: bool
) -> None:
    one = container("c1", "", state=state)
    config = {"Labels": {"dev.labcrate.gpu": "gpu-cdi nvidia.com/gpu=0"}}
    row = {"Id": "c1", "State": {"Status": state, "ExitCode": 0}, "Config": config}
    double.expect("docker", "container", "inspect", stdout=json.dumps([row]))
    assert bool(containers_with_cards([one])) is holds
    # It ended between the two questions.
    now = Container(id="c1", lab="lab-a", state="running")
    assert bool(containers_with_cards([now])) is holds
    assert containers_with_cards([Container(id="c1", state="running")]) == (), "of no lab"


def test_the_engine_says_the_hosts_processes_of_a_container(double: Double) -> None:
    double.expect("docker", "top", "c1", "-eo", "pid", stdout="PID\n814\n 815\n")
    double.expect("docker", "top", "c2", stderr="is not running", returncode=1)
    found = processes_of([container("c1", ""), container("c2", "")])
    assert found == {"c1": frozenset({814, 815}), "c2": frozenset()}
