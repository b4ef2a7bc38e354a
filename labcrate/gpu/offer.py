"""Which GPU the lab gets, and how: mode x what the engine offers x this machine's cards.

Pure functions. The ways to a GPU, best first; each is an overlay file in compose/:
  gpu-cdi       CDI: the engine knows each device by name, and nothing takes it away later
  gpu-runtime   the toolkit's own runtime, registered with the engine
  gpu-nvidia    the engine's driver `nvidia`: only the toolkit's hook, or Docker Desktop
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from labcrate import labels
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Host
from labcrate.gpu.devices import (
    ALL,
    CDI,
    Overlay,
    describe_cards,
    match_devices,
    offered_names,
    parse_overlay,
    selected_cards,
)
from labcrate.lab.compose import JUPYTER

HOOK = "nvidia-container-runtime-hook"

FIRST_CDI = (25, 0)
"""Engine 25.0 was the first with CDI; it had to be switched on there."""

CDI_BY_DEFAULT = (28, 2)
"""Engine 28.2 was the first that reads CDI specifications without being configured to."""

WORDS = {
    "gpu-cdi": "CDI",
    "gpu-runtime": "the runtime `nvidia`",
    "gpu-nvidia": "the engine's driver `nvidia`",
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the lab gets. overlay "": the CPU. devices: as the overlay names them.

    fix: what would give the lab a GPU; "" where nothing is wrong.
    """

    overlay: Overlay = ""
    devices: tuple[str, ...] = ()
    reason: str
    fix: str = ""

    @property
    def line(self) -> str:
        """One line for `up`: what and why."""
        if not self.overlay:
            return f"on the CPU: {self.reason}"
        return f"{', '.join(self.devices)} through {WORDS[self.overlay]}: {self.reason}"

    @property
    def label(self) -> str:
        """The text of labels.GPU on the container; `parse_choice` reads it back."""
        return f"{self.overlay} {','.join(self.devices)}"


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why the lab can have no GPU, and what would help.

    toolkit: the container toolkit of this machine is missing, or the engine was not told of it.
    """

    why: str
    fix: str
    toolkit: bool = False


def parse_choice(label: str) -> Choice | None:
    """The choice that a container was started with; None where it has no GPU."""
    overlay, _, devices = label.partition(" ")
    names = tuple(devices.split(","))
    known = parse_overlay(overlay)
    return Choice(overlay=known, devices=names, reason="as it was started") if label else None


def choose_gpu(mode: str, devices: tuple[str, ...], engine: Engine, host: Host) -> Choice:
    """The lab's GPU. LabError for a device that is not there, and for mode `on` without any GPU.

    mode: auto, on or off. host: this machine; ignored where the engine runs on another one.
    """
    if mode == "off":
        return Choice(reason="GPU is off")
    here = Host() if engine.remote else host
    found = offer(engine, here)
    if isinstance(found, Missing):
        if mode == "on":
            raise LabError(f"no GPU: {found.why}", fix=found.fix, code=Code.GPU_NOT_OFFERED)
        return Choice(reason=found.why, fix=found.fix)
    named = match_devices(found, devices, engine, here)
    used = selected_cards(here.cards, devices)
    unknown = "the engine offers it; its driver is unknown"
    return Choice(
        overlay=found,
        devices=tuple(CDI + name for name in named) if found == "gpu-cdi" else named,
        reason=describe_cards(used, here.driver) if used else unknown,
    )


def offer(engine: Engine, host: Host) -> Overlay | Missing:
    """The best way to a GPU on this engine, or why there is none. host: the engine's machine."""
    if broken := _broken(host):
        return broken
    if engine.version >= FIRST_CDI and offered_names("gpu-cdi", engine, host):
        return "gpu-cdi"
    return _desktop(engine, host) if engine.desktop else _without_cdi(engine, host)


def _without_cdi(engine: Engine, host: Host) -> Overlay | Missing:
    """The ways that need the container toolkit beside the engine."""
    if not (engine.remote or host.loaded or host.cards or host.tegra):
        return _no_driver(engine)
    if "nvidia" in engine.runtimes:
        return "gpu-runtime"
    # Without a registered runtime, dockerd still uses the hook if it is on its PATH.
    has_hook = HOOK in host.tools and not (engine.snap or engine.remote)
    return "gpu-nvidia" if has_hook else _nothing(engine, host)


