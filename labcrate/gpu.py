"""Which GPU the lab gets, and how: mode x what the engine offers x this machine's cards.

Pure functions. Ways to a GPU, best first; each is an overlay file in compose/:
  gpu-cdi       CDI: the engine knows each device by name, and nothing takes it away again
  gpu-runtime   the toolkit's own runtime, registered with the engine
  gpu-nvidia    the engine's driver `nvidia`: the toolkit's hook alone, and Docker Desktop
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from labcrate.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.nvidia import Card, Host

Overlay = Literal["", "gpu-cdi", "gpu-runtime", "gpu-nvidia"]

LABEL = "dev.labcrate.gpu"
"""On the running JupyterLab: the overlay and the devices that it was started with."""

ALL = ("all",)
CDI = "nvidia.com/gpu="
HOOK = "nvidia-container-runtime-hook"
FIRST_CDI = (25, 0)
"""CDI came with Engine 25.0, and is on by default since 28.2."""

WORDS = {
    "gpu-cdi": "CDI",
    "gpu-runtime": "the runtime `nvidia`",
    "gpu-nvidia": "the engine's driver `nvidia`",
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the lab gets. overlay "": the CPU. devices: as the overlay names them."""

    overlay: Overlay = ""
    devices: tuple[str, ...] = ()
    reason: str

    @property
    def line(self) -> str:
        """One line for `up`: what and why."""
        if not self.overlay:
            return f"on the CPU: {self.reason}"
        return f"{', '.join(self.devices)} through {WORDS[self.overlay]}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why there is no GPU to be had, and what would help."""

    why: str
    fix: str


def overlay(name: str) -> Overlay:
    """The overlay of that name; "" for one that this version does not know."""
    return next((known for known in get_args(Overlay) if known == name), "")


def wanted(text: str) -> tuple[str, ...]:
    """GPU_DEVICES as names; its syntax was checked by settings.py."""
    return tuple(text.split(","))


def choose(mode: str, devices: tuple[str, ...], engine: Engine, host: Host) -> Choice:
    """The lab's GPU, or an error: always for a device that is not there, and for `on` without any.

    mode: auto, on or off. host: this machine; of no account where the engine runs on another one.
    """
    if mode == "off":
        return Choice(reason="GPU is off")
    here = Host() if engine.remote else host
    found = offer(engine, here)
    if isinstance(found, Missing):
        if mode == "on":
            raise LabError(f"no GPU: {found.why}", fix=found.fix, code=Code.GPU_NOT_OFFERED)
        return Choice(reason=found.why)
    named = names(found, devices, engine, here)
    used = selected(here.cards, devices)
    return Choice(
        overlay=found,
        devices=tuple(CDI + name for name in named) if found == "gpu-cdi" else named,
        reason=told(used, here.driver) if used else "the engine offers it; its driver is unknown",
    )


def told(cards: Sequence[Card], driver: str) -> str:
    """`2 x NVIDIA H100 80GB HBM3, driver 580.95.05`."""
    counts = {card.name: sum(c.name == card.name for c in cards) for card in cards}
    texts = [name if n == 1 else f"{n} x {name}" for name, n in counts.items()]
    return f"{' + '.join(texts)}, driver {driver or 'unknown'}"


def offer(engine: Engine, host: Host) -> Overlay | Missing:
    """The best way to a GPU on this engine, or why there is none. host: the engine's machine."""
    if engine.podman:
        return Missing(
            why="podman stands behind `docker`, and leaves GPU requests out without a word",
            fix="use Docker Engine: invoke setup, or `docker context use` one that is there",
        )
    if broken := _broken(host):
        return broken
    if engine.version >= FIRST_CDI and offered("gpu-cdi", engine, host):
        return "gpu-cdi"
    if engine.desktop:
        return _desktop(engine, host)
    if engine.remote:
        return "gpu-runtime" if "nvidia" in engine.runtimes else _nothing(engine, host)
    if not (host.loaded or host.cards or host.tegra):
        return _no_driver(engine)
    if "nvidia" in engine.runtimes:
        return "gpu-runtime"
    # Without a registered runtime, dockerd still takes the hook that it finds on its PATH.
    return "gpu-nvidia" if HOOK in host.tools and not engine.snap else _nothing(engine, host)


def _broken(host: Host) -> Missing | None:
    """A driver that does not answer: whatever the engine offers, no kernel would run."""
    if "mismatch" in host.smi.lower():
        versions = f" ({host.loaded} runs, {host.on_disk} is installed)" if host.on_disk else ""
        return Missing(
            why=f"the driver was upgraded, and the old one is still loaded{versions}",
            fix="reboot",
        )
    if host.smi_found and host.smi and not host.cards and host.loaded:
        return Missing(
            why=f"a driver is loaded, but nvidia-smi fails: {host.smi.splitlines()[0]}",
            fix="nvidia-smi must work first; `sudo dmesg | grep -i nvrm` often tells why it fails",
        )
    return None


def _desktop(engine: Engine, host: Host) -> Overlay | Missing:
    """Docker Desktop has a hook of its own on WSL 2; it lists a runtime with and without a card."""
    if engine.wsl and host.cards:
        return "gpu-nvidia"
    if engine.wsl:
        return Missing(
            why="Windows hands no NVIDIA card to WSL (nvidia-smi finds none)",
            fix="install NVIDIA's driver on Windows, then `wsl --shutdown`",
        )
    return Missing(
        why="Docker Desktop runs its containers in a virtual machine without a GPU",
        fix="use Docker Engine: `docker context use default` (invoke setup installs it)",
    )


