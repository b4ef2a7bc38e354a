"""Runs that libraries write where nobody told them to, in the lab's own TensorBoard."""

from __future__ import annotations

import json
import time

from clone import Lab, said
from web import client, get

CODE = """
import os
from torch.utils.tensorboard import SummaryWriter
os.makedirs("/lab/notebooks/exp", exist_ok=True)
os.chdir("/lab/notebooks/exp")
for folder in (None, "lightning_logs/version_0", "/lab/runs/told"):
    with SummaryWriter(folder) as writer:
        writer.add_scalar("loss", 1.0, 1)
"""


def test_what_is_written_by_default_shows(up_lab: Lab) -> None:
    kernel = client(up_lab).kernel()
    kernel.run(CODE)
    kernel.close()
    try:
        deadline = time.monotonic() + 120
        while True:
            runs: list[str] = json.loads(get(f"{up_lab.tensorboard}/data/runs")[1])
            default = [run for run in runs if run.startswith("notebooks/exp/runs/")]
            if default and {"told", "notebooks/exp/lightning_logs/version_0"} <= set(runs):
                break
            assert time.monotonic() < deadline, runs
            time.sleep(0.5)
    finally:
        done = up_lab.exec("rm", "-r", "/lab/notebooks/exp", "/lab/runs/told")
    assert done.returncode == 0, said(done)
