"""The notebooks of the series in the real image, cell by cell through Jupyter's API.

With QUICK=1 the few-shot notebook goes its whole way in a minute; its scores mean nothing then.
`nox -s series` runs it in full, see whole_series.py.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from clone import Lab
from web import Kernel, client

FEW_SHOT = "02-few-shot-news.ipynb"
FETCH = "fetch"
"""The one cell that may use the network."""

QUICK = "import os; os.environ |= {'QUICK': '1', 'OMP_NUM_THREADS': '1'}"
"""One thread: beside other tests, two that wait for each other take longer."""

OFFLINE = """
import socket


def refuse(*_):
    raise OSError("this notebook wants the network")


socket.getaddrinfo = socket.socket.connect = refuse
"""

TWICE = """
for sides in splits.values():
    topics = [name for side in sides.values() for name in side["topics"]]
    bodies = [opening(name, texts[name]) for side in sides.values() for name in side["articles"]]
    print(len(topics) - len(set(topics)), "topics,", len(bodies) - len(set(bodies)), "articles")
"""
"""How many topics and articles are twice among the three sides of each seed's split."""

LOADS = """
from transformers import AutoModel, AutoTokenizer
net, words = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
print(net(**words("Shares rose", return_tensors="pt")).last_hidden_state.shape[-1])
"""


def cells_of(lab: Lab, name: str) -> dict[str, str]:
    """The code cells of a notebook, by their names."""
    notebook = json.loads((lab.root / "notebooks" / name).read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return {cell["id"]: "".join(cell["source"]) for cell in code}


def run_few_shot(kernel: Kernel, cells: dict[str, str], *, timeout_s: float) -> str:
    """All cells; after the one that fetches, the kernel has no network. What they print."""
    printed = ""
    for name, code in cells.items():
        printed += kernel.run(code, timeout_s)
        if name == FETCH:
            kernel.run(OFFLINE)
    return printed


def ask_tensorboard(lab: Lab, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        lab.tensorboard + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def compared_runs(lab: Lab, group: str) -> dict[str, dict[str, float]]:
    """What the HPARAMS tab shows of a group of runs: the metrics of each."""
    body = {
        "allowedStatuses": ["STATUS_SUCCESS", "STATUS_RUNNING", "STATUS_UNKNOWN"],
        "colParams": [],
        "sliceSize": 100,
    }
    told = ask_tensorboard(lab, "/data/plugin/hparams/session_groups", body)
    return {
        one["name"]: {m["name"]["tag"]: m["value"] for m in one["metricValues"]}
        for one in told["sessionGroups"]
        if one["name"].startswith(group + "/")
    }


def wait_for_compared(lab: Lab, group: str, count: int) -> dict[str, dict[str, float]]:
    """TensorBoard rereads its folder every 5 s; on a busy machine that alone takes tens."""
    for _ in range(180):
        runs = compared_runs(lab, group)
        if len(runs) >= count and all(len(metrics) == 3 for metrics in runs.values()):
            return runs
        time.sleep(1)
    raise AssertionError(f"HPARAMS shows no {count} runs with k1, k5 and k10, but {runs}")


def test_the_few_shot_notebook_runs_without_a_network(up_lab: Lab) -> None:
    kernel = client(up_lab).kernel()
    kernel.run(QUICK)
    started = time.monotonic()
    printed = run_few_shot(kernel, cells_of(up_lab, FEW_SHOT), timeout_s=300)
    print(f"the notebook took {time.monotonic() - started:.0f} s")
    assert "2225 articles, 159 copies removed" in printed
    assert kernel.run(TWICE) == "0 topics, 0 articles\n" * 2
    group = kernel.run("print(group.name)").strip()
    runs = wait_for_compared(up_lab, group, 6)
    assert len(runs) == 6
    assert all(set(metrics) == {"k1", "k5", "k10"} for metrics in runs.values())
    assert kernel.run(LOADS).strip() == "384"
    again = kernel.run(cells_of(up_lab, FEW_SHOT)[FETCH])
    assert again.startswith("already there")
    kernel.close()
    saved = up_lab.root / "models" / "few-shot-news"
    assert (saved / "model.safetensors").exists()
    split = json.loads((saved / "split.json").read_text(encoding="utf-8"))
    assert len(split["held_out"]["topics"]) == 15
    assert not set(split["train"]["articles"]) & set(split["held_out"]["articles"])
