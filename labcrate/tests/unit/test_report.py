"""The results of tests that ran in the container: a table, and a page for a CI job's summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labcrate.smoke.report import proof_failure, read_results, results_page, show_results

RESULTS: dict[str, Any] = {
    "torch": "2.14.0+cu130",
    "cuda": "13.0",
    "driver": "580.95.05",
    "devices": [{"name": "NVIDIA H100 80GB HBM3", "capability": "9.0", "memory_gb": 85.0}],
    "results": [
        {
            "test": "test_matmul[torch.float32]",
            "outcome": "passed",
            "seconds": 1.254,
            "message": "",
        },
        {
            "test": "test_nccl",
            "outcome": "failed",
            "seconds": 0.5,
            "message": "RuntimeError: <a | b>\nsecond line",
        },
    ],
    "figures": [
        {"test": "test_matmul[torch.float32]", "n": 4096, "tflops": 51.2345},
        {"test": "test_matmul[torch.float32]", "n": 8192, "tflops": 50.0},
    ],
}


def test_results_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    show_results(RESULTS)
    told = capsys.readouterr().out
    for text in ("NVIDIA H100 80GB HBM3", "driver 580.95.05", "test_nccl", "failed", "1.25"):
        assert text in told
    assert "tflops=51.23" in " ".join(told.split())


def test_no_results_are_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    show_results({})
    assert "no GPU" in capsys.readouterr().out


def test_the_page_is_a_table_of_outcomes_and_figures() -> None:
    lines = results_page(RESULTS).splitlines()
    assert lines[0] == (
        "## NVIDIA H100 80GB HBM3 (driver 580.95.05, CUDA 13.0, torch 2.14.0+cu130)"
    )
    assert lines[4] == (
        "| test_matmul[torch.float32] | passed | 1.25 | n=4096  tflops=51.23<br>n=8192  tflops=50 |"
    )
    assert lines[5] == "| test_nccl | failed | 0.50 | RuntimeError: &lt;a \\| b> |"
    assert len(lines) == 6


def test_a_proof_that_never_ran_says_so(tmp_path: Path) -> None:
    assert read_results(tmp_path / "none.json") == {}
    assert results_page({}).startswith("**No results**")


@pytest.mark.parametrize(
    ("results", "said", "cause"),
    [
        (RESULTS, "1 failed", "RuntimeError: <a | b>"),
        ({}, "starting\nno such device\n", "no such device"),
        ({}, "", "the proof ended without a word"),
    ],
)
def test_a_failed_proof_in_one_line(results: dict[str, Any], said: str, cause: str) -> None:
    assert proof_failure(results, said) == cause
