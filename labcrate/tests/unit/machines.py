"""Engines and machines of many kinds for the tests of gpu/: recorded answers of `docker info`, cut
to the fields that matter, and answers of nvidia-smi."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labcrate.engine.engine import Engine, parse_info
from labcrate.gpu.cards import Card, Host, parse_cards
from labcrate.gpu.offer import HOOK

PLUGINS = {"buildx": "0.29.1", "compose": "2.40.3"}
CLIENT = {"Plugins": [{"Name": name, "Version": version} for name, version in PLUGINS.items()]}
INFO: dict[str, Any] = {
    "ServerVersion": "28.5.2",
    "ClientInfo": CLIENT,
    "OperatingSystem": "Debian GNU/Linux 13 (trixie)",
    "Architecture": "x86_64",
    "KernelVersion": "6.12.41-amd64",
    "CgroupDriver": "systemd",
    "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}},
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
}
WSL: dict[str, Any] = {"KernelVersion": "5.15.167.4-microsoft-standard-WSL2"}
DESKTOP: dict[str, Any] = {"OperatingSystem": "Docker Desktop", "KernelVersion": "6.10.14-linuxkit"}


def make_engine(*cdi: str, runtime: bool = False, host: str = "", **fields: Any) -> Engine:
    """cdi: names of devices of kind nvidia.com/gpu. fields: of `docker info`."""
    devices = [{"Source": "cdi", "ID": f"nvidia.com/gpu={name}"} for name in cdi]
    runtimes = dict(INFO["Runtimes"], **({"nvidia": {"path": "nvidia"}} if runtime else {}))
    info = {**INFO, "DiscoveredDevices": devices, "Runtimes": runtimes, **fields}
    return replace(parse_info(info), host=host)


def make_cards(*texts: str, driver: str = "580.95.05") -> tuple[Card, ...]:
    """Cards of `name, compute capability[, Enabled]`."""
    lines = []
    for index, text in enumerate(texts):
        name, capability, *mig = text.split(", ")
        state = mig[0] if mig else "[N/A]"
        lines.append(f"{index}, GPU-{index}a, {name}, {capability}, {driver}, {state}, 24564 MiB")
    return parse_cards("\n".join(lines))


ONE = make_cards("NVIDIA H100 80GB HBM3, 9.0")
TWO = make_cards("NVIDIA GeForce RTX 4090, 8.9", "NVIDIA GeForce RTX 4090, 8.9")
MIG = make_cards("NVIDIA A100-SXM4-40GB, 8.0, Enabled", "NVIDIA A100-SXM4-40GB, 8.0")

BARE = Host()
DRIVEN = Host(loaded="580.95.05", on_disk="580.95.05", smi_found=True, cards=ONE)
PAIR = replace(DRIVEN, cards=TWO)
SLICED = replace(DRIVEN, cards=MIG)
HOOKED = replace(DRIVEN, tools=("nvidia-ctk", HOOK))
WSL_HOST = Host(smi_found=True, cards=ONE, wsl=True)
MISMATCH = replace(
    DRIVEN,
    cards=(),
    loaded="550.54.14",
    smi="Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95",
)
SMI_FAILS = replace(DRIVEN, cards=(), smi="No devices were found")
SMI_WARNS = replace(DRIVEN, smi="WARNING: infoROM is corrupted at gpu 0000:02:00.0")
OLD = replace(DRIVEN, loaded="470.256.02", cards=make_cards("Tesla T4, 7.5", driver="470.256.02"))
