"""The doctor's checks of the way from an NVIDIA card to a kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from facts_of import (
    GPU_BOX,
    HEALTHY,
    HOST,
    MIG_CARD,
    SPEC,
    assert_told,
    changed,
    told,
    wrong,
)
from machines import TWO

from labcrate.doctor.check_gpu import lab_cards
from labcrate.doctor.examine import gpu_reasons
from labcrate.doctor.facts import Facts, LabFacts, Pci
from labcrate.gpu.cards import Host

MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.9"
PCI = Pci(address="0000:01:00.0", kind="0x030000", driver="")
NO_TOOLS = replace(HOST, tools=())

# Changes to the healthy lab with a GPU.
GPU = [
    (
        {"host": Host(), "pci": (PCI,), "specs": ()},
        "driver",
        "error",
        "an NVIDIA card but no NVIDIA driver",
        "580 or newer",
    ),
    (
        {"host": Host(), "pci": (replace(PCI, driver="nouveau"),), "specs": ()},
        "driver",
        "error",
        "nouveau drives it",
        "580 or newer",
    ),
    (
        {"host": Host(), "pci": (replace(PCI, driver="vfio-pci"),), "specs": ()},
        "driver",
        "error",
        "virtual machine",
        "give the card back",
    ),
    (
        {"host": Host(smi_found=True, smi="has failed"), "pci": (PCI,), "specs": ()},
        "driver",
        "error",
        "installed but not loaded",
        "modprobe nvidia",
    ),
    (
        {"host.smi": MISMATCH, "host.cards": (), "host.on_disk": "580.99"},
        "driver",
        "error",
        "(580.95.05 runs, 580.99 is installed)",
        "reboot",
    ),
    ({"host.on_disk": "590.11"}, "driver", "warning", "next boot loads", "reboot"),
    (
        {"host.smi": "No devices were found", "host.cards": ()},
        "driver",
        "error",
        "nvidia-smi fails: No devices were found",
        "dmesg",
    ),
    ({"host.smi": "odd\nx", "host.cards": ()}, "driver", "error", "nvidia-smi fails: odd", "dmesg"),
    (
        {"host.smi_found": False, "host.cards": ()},
        "driver",
        "warning",
        "nvidia-smi is missing",
        "install it",
    ),
    ({"host.devices": ("nvidia0",)}, "uvm", "warning", "/dev/nvidia-uvm", "nvidia-modprobe"),
    ({"fabric": "inactive"}, "fabric", "error", "NVSwitch", "fabricmanager"),
    (
        {"host.cards": (MIG_CARD,), "smi_list": "GPU 0: NVIDIA A100 (UUID: GPU-1)\n"},
        "mig",
        "error",
        "without any instance",
        "mig -cgi",
    ),
    (
        {"specs": (replace(SPEC, versions=("570.86.15",)),)},
        "cdi",
        "error",
        "is for driver 570.86.15, but 580.95.05 runs",
        "nvidia-cdi-refresh",
    ),
    (
        {"specs": (replace(SPEC, gone=("/dev/nvidia1",)),)},
        "cdi",
        "error",
        "do not exist: /dev/nvidia1",
        "nvidia-ctk cdi generate",
    ),
    (
        {"specs": (SPEC, replace(SPEC, path="/etc/cdi/nvidia.yaml"))},
        "cdi",
        "warning",
        "name the same GPUs",
        "sudo rm /etc/cdi/nvidia.yaml",
    ),
    ({"engine.cdi_devices": ()}, "cdi", "warning", "does not read", '"cdi": false'),
    (
        {"engine.cdi_devices": (), "specs": (), "host": NO_TOOLS},
        "way",
        "error",
        "although this machine has NVIDIA GeForce RTX 4090",
        "install nvidia-container-toolkit",
    ),
    (
        {"engine.cdi_devices": (), "specs": (), "host.tools": ("nvidia-ctk",)},
        "way",
        "error",
        "no GPU reaches containers",
        "sudo nvidia-ctk",
    ),
    (
        {"settings.gpu_devices": "7"},
        "way",
        "error",
        "GPU_DEVICES names 7",
        "use some of: 0, all",
    ),
    (
        {"engine.cdi_devices": (), "engine.runtimes": ("nvidia", "runc")},
        "cgroups",
        "warning",
        "daemon-reload",
        "use CDI",
    ),
    (
        {
            "jupyter.gpu": "gpu-cdi all",
            "jupyter.inside": "Failed to initialize NVML: Unknown Error",
        },
        "lost",
        "error",
        "lost its GPU",
        "invoke down up",
    ),
    ({"lab.proof": "no kernel image"}, "lost", "error", "no kernel image", "nox -s gpu_smoke"),
]


@pytest.mark.parametrize(
    ("changes", "check", "severity", "problem", "fix"), GPU, ids=lambda v: str(v)[:40]
)
def test_gpu(changes: dict[str, Any], check: str, severity: str, problem: str, fix: str) -> None:
    assert_told(changed(GPU_BOX, changes), check, severity, problem, fix)


@pytest.mark.parametrize("row", GPU, ids=lambda row: str(row)[:40])
def test_a_lost_gpu_does_not_matter_where_none_is_wanted(row: tuple[Any, ...]) -> None:
    changes, check, _, problem, _ = row
    found = told(changed(GPU_BOX, {**changes, "settings.gpu": "off"}), check)
    # A running lab that had a GPU and lost it is broken whatever .env says now.
    assert all(f.severity != "error" for f in found) or "lost its GPU" in problem


def test_cards_that_are_chosen_at_the_start_are_all_judged() -> None:
    facts = changed(GPU_BOX, {"settings.gpu_devices": "free:2", "host.cards": TWO})
    assert wrong(facts) == wrong(changed(GPU_BOX, {"host.cards": TWO}))
    assert lab_cards(facts) == TWO


def test_a_gpu_that_must_be_on_and_is_not_there() -> None:
    (found,) = told(changed(HEALTHY, {"settings.gpu": "on"}), "card")
    assert (found.severity, "no NVIDIA card" in found.problem) == ("error", True)


def test_one_cause_is_told_once() -> None:
    """A mismatched driver is no reason to speak of the toolkit, too."""
    facts = changed(GPU_BOX, {"host.smi": MISMATCH, "host.cards": ()})
    assert [f.check for f in wrong(facts)] == ["driver"]


def test_an_engine_far_away_is_not_judged_by_this_machine() -> None:
    facts = changed(
        GPU_BOX, {"engine.host": "ssh://far", "host.smi": MISMATCH, "fabric": "inactive"}
    )
    assert [f.check for f in wrong(facts)] == ["where"]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (HEALTHY, ["no NVIDIA card"]),
        (changed(GPU_BOX, {"host.smi": MISMATCH, "host.cards": ()}), ["upgraded"]),
        (
            changed(GPU_BOX, {"engine.cdi_devices": (), "specs": (), "host.tools": ()}),
            ["no GPU reaches containers"],
        ),
        (GPU_BOX, ["containers get"]),
    ],
)
def test_reasons_for_a_gpu_that_does_not_work(facts: Facts, words: list[str]) -> None:
    found = gpu_reasons(facts)
    assert [word in finding.problem for word, finding in zip(words, found, strict=True)] == [
        True
    ] * len(words)


@pytest.mark.parametrize(
    ("changes", "card"),
    [
        ({"host": Host(wsl=True, smi_found=True)}, True),
        ({"host": Host(wsl=True)}, False),
        ({"host": Host(smi_found=True)}, False),
        ({"host": Host(tegra=True)}, True),
        ({"pci": (PCI,)}, True),
        ({"pci": (PCI,), "engine": None}, True),
        ({"settings": None}, False),
    ],
)
def test_a_card_seen_from_any_side(changes: dict[str, Any], card: bool) -> None:
    assert (told(changed(HEALTHY, changes), "card") == []) is card


@pytest.mark.parametrize(("mode", "severity"), [("auto", "info"), ("on", "error"), ("off", "info")])
def test_an_engine_far_away_without_a_gpu(mode: str, severity: str) -> None:
    facts = changed(HEALTHY, {"engine.host": "ssh://far", "settings.gpu": mode, "host": HOST})
    (found,) = told(facts, "way")
    assert (found.severity, "ssh://far offers no GPU" in found.problem) == (severity, True)
    assert "on that machine" in found.fix


def test_a_gpu_is_judged_before_there_is_an_env() -> None:
    facts = changed(GPU_BOX, {"env_mode": None, "settings": None, "lab": LabFacts()})
    assert [f.check for f in wrong(facts)] == ["env"]
    assert [f.check for f in wrong(changed(facts, {"engine.cdi_devices": ()}))] == [
        "env",
        "cdi",
        "cgroups",
    ]
