"""What a host of a cluster is to run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from clone import ROOT

from labcrate import labels
from labcrate.clone.settings import Settings
from labcrate.cluster.inventory import EXAMPLE, parse_inventory
from labcrate.cluster.node import (
    EVERYWHERE,
    HEAD_SCRIPT,
    OPEN_FILES,
    Plan,
    node_overlay,
    ray_command,
)
from labcrate.gpu.devices import Overlay
from labcrate.gpu.offer import Choice

HEAD, OTHER = parse_inventory(EXAMPLE)
CPU = Choice(reason="GPU is off")


@pytest.fixture
def plan(settings: Settings) -> Plan:
    return Plan(node=HEAD, head=HEAD, settings=settings, choice=CPU, image="lab-test-1/jupyter")


def node_of(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node_overlay(plan))["services"]["node"]
    return found


def test_the_head_has_its_dashboard_on_its_own_loopback(plan: Plan) -> None:
    command = ray_command(plan)
    assert command[len(OPEN_FILES) :][:3] == ["ray", "start", "--head"]
    assert {"--port=6379", "--dashboard-host=127.0.0.1", "--dashboard-port=8265"} <= set(command)
    assert "--node-ip-address=192.168.1.10" in command
    assert command[-1] == "--block"


def test_another_host_joins_the_head(plan: Plan) -> None:
    command = ray_command(replace(plan, node=OTHER))
    assert command[len(OPEN_FILES) + 2] == "--address=192.168.1.10:6379"
    assert command[len(OPEN_FILES) + 3] == "--node-ip-address=192.168.1.11"
    assert "--head" not in command


def test_every_port_is_fixed_and_in_the_firewalls_table(plan: Plan) -> None:
    page = (ROOT / "labcrate" / "docs" / "cluster.md").read_text(encoding="utf-8")
    listed = {int(port) for port in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert listed == set(plan.ports)
    assert "| 10002-10999 |" in page
    both = [ray_command(plan), ray_command(replace(plan, node=OTHER))]
    assert all(f"--{name}={port}" in one for one in both for name, port in EVERYWHERE.items())
    assert set(replace(plan, node=OTHER).ports) == set(EVERYWHERE.values())


def test_without_a_gpu_ray_counts_none(plan: Plan) -> None:
    assert "--num-gpus=0" in ray_command(plan)
    card = Choice(overlay="gpu-cdi", devices=("nvidia.com/gpu=all",), reason="")
    assert not [part for part in ray_command(replace(plan, choice=card)) if "num-gpus" in part]


def test_the_container_is_the_labs(plan: Plan) -> None:
    node = node_of(plan)
    assert (node["image"], node["user"]) == ("lab-test-1/jupyter", "1000:1000")
    assert node["labels"] == {labels.PROJECT: "lab-test-1"}
    names = {"NCCL_SOCKET_IFNAME": "eno1", "GLOO_SOCKET_IFNAME": "eno1"}
    assert node["environment"] == names
    (own,) = node["env_file"]
    assert own == {"path": str(plan.settings.clone.root / "lab.env"), "required": False}


def test_folders_are_that_hosts_and_never_made_by_the_engine(plan: Plan) -> None:
    found = node_of(plan)["volumes"]
    assert [one["target"] for one in found][:2] == ["/lab/notebooks", "/lab/src"]
    assert {one["source"].rpartition("/")[0] for one in found} == {"/home/me/my-lab"}
    assert {one["bind"]["create_host_path"] for one in found} == {False}
    assert node_of(replace(plan, node=OTHER))["volumes"] == []


@pytest.mark.parametrize(
    ("overlay", "devices", "expected"),
    [
        (
            "gpu-cdi",
            ("nvidia.com/gpu=all",),
            {"driver": "cdi", "device_ids": ["nvidia.com/gpu=all"], "capabilities": ["gpu"]},
        ),
        ("gpu-nvidia", ("all",), {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}),
        ("gpu-nvidia", ("1",), {"driver": "nvidia", "device_ids": ["1"], "capabilities": ["gpu"]}),
    ],
)
def test_a_gpu_is_asked_for_as_the_lab_does(
    plan: Plan, overlay: Overlay, devices: tuple[str, ...], expected: dict[str, Any]
) -> None:
    node = node_of(replace(plan, choice=Choice(overlay=overlay, devices=devices, reason="")))
    assert node["deploy"]["resources"]["reservations"]["devices"] == [expected]
    assert node["labels"][labels.GPU] == f"{overlay} {','.join(devices)}"


def test_the_runtime_gets_the_devices_as_a_variable(plan: Plan) -> None:
    node = node_of(replace(plan, choice=Choice(overlay="gpu-runtime", devices=("all",), reason="")))
    assert node["runtime"] == "nvidia"
    assert node["environment"]["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert node["environment"]["NCCL_SOCKET_IFNAME"] == "eno1"


def test_a_dollar_sign_is_no_variable(plan: Plan) -> None:
    found = node_of(replace(plan, node=replace(HEAD, folder="/home/$me")))
    assert found["volumes"][0]["source"] == "/home/$$me/notebooks"


def test_the_script_comes_along(plan: Plan) -> None:
    configs = json.loads(node_overlay(plan))["configs"]
    assert configs["head.py"]["content"].replace("$$", "$") == HEAD_SCRIPT.read_text()
