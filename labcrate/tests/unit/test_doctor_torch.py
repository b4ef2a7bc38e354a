"""The doctor's check of the build of PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from facts_of import CARD, GPU_BOX, OLD_CARD, assert_told, changed, told

from labcrate.lab.images import Image

IMAGE = Image(id="sha256:1", name="lab-x-1/jupyter")

TORCH = [
    (
        {"host.loaded": "570.86.15", "host.on_disk": "570.86.15", "specs": ()},
        "build",
        "error",
        "needs a newer driver than 570.86.15",
        "it chooses cu126",
    ),
    (
        {"host.loaded": "470.256.02", "host.on_disk": "470.256.02", "specs": ()},
        "build",
        "error",
        "too old",
        "update the driver",
    ),
    ({"host.cards": (OLD_CARD,)}, "build", "error", "no kernels for Tesla P100", "cu126"),
    (
        {"lab.images": {"jupyter": replace(IMAGE, backend="cpu")}},
        "build",
        "warning",
        "build for CPUs",
        "it chooses pypi",
    ),
    (
        {"settings.torch_backend": "cu126", "host.cards": (replace(CARD, capability=(12, 0)),)},
        "build",
        "error",
        "cu126 (CUDA 12.6) has no kernels",
        "it chooses pypi",
    ),
]


@pytest.mark.parametrize(
    ("changes", "check", "severity", "problem", "fix"), TORCH, ids=lambda v: str(v)[:40]
)
def test_the_build_of_pytorch(
    changes: dict[str, Any], check: str, severity: str, problem: str, fix: str
) -> None:
    assert_told(changed(GPU_BOX, changes), check, severity, problem, fix)


@pytest.mark.parametrize("row", TORCH, ids=lambda row: str(row)[:40])
def test_the_build_does_not_matter_where_no_gpu_is_wanted(row: tuple[Any, ...]) -> None:
    off = changed(GPU_BOX, {**row[0], "settings.gpu": "off"})
    assert {finding.severity for finding in told(off, "build")} == {"info"}


def test_a_driver_that_does_not_answer_is_reported_by_itself() -> None:
    assert told(changed(GPU_BOX, {"host.smi": "odd", "host.cards": (OLD_CARD,)}), "build") == []


def test_an_old_driver_that_still_does_is_told_without_alarm() -> None:
    facts = changed(GPU_BOX, {"host.loaded": "570.86.15", "host.on_disk": "570.86.15", "specs": ()})
    fits = changed(facts, {"lab.images": {"jupyter": replace(IMAGE, backend="cu126")}})
    (found,) = told(fits, "build")
    assert (found.severity, "the lab uses cu126" in found.problem) == ("info", True)
    assert told(GPU_BOX, "build") == []


def test_an_arm_machine_needs_a_newer_card() -> None:
    turing = replace(CARD, name="Tesla T4", capability=(7, 5))
    facts = changed(GPU_BOX, {"host.cards": (turing,), "engine.architecture": "aarch64"})
    assert "Tesla T4" in told(facts, "build")[0].problem
    assert told(changed(facts, {"engine.architecture": "x86_64"}), "build") == []
