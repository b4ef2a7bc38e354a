"""The examples of docs/cluster.md with the lab's own PyTorch, on two nodes of Ray in one container.

`nox -s cluster` runs it. The nodes are processes here: two_hosts.py has hosts, and no PyTorch.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from clone import ROOT, Lab, said

EXAMPLES = ROOT / "labcrate" / "docs" / "examples"

NODES = """
import os, subprocess, sys
from ray.cluster_utils import Cluster

name, kill_after, env = sys.argv[1], sys.argv[2], dict(word.split("=") for word in sys.argv[3:])
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
other = nodes.add_node(num_cpus=2)
nodes.wait_for_nodes()
job = subprocess.Popen(
    [sys.executable, "-u", f"/lab/src/{name}"], stdout=subprocess.PIPE, text=True,
    stderr=subprocess.STDOUT, env={**os.environ, **env, "RAY_ADDRESS": nodes.address},
)
for line in job.stdout:
    print(line, end="", flush=True)
    if kill_after and kill_after in line:
        kill_after = ""
        print("a node is killed", flush=True)
        nodes.remove_node(other, allow_graceful=False)
sys.exit(job.wait())
"""


@pytest.fixture(scope="module")
def with_ray(lab: Lab) -> Iterator[Lab]:
    lab.invoke("up", timeout=1200)
    lab.invoke("add-package", "ray[default,train,tune]", timeout=600)
    for example in EXAMPLES.glob("*.py"):
        shutil.copy(example, lab.root / "src")
    (lab.root / "src" / "nodes.py").write_text(NODES)
    yield lab
    lab.invoke("remove-package", "ray", timeout=600)


def told_by(lab: Lab, name: str, kill_after: str, **env: str) -> str:
    """What an example prints on two nodes; it must end well."""
    words = [f"{key}={value}" for key, value in env.items()]
    command = ("python", "/lab/src/nodes.py", name, kill_after, *words)
    done = lab.docker("exec", lab.container(), *command, timeout=420)
    assert done.returncode == 0, said(done)
    return str(done.stdout)


def test_a_training_outlives_a_node(with_ray: Lab) -> None:
    """It goes on from its last checkpoint, and reaches the last epoch."""
    told = told_by(with_ray, "ddp.py", "'epoch': 5,", EPOCHS="30")
    epochs = [int(found) for found in re.findall(r"\{'epoch': (\d+), .*'workers': 2\}", told)]
    before, _, after = told.partition("a node is killed\n")
    assert max(map(int, re.findall(r"'epoch': (\d+),", before))) == 5
    (again,) = {int(found) for found in re.findall(r"goes on after epoch (\d+)", after)}
    assert again in (3, 4, 5)
    assert max(epochs) == 29
    saved = with_ray.root / "runs" / "ray" / "ddp"
    assert list(saved.glob("checkpoint_*/state.pt"))
    assert list((with_ray.root / "runs" / "ddp").glob("events*"))


def test_a_search_shows_each_run_in_tensorboard(with_ray: Lab) -> None:
    told = told_by(with_ray, "sweep.py", "", TRIALS="6")
    (best,) = re.findall(r"^best: (0\.\d+) with", told, re.MULTILINE)
    assert float(best) > 0.9
    assert len(list((with_ray.root / "runs" / "ray" / "sweep").glob("work_*/events*"))) == 6