def _broken(host: Host) -> Missing | None:
    """A driver that does not answer: no kernel would run, whatever the engine offers."""
    if "mismatch" in host.smi.lower():
        versions = f" ({host.loaded} runs, {host.on_disk} is installed)" if host.on_disk else ""
        return Missing(
            why=f"the driver was upgraded, but the old one is still loaded{versions}",
            fix="reboot",
        )
    if host.smi_found and host.smi and not host.cards and host.loaded:
        return Missing(
            why=f"a driver is loaded, but nvidia-smi fails: {host.smi.splitlines()[0]}",
            fix="sudo dmesg | grep -i nvrm (often says why); nvidia-smi must work first",
        )
    return None


def _desktop(engine: Engine, host: Host) -> Overlay | Missing:
    """Docker Desktop has its own hook on WSL 2, and lists a runtime with and without a card."""
    if engine.wsl and host.cards:
        return "gpu-nvidia"
    if engine.wsl:
        return Missing(
            why="Windows gives no NVIDIA card to WSL (nvidia-smi finds none)",
            fix="install NVIDIA's driver on Windows, then run: wsl --shutdown",
        )
    return Missing(
        why="Docker Desktop runs its containers in a virtual machine without a GPU",
        fix="use Docker Engine: docker context use default (invoke setup installs it)",
    )


def _no_driver(engine: Engine) -> Missing:
    runtime = ", although the engine has the runtime `nvidia`" * ("nvidia" in engine.runtimes)
    return Missing(
        why=f"no NVIDIA driver is loaded on this machine{runtime}",
        fix="install NVIDIA's driver (580 or newer) and its container toolkit, or set GPU=off",
    )


def _nothing(engine: Engine, host: Host) -> Missing:
    """The engine has no way to a GPU: what to install, and where."""
    if engine.remote:
        return Missing(
            why=f"the engine at {engine.host} offers no GPU (no CDI device, no runtime `nvidia`)",
            fix=f"on that machine: {toolkit_command(engine)}",
        )
    if engine.snap:
        return Missing(
            why="docker comes from a snap, which cannot reach the NVIDIA Container Toolkit",
            fix="sudo snap remove docker, then: invoke setup",
        )
    there_is = (
        f"this machine has {describe_cards(host.cards, host.driver)}"
        if host.cards
        else f"the driver {host.driver} is loaded"
    )
    install = "" if "nvidia-ctk" in host.tools else "install nvidia-container-toolkit, then: "
    return Missing(
        why=f"the engine offers no GPU, although {there_is}",
        fix=install + toolkit_command(engine),
        toolkit=True,
    )


def toolkit_command(engine: Engine) -> str:
    """The command that tells this engine about the cards."""
    if engine.version >= CDI_BY_DEFAULT and not engine.rootless:
        return "sudo nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml"
    if engine.rootless:
        return (
            "nvidia-ctk runtime configure --runtime=docker --config=$HOME/.config/docker/"
            "daemon.json && systemctl --user restart docker"
        )
    return "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"


def device_overlay(choice: Choice, setting: str) -> str:
    """An overlay for some of the devices, as JSON, which is YAML too; "" where a file in compose/
    is enough. setting: GPU_DEVICES.

    Compose's interpolation makes strings and never a list, so no file of the repository can hold a
    list of devices. The runtime gets its list as one string, from GPU_DEVICES itself where that
    names them.
    """
    if choice.overlay == "gpu-runtime":
        return "" if ",".join(choice.devices) == setting else _runtime_overlay(choice)
    if not choice.overlay or choice.devices in (ALL, (f"{CDI}all",)):
        return ""
    driver = "cdi" if choice.overlay == "gpu-cdi" else "nvidia"
    request = {"driver": driver, "device_ids": list(choice.devices), "capabilities": ["gpu"]}
    jupyter: dict[str, Any] = {
        "labels": {labels.GPU: choice.label},
        "deploy": {"resources": {"reservations": {"devices": [request]}}},
    }
    if driver == "nvidia":
        jupyter["environment"] = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    return json.dumps({"services": {JUPYTER: jupyter}}, indent=2) + "\n"


def _runtime_overlay(choice: Choice) -> str:
    """What compose/gpu-runtime.yaml says, for devices that are not those of GPU_DEVICES."""
    variables = {
        "NVIDIA_VISIBLE_DEVICES": ",".join(choice.devices),
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    jupyter = {"labels": {labels.GPU: choice.label}, "runtime": "nvidia", "environment": variables}
    return json.dumps({"services": {JUPYTER: jupyter}}, indent=2) + "\n"
