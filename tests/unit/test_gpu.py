"""Mode x what the engine offers x this machine's cards: every way to a GPU, and every way to none.

Engines are recorded answers of `docker info`, cut to the fields that count; cards are answers of
nvidia-smi.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from labcrate import engine as engines
from labcrate import gpu, nvidia
from labcrate.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu import ALL, Choice
from labcrate.nvidia import Host

INFO: dict[str, Any] = {
    "ServerVersion": "28.5.2",
    "OperatingSystem": "Debian GNU/Linux 13 (trixie)",
    "Architecture": "x86_64",
    "KernelVersion": "6.12.41-amd64",
    "CgroupDriver": "systemd",
    "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}},
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
}
WSL = {"KernelVersion": "5.15.167.4-microsoft-standard-WSL2"}
DESKTOP = {"OperatingSystem": "Docker Desktop", "KernelVersion": "6.10.14-linuxkit"}


def engine(*cdi: str, runtime: bool = False, host: str = "", **fields: Any) -> Engine:
    """cdi: names of devices of kind nvidia.com/gpu. fields: of `docker info`."""
    devices = [{"Source": "cdi", "ID": f"nvidia.com/gpu={name}"} for name in cdi]
    runtimes = dict(INFO["Runtimes"], **({"nvidia": {"path": "nvidia"}} if runtime else {}))
    info = {**INFO, "DiscoveredDevices": devices, "Runtimes": runtimes, **fields}
    return replace(engines.parse_info(info), host=host)


def cards(*texts: str, driver: str = "580.95.05") -> tuple[nvidia.Card, ...]:
    """Cards of `name, compute capability[, Enabled]`."""
    lines = []
    for index, text in enumerate(texts):
        name, capability, *mig = text.split(", ")
        state = mig[0] if mig else "[N/A]"
        lines.append(f"{index}, GPU-{index}a, {name}, {capability}, {driver}, {state}, 24564 MiB")
    return nvidia.parse_smi("\n".join(lines))


ONE = cards("NVIDIA H100 80GB HBM3, 9.0")
TWO = cards("NVIDIA GeForce RTX 4090, 8.9", "NVIDIA GeForce RTX 4090, 8.9")
BARE = Host()
DRIVEN = Host(loaded="580.95.05", on_disk="580.95.05", smi_found=True, cards=ONE)
PAIR = replace(DRIVEN, cards=TWO)
HOOKED = replace(DRIVEN, tools=("nvidia-ctk", gpu.HOOK))
WSL_HOST = Host(smi_found=True, cards=ONE, wsl=True)
MISMATCH = replace(
    DRIVEN,
    cards=(),
    loaded="550.54.14",
    smi="Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95",
)
SMI_FAILS = replace(DRIVEN, cards=(), smi="No devices were found")
SMI_WARNS = replace(DRIVEN, smi="WARNING: infoROM is corrupted at gpu 0000:02:00.0")
PODMAN = {"buildahVersion": "1.33.7"}


@pytest.mark.parametrize(
    ("offers", "host", "overlay"),
    [
        # CDI comes first, whatever else there is.
        (engine("all", "0"), BARE, "gpu-cdi"),
        (engine("all", "0", runtime=True), HOOKED, "gpu-cdi"),
        (engine("all", ServerVersion="29.7.2"), DRIVEN, "gpu-cdi"),
        (engine("all", SecurityOptions=["name=rootless"]), DRIVEN, "gpu-cdi"),
        (engine("all", host="ssh://server"), BARE, "gpu-cdi"),
        (engine("all", **WSL), WSL_HOST, "gpu-cdi"),
        # Before 25.0 no engine had it.
        (engine("all", runtime=True, ServerVersion="24.0.9"), DRIVEN, "gpu-runtime"),
        # Of another vendor's devices none counts.
        (
            engine(
                runtime=True,
                DiscoveredDevices=[{"Source": "cdi", "ID": "docker.com/gpu=webgpu"}],
            ),
            DRIVEN,
            "gpu-runtime",
        ),
        (engine(runtime=True), DRIVEN, "gpu-runtime"),
        (engine("all"), SMI_WARNS, "gpu-cdi"),
        (engine(runtime=True), HOOKED, "gpu-runtime"),
        (engine(runtime=True, SecurityOptions=["name=rootless"]), DRIVEN, "gpu-runtime"),
        (engine(runtime=True, host="tcp://10.0.0.5:2376"), BARE, "gpu-runtime"),
        (engine(runtime=True), Host(tegra=True), "gpu-runtime"),
        (engine(runtime=True, **WSL), WSL_HOST, "gpu-runtime"),
        (engine(), HOOKED, "gpu-nvidia"),
        (engine(ServerVersion="29.2.0"), HOOKED, "gpu-nvidia"),
        (engine(ServerVersion="23.0.6"), HOOKED, "gpu-nvidia"),
        # Docker Desktop lists the runtime on every Windows, and has a hook of its own.
        (engine(runtime=True, **{**DESKTOP, **WSL}), WSL_HOST, "gpu-nvidia"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_ways_to_a_gpu(mode: str, offers: Engine, host: Host, overlay: str) -> None:
    choice = gpu.choose(mode, ALL, offers, host)
    assert choice.overlay == overlay
    assert choice.devices == (("nvidia.com/gpu=all",) if overlay == "gpu-cdi" else ("all",))


@pytest.mark.parametrize(
    ("offers", "host", "why", "fix"),
    [
        (engine(), BARE, "no NVIDIA driver is loaded", "install NVIDIA's driver"),
        (engine(runtime=True), BARE, "though the engine has the runtime", "GPU=off"),
        (engine(), DRIVEN, "is not told of NVIDIA H100 80GB HBM3", "cdi generate"),
        (engine(), replace(DRIVEN, tools=("nvidia-ctk",)), "not told", "sudo nvidia-ctk cdi"),
        (engine(ServerVersion="27.5.1"), DRIVEN, "not told", "runtime configure"),
        (engine(SecurityOptions=["name=rootless"]), DRIVEN, "not told", "systemctl --user"),
        (engine(), Host(loaded="580.95.05"), "though the driver 580.95.05 is loaded", "toolkit"),
        # This machine's card says nothing about an engine elsewhere.
        (engine(host="ssh://server"), HOOKED, "ssh://server offers no GPU", "on that machine"),
        (replace(engine(), client_path="/snap/docker/1/bin/docker"), HOOKED, "a snap", "snap"),
        (engine("all", **PODMAN), HOOKED, "podman", "Docker Engine"),
        (engine(**DESKTOP), DRIVEN, "virtual machine", "context use default"),
        (engine(runtime=True, **{**DESKTOP, **WSL}), BARE, "Windows hands no", "wsl --shutdown"),
        (engine("all"), MISMATCH, "550.54.14 runs, 580.95.05 is installed", "reboot"),
        (engine(runtime=True), MISMATCH, "upgraded", "reboot"),
        (engine("all"), SMI_FAILS, "nvidia-smi fails: No devices were found", "dmesg"),
    ],
)
def test_ways_to_none(offers: Engine, host: Host, why: str, fix: str) -> None:
    choice = gpu.choose("auto", ALL, offers, host)
    assert choice.overlay == ""
    assert choice.line.startswith("on the CPU: ")
    assert why in choice.line
    assert "\n" not in choice.line
    with pytest.raises(LabError, match="no GPU: ") as caught:
        gpu.choose("on", ALL, offers, host)
    assert caught.value.code is Code.GPU_NOT_OFFERED
    assert why in caught.value.problem
    assert fix in caught.value.fix


def test_off_is_off_whatever_is_there() -> None:
    assert gpu.choose("off", ALL, engine("all"), DRIVEN) == Choice(reason="GPU is off")


MANY = ("all", "0", "1", "GPU-0a", "GPU-1a")
MIG = cards("NVIDIA A100-SXM4-40GB, 8.0, Enabled", "NVIDIA A100-SXM4-40GB, 8.0")
SLICED = ("all", "0:0", "0:1", "MIG-ab", "MIG-cd", "1", "GPU-1a")


@pytest.mark.parametrize(
    ("offers", "host", "devices", "named"),
    [
        (engine(*MANY), PAIR, "1", ["nvidia.com/gpu=1"]),
        (engine(*MANY), PAIR, "0,1", ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (engine(*MANY), PAIR, "GPU-1a", ["nvidia.com/gpu=GPU-1a"]),
        # A specification that knows one kind of name: the card has the other, too.
        (engine("all", "0", "1"), PAIR, "GPU-1a", ["nvidia.com/gpu=1"]),
        (engine("all", "GPU-0a", "GPU-1a"), PAIR, "1", ["nvidia.com/gpu=GPU-1a"]),
        # One without `all`: every device once, not under both of its names.
        (engine("0", "1", "GPU-0a", "GPU-1a"), PAIR, "all",
         ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (engine("GPU-0a"), BARE, "all", ["nvidia.com/gpu=GPU-0a"]),
        (engine(*SLICED), replace(DRIVEN, cards=MIG), "0:1", ["nvidia.com/gpu=0:1"]),
        (engine(*SLICED), replace(DRIVEN, cards=MIG), "MIG-cd,1",
         ["nvidia.com/gpu=MIG-cd", "nvidia.com/gpu=1"]),
        (engine(runtime=True), PAIR, "1", ["1"]),
        (engine(runtime=True), replace(DRIVEN, cards=MIG), "MIG-cd", ["MIG-cd"]),
        (engine(runtime=True), replace(DRIVEN, cards=MIG), "0:1", ["0:1"]),
        (engine(runtime=True, host="ssh://server"), PAIR, "7", ["7"]),
        (engine(), replace(HOOKED, cards=TWO), "GPU-0a,1", ["GPU-0a", "1"]),
    ],
)  # fmt: skip
def test_device_lists(offers: Engine, host: Host, devices: str, named: list[str]) -> None:
    assert list(gpu.choose("on", gpu.wanted(devices), offers, host).devices) == named


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("offers", "host", "devices", "told"),
    [
        (engine(*MANY), PAIR, "2", "0, 1, GPU-0a, GPU-1a, all"),
        (engine(*MANY), PAIR, "0,GPU-ff", "GPU-1a"),
        # A card that is cut into instances can't be had as a whole.
        (engine(*SLICED), replace(DRIVEN, cards=MIG), "0", "0:0, 0:1"),
        (engine(*SLICED), replace(DRIVEN, cards=MIG), "MIG-ee", "MIG-ab"),
        (engine("all", "0", host="ssh://server"), PAIR, "1", "0, all"),
        (engine(runtime=True), PAIR, "2", "0, 1, GPU-0a, GPU-1a"),
        (engine("all", **WSL), WSL_HOST, "0", "GPU_DEVICES=all"),
        (engine(runtime=True, **WSL), WSL_HOST, "0", "GPU_DEVICES=all"),
    ],
)
def test_a_device_that_is_not_there(
    mode: str, offers: Engine, host: Host, devices: str, told: str
) -> None:
    """Also with `auto`: the user named it."""
    with pytest.raises(LabError) as caught:
        gpu.choose(mode, gpu.wanted(devices), offers, host)
    assert caught.value.code is Code.GPU_NOT_OFFERED
    assert told in caught.value.fix


def test_with_no_gpu_at_all_a_list_does_not_matter() -> None:
    assert gpu.choose("auto", ("3",), engine(), BARE).overlay == ""


@pytest.mark.parametrize(
    ("host", "devices", "said"),
    [
        (DRIVEN, "all", "NVIDIA H100 80GB HBM3, driver 580.95.05"),
        (PAIR, "all", "2 x NVIDIA GeForce RTX 4090, driver 580.95.05"),
        (PAIR, "1", "NVIDIA GeForce RTX 4090, driver 580.95.05"),
        (BARE, "all", "its driver is unknown"),
    ],
)
def test_the_line_says_what_and_why(host: Host, devices: str, said: str) -> None:
    line = gpu.choose("auto", gpu.wanted(devices), engine(*MANY), host).line
    assert line.startswith(f"nvidia.com/gpu={devices} through CDI: ")
    assert said in line


@pytest.mark.parametrize(
    ("devices", "picked"),
    [
        (("all",), [0, 1]),
        (("1",), [1]),
        (("GPU-0a",), [0]),
        (("0:1",), [0]),
        (("MIG-ab",), [0]),
        (("MIG-ab", "1"), [0, 1]),
    ],
)
def test_cards_behind_a_list(devices: tuple[str, ...], picked: list[int]) -> None:
    assert [card.index for card in gpu.selected(MIG, devices)] == picked


@pytest.mark.parametrize(
    ("overlay", "devices", "driver"),
    [
        ("gpu-cdi", ("nvidia.com/gpu=0", "nvidia.com/gpu=1"), "cdi"),
        ("gpu-nvidia", ("GPU-0a",), "nvidia"),
    ],
)
def test_a_list_becomes_a_file(overlay: Any, devices: tuple[str, ...], driver: str) -> None:
    text = gpu.listed(Choice(overlay=overlay, devices=devices, reason=""))
    jupyter = json.loads(text)["services"]["jupyter"]
    (request,) = jupyter["deploy"]["resources"]["reservations"]["devices"]
    assert request == {"driver": driver, "device_ids": list(devices), "capabilities": ["gpu"]}
    assert jupyter["labels"][gpu.LABEL] == f"{overlay} {','.join(devices)}"
    assert ("environment" in jupyter) is (driver == "nvidia")


@pytest.mark.parametrize(
    ("overlay", "devices"),
    [
        ("", ()),
        ("gpu-cdi", ("nvidia.com/gpu=all",)),
        ("gpu-nvidia", ("all",)),
        ("gpu-runtime", ("0", "1")),
    ],
)
def test_what_a_file_of_the_repository_says_needs_none(
    overlay: Any, devices: tuple[str, ...]
) -> None:
    assert gpu.listed(Choice(overlay=overlay, devices=devices, reason="")) == ""
