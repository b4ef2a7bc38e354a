"""How the tests of the image are run, and how their results are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_settings import GOOD

from labcrate import proof, settings
from labcrate.stack import Stack

LAB = Stack(settings=settings.build(GOOD), overlays=("compose/gpu-cdi.yaml",))

RESULTS = {
    "torch": "2.14.0",
    "cuda": "13.0",
    "driver": "580.95.05",
    "devices": [{"name": "NVIDIA H100 80GB HBM3", "capability": "9.0", "memory_gb": 85.0}],
    "results": [
        {"test": "test_bandwidth", "outcome": "passed", "seconds": 1.25, "message": ""},
        {"test": "test_compile", "outcome": "failed", "seconds": 0.5, "message": "no compiler"},
    ],
    "figures": [{"test": "test_bandwidth", "host_to_device_gbps": 51.23456, "n": 7}],
}


@pytest.mark.parametrize(
    ("half", "where", "marker"),
    [
        ("cpu", "/tests", "not gpu"),
        ("gpu", "/tests/test_gpu.py", "gpu"),
        ("quick", "/tests/test_gpu.py", "quick"),
    ],
)
def test_each_half_runs_its_tests_with_the_labs_overlay(half: str, where: str, marker: str) -> None:
    command = proof.arguments(LAB, half, Path("/results"))
    assert command[-3:] == (where, "-m", marker)
    assert "compose/gpu-cdi.yaml" in command
    assert "/results:/results" in command


def test_results_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    proof.show(RESULTS)
    shown = capsys.readouterr().out
    for text in ("NVIDIA H100 80GB HBM3", "driver 580.95.05", "test_compile", "failed", "1.25"):
        assert text in shown
    assert "host_to_device_gbps=51.23" in " ".join(shown.split())


def test_no_results_are_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    proof.show({})
    assert "no GPU" in capsys.readouterr().out


def test_a_half_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["proof", "both"])
    assert proof.main() == 2
    assert "labcrate.proof gpu" in capsys.readouterr().out
