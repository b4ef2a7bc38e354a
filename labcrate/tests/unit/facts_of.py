"""Facts of a lab that is fine, without a GPU and with one: tests change one thing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labcrate.clone.place import Clone
from labcrate.clone.rules import FOLDERS
from labcrate.clone.settings import Settings
from labcrate.doctor.examine import examine
from labcrate.doctor.facts import CdiSpec, Disk, Facts, Folder, LabFacts
from labcrate.doctor.findings import Finding
from labcrate.engine.engine import Engine
from labcrate.gpu.cards import Card, Host
from labcrate.lab.containers import Container
from labcrate.lab.images import Image

TOP = Path("/lab")
CLONE = Clone(root=TOP, here=TOP)
KNOWN = Settings(
    clone=CLONE,
    project="lab-x-1",
    root_dir=TOP,
    jupyter_port=8888,
    jupyter_token="t" * 48,
    jupyter_dir="/lab/notebooks",
    tensorboard_port=6006,
    tensorboard_dir="/lab/runs",
    uid=1000,
    gid=1000,
    base_image="debian:trixie-slim",
    torch_backend="auto",
    gpu="auto",
    gpu_devices="all",
    bind_address="127.0.0.1",
    host_wheels="",
    shared_models="",
)
ENGINE = Engine(
    version=(28, 5),
    compose=(2, 40),
    operating_system="Debian GNU/Linux 13 (trixie)",
    architecture="x86_64",
    kernel="6.12.48-amd64",
    root_dir="/var/lib/docker",
    cgroup_driver="systemd",
    runtimes=("runc",),
    security=("seccomp", "cgroupns"),
    host="unix:///var/run/docker.sock",
    client_path="/usr/bin/docker",
)
JUPYTER = Container(
    service="jupyter",
    id="ba330e639fc3f196",
    state="running",
    health="healthy",
    shm=8 * 2**30,
    ipc="private",
    folder="/lab/compose",
    logs="[I 2026-11-24 20:26:36.051 ServerApp] Jupyter Server 2.21.1 is running at:\n",
    inside="1048576\n",
)
HEALTHY = Facts(
    clone=CLONE,
    env_mode=0o600,
    settings=KNOWN,
    folders=tuple(
        Folder(path=TOP / name, exists=True, uid=1000, gid=1000, mode=0o755) for name in FOLDERS
    ),
    engine=ENGINE,
    buildx=(0, 29),
    info={"MemTotal": 32 * 10**9},
    disks=(
        Disk(what="your folders", path="/lab", free=10**11),
        Disk(what="the engine", path="/var/lib/docker", free=10**11),
    ),
    available=16 * 10**9,
    lab=LabFacts(
        images={
            "jupyter": Image(id="sha256:1", name="lab-x-1/jupyter", backend="pypi", size=8 * 10**9),
            "tensorboard": Image(id="sha256:2", name="lab-x-1/tensorboard", size=3 * 10**8),
        },
        mounts=tuple(f"/lab/{name}" for name in FOLDERS),
        containers=(JUPYTER, replace(JUPYTER, service="tensorboard", shm=64 * 2**20)),
        listed=True,
    ),
)

CARD = Card(
    index=0,
    uuid="GPU-14d6",
    name="NVIDIA GeForce RTX 4090",
    capability=(8, 9),
    memory_mib=24564,
    mig=False,
    driver="580.95.05",
)
OLD_CARD = replace(CARD, name="Tesla P100", capability=(6, 0))
MIG_CARD = replace(CARD, name="NVIDIA A100-SXM4-40GB", capability=(8, 0), mig=True)
HOST = Host(
    loaded="580.95.05",
    on_disk="580.95.05",
    smi_found=True,
    cards=(CARD,),
    devices=("nvidia-uvm", "nvidia0", "nvidiactl"),
    tools=("nvidia-ctk", "nvidia-container-runtime-hook"),
)
SPEC = CdiSpec(path="/var/run/cdi/nvidia.yaml", versions=("580.95.05",), gone=())
GPU_BOX = replace(
    HEALTHY,
    engine=replace(ENGINE, cdi_devices=("nvidia.com/gpu=0", "nvidia.com/gpu=all")),
    host=HOST,
    specs=(SPEC,),
)


def changed(base: Facts, changes: Mapping[str, Any]) -> Facts:
    """Fields by name; `engine.x`, `host.x`, `settings.x`, `lab.x` and `jupyter.x` change what is
    in one."""
    for name, value in changes.items():
        outer, _, inner = name.partition(".")
        if outer == "jupyter":
            first, *rest = base.lab.containers
            containers = (replace(first, **{inner: value}), *rest)
            base = replace(base, lab=replace(base.lab, containers=containers))
        elif inner:
            base = replace(base, **{outer: replace(getattr(base, outer), **{inner: value})})
        else:
            base = replace(base, **{outer: value})
    return base


def told(facts: Facts, check: str) -> list[Finding]:
    """What one check finds."""
    return [finding for finding in examine(facts) if finding.check == check]


def wrong(facts: Facts) -> list[Finding]:
    """All that is more than a remark."""
    return [finding for finding in examine(facts) if finding.severity != "info"]


def assert_told(facts: Facts, check: str, severity: str, problem: str, fix: str) -> None:
    """The first finding of a check has this severity and these words."""
    found = told(facts, check)
    assert [(f.severity, problem in f.problem, fix in f.fix) for f in found][:1] == [
        (severity, True, True)
    ], found
