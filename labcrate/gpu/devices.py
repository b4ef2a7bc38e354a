"""The names of GPUs: those in GPU_DEVICES, those that the engine offers, and the cards behind them.

Pure functions. One card has several names: its index, its UUID, and with CDI whatever the
specification on the engine's machine calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from labcrate.clone.device_list import free_count
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Card, Host

Overlay = Literal["", "gpu-cdi", "gpu-runtime", "gpu-nvidia"]
"""The way to a GPU, by the name of its file in compose/; "" is the CPU. offer.py explains them."""

ALL = ("all",)
CDI = "nvidia.com/gpu="
"""What the full name of a CDI device starts with."""


def parse_overlay(name: str) -> Overlay:
    """The overlay of that name; "" for one that this version does not know."""
    return next((known for known in get_args(Overlay) if known == name), "")


def device_names(text: str) -> tuple[str, ...]:
    """GPU_DEVICES as names; clone/rules.py checked its syntax. Any card may be one that is free."""
    return ALL if free_count(text) else tuple(text.split(","))


def offered_names(overlay: Overlay, engine: Engine, host: Host) -> tuple[str, ...]:
    """The device names that can be used; () where only the engine's machine knows them."""
    if overlay == "gpu-cdi":
        return tuple(d.removeprefix(CDI) for d in engine.cdi_devices if d.startswith(CDI))
    return tuple(name for card in host.cards for name in (str(card.index), card.uuid))


def match_devices(
    overlay: Overlay, devices: tuple[str, ...], engine: Engine, host: Host
) -> tuple[str, ...]:
    """The devices that the user named, under names that are offered.

    LabError where a name is not offered; its fix lists those that are.
    """
    known = offered_names(overlay, engine, host)
    if devices == ALL:
        return ALL if overlay != "gpu-cdi" or "all" in known else _each_once(known)
    if engine.wsl or host.wsl:
        raise LabError(
            f"GPU_DEVICES={','.join(devices)} names single GPUs, but WSL offers all or none",
            fix="set GPU_DEVICES=all; CUDA_VISIBLE_DEVICES=0 in lab.env selects one",
            code=Code.GPU_NOT_OFFERED,
        )
    aliases = {str(card.index): card.uuid for card in host.cards}
    aliases |= {uuid: index for index, uuid in aliases.items()}
    named = tuple(d if d in known else aliases.get(d, d) for d in devices)
    if unknown := _unknown(overlay, named, known):
        raise LabError(
            f"GPU_DEVICES names {', '.join(unknown)}, which the engine does not offer",
            fix=f"in GPU_DEVICES, use some of: {', '.join(sorted(known))}",
            code=Code.GPU_NOT_OFFERED,
        )
    return named


def _unknown(overlay: Overlay, named: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names that are certainly wrong."""
    if not known:
        return []
    # Only CDI names MIG instances; otherwise the toolkit itself refuses wrong ones.
    is_certain = overlay == "gpu-cdi"
    return [d for d in named if d not in known and (is_certain or not _is_mig(d))]


def _each_once(known: tuple[str, ...]) -> tuple[str, ...]:
    """Every device once, of a specification without `all`: most devices have two names."""
    return tuple(n for n in known if n.replace(":", "").isdigit()) or known


def _is_mig(device: str) -> bool:
    return ":" in device or device.startswith("MIG-")


def selected_cards(cards: Sequence[Card], devices: tuple[str, ...]) -> tuple[Card, ...]:
    """The cards behind a list of devices; for the UUID of a MIG instance, every split card."""
    if devices == ALL:
        return tuple(cards)
    heads = {device.partition(":")[0] for device in devices}
    by_uuid = any(device.startswith("MIG-") for device in devices)
    return tuple(
        card for card in cards if {str(card.index), card.uuid} & heads or (by_uuid and card.mig)
    )


def describe_cards(cards: Sequence[Card], driver: str) -> str:
    """`2 x NVIDIA H100 80GB HBM3, driver 580.95.05`."""
    counts = {card.name: sum(c.name == card.name for c in cards) for card in cards}
    texts = [name if n == 1 else f"{n} x {name}" for name, n in counts.items()]
    return f"{' + '.join(texts)}, driver {driver or 'unknown'}"
