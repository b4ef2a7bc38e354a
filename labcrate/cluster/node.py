"""What the container of a host is: its command, its GPU, its folders. Pure functions.

Fixed ports, so that a firewall can let them through; docs/cluster.md lists them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labcrate import labels
from labcrate.clone.rules import FOLDERS
from labcrate.clone.settings import Settings
from labcrate.cluster.inventory import Node
from labcrate.gpu.devices import ALL
from labcrate.gpu.offer import Choice

FIXED = Path(__file__).with_name("node.yaml")
HEAD_SCRIPT = Path(__file__).with_name("inside") / "head.py"
SCRIPT = "/opt/labcrate/cluster/head.py"
"""Where a node has that script."""

GCS_PORT, DASHBOARD_PORT, CLIENT_PORT = 6379, 8265, 10001
EVERYWHERE = {
    "node-manager-port": 6380,
    "object-manager-port": 6381,
    "runtime-env-agent-port": 6382,
    "dashboard-agent-grpc-port": 6383,
    "metrics-export-port": 6384,
    "dashboard-agent-listen-port": 52365,
}
OPEN_FILES = ("sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh")
"""Ray holds a socket for each worker, and engine 29 lets a program open 1024. Not `ulimits` of
Compose: an engine whose own limit is lower does not start the container."""

WORKER_PORTS = (10002, 10999)
METRICS_PORTS = (44217, 44227)
"""The head's own metrics, which Ray gives no flag for."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a host is to run. image: its name, the same on every host."""

    node: Node
    head: Node
    settings: Settings
    choice: Choice
    image: str

    @property
    def is_head(self) -> bool:
        return self.node == self.head

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that must be free on this host, without the range of the workers."""
        own = (GCS_PORT, DASHBOARD_PORT, CLIENT_PORT, *METRICS_PORTS)
        return (*EVERYWHERE.values(), *(own if self.is_head else ()))


def ray_command(plan: Plan) -> list[str]:
    """The command of a node. It never ends by itself."""
    first, last = WORKER_PORTS
    ports = {**EVERYWHERE, "min-worker-port": first, "max-worker-port": last}
    if plan.is_head:
        own = {
            "port": GCS_PORT,
            "dashboard-host": "127.0.0.1",
            "dashboard-port": DASHBOARD_PORT,
            "ray-client-server-port": CLIENT_PORT,
        }
        role = ["--head", *(f"--{name}={value}" for name, value in own.items())]
    else:
        role = [f"--address={plan.head.address}:{GCS_PORT}"]
    # With a GPU Ray counts the cards by itself.
    cards = [] if plan.choice.overlay else ["--num-gpus=0"]
    flags = [f"--{name}={value}" for name, value in ports.items()]
    here = f"--node-ip-address={plan.node.address}"
    return [*OPEN_FILES, "ray", "start", *role, here, *flags, *cards, "--block"]


def node_overlay(plan: Plan) -> str:
    """The Compose file of one host, as JSON, which is YAML too."""
    settings, node = plan.settings, plan.node
    gpu = gpu_section(plan.choice)
    told = {labels.GPU: plan.choice.label} if gpu else {}
    environment = {
        "NCCL_SOCKET_IFNAME": node.interface,
        "GLOO_SOCKET_IFNAME": node.interface,
        **gpu.pop("environment", {}),
    }
    service = {
        "image": plan.image,
        "user": f"{settings.uid}:{settings.gid}",
        "command": ray_command(plan),
        "labels": {labels.PROJECT: settings.project, **told},
        "environment": environment,
        "env_file": [{"path": str(settings.clone.root / "lab.env"), "required": False}],
        "volumes": [mount(node.folder, name) for name in FOLDERS if node.folder],
        **gpu,
    }
    script = {"content": HEAD_SCRIPT.read_text(encoding="utf-8")}
    text = json.dumps({"services": {"node": service}, "configs": {"head.py": script}}, indent=2)
    # A dollar sign would be read as a variable.
    return text.replace("$", "$$") + "\n"


def mount(folder: str, name: str) -> dict[str, Any]:
    """One of the lab's folders, as that host has it. The engine must not make it, as root."""
    source, target = f"{folder.rstrip('/')}/{name}", f"/lab/{name}"
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "bind": {"create_host_path": False},
    }


def gpu_section(choice: Choice) -> dict[str, Any]:
    """What the overlays of compose/ say of JupyterLab's GPU, for a node."""
    capabilities = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    match choice.overlay:
        case "":
            return {}
        case "gpu-runtime":
            visible = {"NVIDIA_VISIBLE_DEVICES": ",".join(choice.devices)}
            return {"runtime": "nvidia", "environment": {**visible, **capabilities}}
        case "gpu-cdi":
            request: dict[str, Any] = {"driver": "cdi", "device_ids": list(choice.devices)}
            environment = {}
        case "gpu-nvidia":
            every = choice.devices == ALL
            what = {"count": "all"} if every else {"device_ids": list(choice.devices)}
            request, environment = {"driver": "nvidia", **what}, capabilities
    devices = [{**request, "capabilities": ["gpu"]}]
    return {
        "deploy": {"resources": {"reservations": {"devices": devices}}},
        "environment": environment,
    }
