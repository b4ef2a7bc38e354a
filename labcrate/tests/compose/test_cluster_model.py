"""What Compose makes of a node of a cluster, without asking any engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from clone import ROOT, clean_environ

from labcrate.clone.place import Clone
from labcrate.clone.settings import make_settings
from labcrate.cluster.inventory import EXAMPLE, parse_inventory
from labcrate.cluster.node import FIXED, HEAD_SCRIPT, Plan, node_overlay
from labcrate.gpu.offer import Choice

VALUES = {
    "COMPOSE_PROJECT_NAME": "lab-test-1",
    "JUPYTER_PORT": "8888",
    "JUPYTER_TOKEN": "t" * 48,
    "TENSORBOARD_PORT": "6006",
    "LAB_UID": "1234",
    "LAB_GID": "1234",
}
TOKEN = "s3cret" * 10


@pytest.fixture
def node(tmp_path: Path) -> dict[str, Any]:
    """The resolved model of the example's head, on an engine that is nowhere."""
    head, _ = parse_inventory(EXAMPLE)
    lab = make_settings(VALUES, Clone(root=ROOT, here=ROOT))
    card = Choice(overlay="gpu-cdi", devices=("nvidia.com/gpu=all",), reason="")
    plan = Plan(node=head, head=head, settings=lab, choice=card, image="lab-test-1/jupyter")
    (tmp_path / "one.json").write_text(node_overlay(plan))
    (tmp_path / "token.env").write_text(f"CLUSTER_TOKEN={TOKEN}\n")
    files = ("-f", str(FIXED), "-f", str(tmp_path / "one.json"))
    env = ("--env-file", str(tmp_path / "token.env"))
    done = subprocess.run(
        ["docker", "compose", "--project-name", "x", *env, *files, "config", "--format", "json"],
        env={**clean_environ(), "DOCKER_HOST": "unix:///no/engine/here.sock"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_node_is_as_closed_as_the_lab(node: dict[str, Any]) -> None:
    service = node["services"]["node"]
    assert (service["user"], service["network_mode"]) == ("1234:1234", "host")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert int(service["shm_size"]) == 8 * 2**30
    assert service["command"][-1] == "--block"
    assert "$(ulimit -Hn)" in service["command"][2].replace("$$", "$")
    assert node.get("networks", {}) == {}


def test_the_token_is_a_secret_and_no_variable(node: dict[str, Any]) -> None:
    service = node["services"]["node"]
    assert TOKEN not in json.dumps(service)
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    assert service["secrets"] == [{"source": "ray_token", "target": "/run/secrets/ray_token"}]
    assert node["secrets"]["ray_token"]["environment"] == "CLUSTER_TOKEN"


def test_nothing_of_this_machine_is_mounted(node: dict[str, Any]) -> None:
    """But for what cluster.toml says lies on that host."""
    sources = {one["source"] for one in node["services"]["node"]["volumes"]}
    assert {Path(one).parent for one in sources} == {Path("/home/me/my-lab")}
    assert node["configs"]["head.py"]["content"] == HEAD_SCRIPT.read_text()
    assert not any("file" in one for one in (*node["secrets"].values(), *node["configs"].values()))
