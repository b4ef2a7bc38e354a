"""A card of this machine that the lab does not use: said loudly, with the fix."""

from __future__ import annotations

from labcrate.engine.engine import find_engine
from labcrate.gpu.cards import Host, read_host
from labcrate.gpu.offer import Choice, Missing, offer
from labcrate.lab.snapshot import Snapshot


def driven_card(host: Host) -> bool:
    """Whether a driver of NVIDIA's has a card in this machine."""
    return bool(host.cards or host.loaded or host.tegra)


def unused_card(choice: Choice) -> str:
    """What to say, for a machine with a card; "" where the lab gets it, or it was switched off."""
    if choice.overlay or not choice.fix:
        return ""
    return f"THE GPU IS NOT USED: {choice.reason}\n  fix: {choice.fix}"


def unused_now(snapshot: Snapshot) -> str:
    """The same of a lab as it is. The engine is asked only where this machine has a card."""
    settings, jupyter = snapshot.settings, snapshot.jupyter
    if settings.gpu == "off" or settings.torch_backend == "cpu" or (jupyter and jupyter.gpu):
        return ""
    host = read_host()
    engine = find_engine() if driven_card(host) else None
    if engine is None or engine.remote:
        return ""
    found = offer(engine, host)
    if isinstance(found, Missing):
        return unused_card(Choice(reason=found.why, fix=found.fix))
    if jupyter is None:
        return ""
    why = "the engine offers it, but JupyterLab was started without it"
    return unused_card(Choice(reason=why, fix="invoke up --gpu on (says why, if it cannot)"))
