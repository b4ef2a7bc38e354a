"""GPU_DEVICES=free: which cards a lab may take, and which of them it takes.

Pure functions of who has what; free.py asks, and holds the lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labcrate.clone.device_list import free_count
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Card, Host
from labcrate.gpu.devices import CDI, Overlay, describe_cards, offered_names
from labcrate.gpu.holders import Holder, held_cards, known_cards
from labcrate.gpu.offer import Choice, parse_choice

Holders = Mapping[int, tuple[Holder, ...]]
"""Who has a card, by its index."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Cards that are still to be chosen: how many. names: those that may be, card by card.

    known: all cards of the machine. driver: "" where it is unknown.
    """

    count: int
    overlay: Overlay
    names: tuple[tuple[Card, str], ...]
    known: tuple[Card, ...]
    driver: str = ""


def wanted_cards(setting: str, overlay: Overlay, engine: Engine, host: Host) -> Wanted | None:
    """What GPU_DEVICES=free asks for; None where it names its devices, and for a lab on the CPU.

    LabError where no such choice is possible on this machine.
    """
    count = free_count(setting)
    if not count or not overlay:
        return None
    if engine.remote:
        raise _refused(
            f"GPU_DEVICES={setting} is for an engine on this machine; it is at {engine.host}",
            "run `invoke up` on that machine, or name a card: GPU_DEVICES=0",
        )
    if engine.wsl or host.wsl:
        raise _refused(
            f"GPU_DEVICES={setting} takes single GPUs, but WSL offers all or none",
            "set GPU_DEVICES=all in .env",
        )
    known = known_cards(engine, host)
    names = tuple((card, name) for card in known if (name := _name(card, overlay, engine, host)))
    if len(names) < count:
        split = any(card.mig for card in known) or (not known and overlay == "gpu-cdi")
        raise _refused(
            f"GPU_DEVICES={setting} takes {_cards(count)} as a whole, "
            f"and this machine offers {_cards(len(names))}",
            "name a MIG instance: GPU_DEVICES=0:0"
            if split
            else "ask for fewer, or set GPU_DEVICES=all in .env",
        )
    return Wanted(count=count, overlay=overlay, names=names, known=known, driver=host.driver)


def _refused(problem: str, fix: str) -> LabError:
    return LabError(problem, fix=fix, code=Code.GPU_NOT_OFFERED)


def _name(card: Card, overlay: Overlay, engine: Engine, host: Host) -> str:
    """The name that a whole card is offered under; "" where it is not."""
    offered = offered_names(overlay, engine, host)
    name = next((one for one in (str(card.index), card.uuid) if one in offered), "")
    if card.mig or not name:
        return ""
    return CDI + name if overlay == "gpu-cdi" else name


def _cards(count: int) -> str:
    return f"{count} card" + "s" * (count != 1)


def choose_free(wanted: Wanted, holders: Holders, own_label: str) -> Choice:
    """The lab's cards: those that it has already, then free ones. LabError: there are too few.

    own_label: of the running JupyterLab; "" where none runs. What it holds stays as it is named.
    """
    held = held_cards(own_label, wanted.known)
    kept = [one for one in wanted.names if one[0] in held]
    free = [one for one in wanted.names if one not in kept and not holders[one[0].index]]
    taken = sorted([*kept, *free][: wanted.count], key=lambda one: one[0].index)
    if len(taken) < wanted.count:
        raise none_free(wanted, holders, len(free))
    cards = [card for card, _ in taken]
    running = parse_choice(own_label)
    same = running is not None and running.overlay == wanted.overlay and cards == list(held)
    known = describe_cards(cards, wanted.driver) if all(card.name for card in cards) else ""
    return Choice(
        overlay=wanted.overlay,
        devices=running.devices if running and same else tuple(name for _, name in taken),
        reason=(f"{known}; " if known else "") + ("it has this already" if same else "it was free"),
    )


def none_free(wanted: Wanted, holders: Holders, free: int) -> LabError:
    """Why the lab gets no card: who has them."""
    told = tell_holders([card for card, _ in wanted.names], holders)
    problem = (
        f"{_cards(wanted.count)} are wanted, and {free} of {len(wanted.names)} is free"
        if wanted.count > 1
        else "no card is free"
    )
    return LabError(
        f"{problem}:\n    " + "\n    ".join(told),
        fix="invoke up --wait-gpu (waits for one), or for the CPU: invoke up --gpu off",
        code=Code.GPU_TAKEN,
    )


def tell_holders(cards: Sequence[Card], holders: Holders) -> list[str]:
    """A line for each card that somebody has."""
    return [
        f"GPU {card.index}: {'; '.join(who.told for who in holders[card.index])}"
        for card in cards
        if holders[card.index]
    ]
