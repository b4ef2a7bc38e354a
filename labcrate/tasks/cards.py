"""gpus: each card of the machine, and who has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from invoke import Context

from labcrate import output
from labcrate.engine.engine import Engine
from labcrate.gpu.cards import Card, Host, read_host, smi_path
from labcrate.gpu.holders import (
    Holder,
    containers_with_cards,
    holders_of,
    known_cards,
    processes_of,
)
from labcrate.gpu.kernels import Kernel, kernels_on_cards
from labcrate.gpu.offer import Missing, offer
from labcrate.gpu.usage import Load, read_usage
from labcrate.lab.snapshot import Snapshot
from labcrate.tasks.base import lab_task, load_settings, read_lab_and_engine

HEADINGS = ("card", "name", "memory", "load", "who", "uses", "since (UTC)")


@dataclass(frozen=True, kw_only=True)
class CardState:
    """One card: what it does, and who has it."""

    card: Card
    load: Load
    holders: tuple[Holder, ...]


@lab_task(json_="as JSON, for programs")
def gpus(c: Context, json_: bool = False) -> None:  # noqa: ARG001
    """Show each GPU, how busy it is, and which labs and programs have it."""
    engine, snapshot = read_lab_and_engine(load_settings())
    # This machine says nothing about an engine elsewhere.
    host = Host() if engine.remote else read_host()
    states = card_states(engine, host, snapshot)
    own = [program for one in states for who in one.holders if who.own for program in who.programs]
    kernels = kernels_on_cards(snapshot, own)
    missing = offer(engine, host)
    why = missing if isinstance(missing, Missing) else None
    if json_:
        output.say(json.dumps(cards_as_json(states, kernels, why), indent=2))
        return
    if states:
        rows = [row for one in states for row in card_rows(one)]
        output.table(HEADINGS, rows, whole=("card",))
    if kernels:
        shown = [
            (output.printable(one.notebook), mebibytes(one.mib), one.state, one.since)
            for one in kernels
        ]
        headings = ("notebook", "memory", "state", "last active (UTC)")
        output.table(headings, shown, title="kernels of this lab on a GPU")
    if why:
        what = "The engine gives no GPU to a lab" if states else "There is no GPU for a lab"
        output.say(f"{what}: {why.why}\n  fix: {why.fix}")
    elif not states:
        output.say("The engine offers a GPU, but no card is known: nvidia-smi lists none.")


def card_states(engine: Engine, host: Host, snapshot: Snapshot) -> tuple[CardState, ...]:
    """Every card of the engine's machine, with its load and its holders."""
    cards = known_cards(engine, host)
    if not cards:
        return ()
    usage = read_usage("" if engine.remote else smi_path())
    containers = containers_with_cards(snapshot.everyone)
    # Without a process on a card nobody has to be asked for his.
    pids = processes_of(containers) if usage.programs else {}
    loads = {one.uuid: one for one in usage.loads}
    return tuple(
        CardState(
            card=card,
            load=loads.get(card.uuid, Load(uuid=card.uuid)),
            holders=holders_of(card, cards, containers, usage.programs, pids, snapshot.lab.project),
        )
        for card in cards
    )


def mebibytes(mib: int | None) -> str:
    return "" if mib is None else f"{mib} MiB"


def card_rows(state: CardState) -> list[tuple[str, ...]]:
    """The rows of a card: a line for each holder, the card itself in the first alone."""
    card, load = state.card, state.load
    used = "?" if load.used_mib is None else str(load.used_mib)
    total = load.total_mib or card.memory_mib
    memory = f"{used} of {total} MiB" if total else "?"
    percent = "?" if load.percent is None else f"{load.percent} %"
    first: Sequence[str] = (str(card.index), card.name or "?", memory, percent)
    if not state.holders:
        return [(*first, "nobody", "", "")]
    rest = ("",) * len(first)
    return [
        (*(rest if place else first), who.name, mebibytes(who.mib), who.since)
        for place, who in enumerate(state.holders)
    ]


def cards_as_json(
    states: Sequence[CardState], kernels: Sequence[Kernel], missing: Missing | None
) -> dict[str, Any]:
    """For programs. Memory in MiB, load in percent, times in UTC; null: not known."""
    return {
        "cards": [
            {
                "index": one.card.index,
                "uuid": one.card.uuid,
                "name": one.card.name,
                "memory_used_mib": one.load.used_mib,
                "memory_total_mib": one.load.total_mib or one.card.memory_mib or None,
                "load_percent": one.load.percent,
                "labs": [lab_as_json(who) for who in one.holders if who.lab],
                "processes": [process_as_json(who) for who in one.holders if not who.lab],
            }
            for one in states
        ],
        "kernels": [asdict(one) for one in kernels],
        "not_offered": f"{missing.why} (fix: {missing.fix})" if missing else "",
    }


def lab_as_json(who: Holder) -> dict[str, Any]:
    return {
        "lab": who.lab,
        "run": who.run,
        "own": who.own,
        "since": who.since,
        "memory_mib": who.mib,
        "pids": [one.pid for one in who.programs],
    }


def process_as_json(who: Holder) -> dict[str, Any]:
    (one,) = who.programs
    return {"pid": one.pid, "name": one.name, "user": one.user, "memory_mib": one.mib}