def _no_driver(engine: Engine) -> Missing:
    runtime = ", though the engine has the runtime `nvidia`" if "nvidia" in engine.runtimes else ""
    return Missing(
        why=f"no NVIDIA driver is loaded on this machine{runtime}",
        fix="install NVIDIA's driver (580 or newer) and its container toolkit, or set GPU=off",
    )


def _nothing(engine: Engine, host: Host) -> Missing:
    """The engine has no way to a GPU: what to install where."""
    if engine.remote:
        return Missing(
            why=f"the engine at {engine.host} offers no GPU (no CDI device, no runtime `nvidia`)",
            fix=f"on that machine: {_toolkit(engine)}",
        )
    if engine.snap:
        return Missing(
            why="docker comes from a snap, which cannot reach the NVIDIA container toolkit",
            fix="sudo snap remove docker, then: invoke setup",
        )
    return Missing(
        why=f"the engine is not told of {told(host.cards, host.driver)}"
        if host.cards
        else f"the engine offers no GPU, though the driver {host.driver} is loaded",
        fix=("" if "nvidia-ctk" in host.tools else "install nvidia-container-toolkit, then: ")
        + _toolkit(engine),
    )


def _toolkit(engine: Engine) -> str:
    if engine.version >= (28, 2) and not engine.rootless:
        return "sudo nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml"
    if engine.rootless:
        return (
            "nvidia-ctk runtime configure --runtime=docker --config=$HOME/.config/docker/"
            "daemon.json && systemctl --user restart docker"
        )
    return "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"


def offered(overlay: Overlay, engine: Engine, host: Host) -> tuple[str, ...]:
    """The device names that can be asked for; () where only the engine's machine knows them."""
    if overlay == "gpu-cdi":
        return tuple(d.removeprefix(CDI) for d in engine.cdi_devices if d.startswith(CDI))
    return tuple(name for card in host.cards for name in (str(card.index), card.uuid))


def names(
    overlay: Overlay, devices: tuple[str, ...], engine: Engine, host: Host
) -> tuple[str, ...]:
    """The wanted devices under names that are offered, or an error that lists those."""
    known = offered(overlay, engine, host)
    if devices == ALL:
        return ALL if overlay != "gpu-cdi" or "all" in known else _indexes(known)
    if engine.wsl or host.wsl:
        raise LabError(
            f"GPU_DEVICES={','.join(devices)}, and WSL hands over all GPUs or none",
            fix="set GPU_DEVICES=all; CUDA_VISIBLE_DEVICES=0 in lab.env picks one",
            code=Code.GPU_NOT_OFFERED,
        )
    aliases = {str(card.index): card.uuid for card in host.cards}
    aliases |= {uuid: index for index, uuid in aliases.items()}
    named = tuple(d if d in known else aliases.get(d, d) for d in devices)
    # Only CDI names MIG instances; elsewhere the toolkit itself refuses wrong ones.
    sure = overlay == "gpu-cdi"
    unknown = [d for d in named if known and d not in known and (sure or not _is_mig(d))]
    if unknown:
        raise LabError(
            f"GPU_DEVICES names {', '.join(unknown)}, which the engine does not offer",
            fix=f"use some of: {', '.join(sorted(known))}",
            code=Code.GPU_NOT_OFFERED,
        )
    return named


def _indexes(known: tuple[str, ...]) -> tuple[str, ...]:
    """Every device once, of a specification that has no `all`: most have two names."""
    return tuple(n for n in known if n.replace(":", "").isdigit()) or known


def _is_mig(device: str) -> bool:
    return ":" in device or device.startswith("MIG-")


def selected(cards: Sequence[Card], devices: tuple[str, ...]) -> tuple[Card, ...]:
    """The cards behind a list of devices; of a MIG instance known by UUID, each that is cut up."""
    if devices == ALL:
        return tuple(cards)
    heads = {device.partition(":")[0] for device in devices}
    by_uuid = any(device.startswith("MIG-") for device in devices)
    return tuple(
        card for card in cards if {str(card.index), card.uuid} & heads or (by_uuid and card.mig)
    )


def listed(choice: Choice) -> str:
    """An overlay for some devices only, as JSON, which is YAML too; "" where a file has it all.

    Compose's interpolation makes strings, never a list, so a list of devices cannot stand in a
    file of the repository. The runtime takes its list as one string, from GPU_DEVICES itself.
    """
    if choice.overlay in ("", "gpu-runtime") or choice.devices in (ALL, (f"{CDI}all",)):
        return ""
    driver = "cdi" if choice.overlay == "gpu-cdi" else "nvidia"
    request = {"driver": driver, "device_ids": list(choice.devices), "capabilities": ["gpu"]}
    jupyter: dict[str, Any] = {
        "labels": {LABEL: f"{choice.overlay} {','.join(choice.devices)}"},
        "deploy": {"resources": {"reservations": {"devices": [request]}}},
    }
    if driver == "nvidia":
        jupyter["environment"] = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    return json.dumps({"services": {"jupyter": jupyter}}, indent=2) + "\n"
