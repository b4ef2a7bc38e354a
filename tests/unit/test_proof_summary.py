"""The GPU proof's results as a page for a CI job's summary."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from labcrate import proof
from labcrate.shell import ROOT

RESULTS: dict[str, Any] = {
    "torch": "2.14.0+cu130",
    "cuda": "13.0",
    "driver": "580.95.05",
    "devices": [{"name": "NVIDIA H100 80GB HBM3"}],
    "results": [
        {
            "test": "test_matmul[torch.float32]",
            "outcome": "passed",
            "seconds": 1.234,
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


def test_the_summary_is_a_table_of_outcomes_and_figures() -> None:
    lines = proof.summary(RESULTS).splitlines()
    assert lines[0] == (
        "## NVIDIA H100 80GB HBM3 (driver 580.95.05, CUDA 13.0, torch 2.14.0+cu130)"
    )
    assert lines[4] == (
        "| test_matmul[torch.float32] | passed | 1.23 | n=4096  tflops=51.23<br>n=8192  tflops=50 |"
    )
    assert lines[5] == "| test_nccl | failed | 0.50 | RuntimeError: &lt;a \\| b> |"
    assert len(lines) == 6


def test_a_proof_that_never_ran_says_so(tmp_path: Path) -> None:
    """Also as CI calls it, on a report that is not there."""
    assert proof.summary({}).startswith("**No results**")
    done = run(str(tmp_path / "none.json"))
    assert (done.returncode, done.stdout) == (0, proof.summary({}))


def test_the_command_reads_a_report(tmp_path: Path) -> None:
    path = tmp_path / "gpu_smoke.json"
    path.write_text(json.dumps(RESULTS))
    assert run(str(path)).stdout == proof.summary(RESULTS)
    assert run().returncode == 2


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labcrate.proof", "summary", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
