"""Which entries of packages.lock lie settled: in a layer of the image below that of the others.

A change then installs, compresses and ships what is new alone. The settled ones are compiled, too,
so that no container compiles them at the first import. docker/settled.lock holds them. The lock of
all stays packages.lock: what it does not hold in the very same form is not in the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from labcrate.packages.locks import Pin, pins_of
from labcrate.packages.recovery import FILE, HEAD

MANY = 30
"""Entries that may lie above the settled ones. A list of so many is big, or will be built on."""

LARGE = 300 * 10**6
"""Bytes that their layer may have. To write 500 MB anew at every change took 1.1 s to install and
1.5 s to export on two cores."""


STEP = "packages of packages.lock"
"""What the step above the settled ones is called in docker/Dockerfile."""


def read_settled(docker: Path) -> dict[str, Pin] | None:
    """The settled entries by name; None where the lab's Dockerfile has no layer for them."""
    path = docker / FILE
    return pins_of(path.read_text(encoding="utf-8"), f"docker/{FILE}") if path.exists() else None


def choose_settled(
    settled: Mapping[str, Pin], wanted: Mapping[str, Pin], above: int, *, anew: bool = False
) -> Mapping[str, Pin]:
    """The entries to be settled once `wanted` is the lock: those that are, or all that can be.

    above: bytes of the layer above them, as the image has it now. anew: settle all that can be.
    """
    able = {name: pin for name, pin in wanted.items() if pin.version and "--hash=" in pin.text}
    stay = all(name in able and able[name].text == pin.text for name, pin in settled.items())
    few = len(able) - len(settled) <= MANY and above <= LARGE
    return settled if stay and few and not anew else able


def settled_text(settled: Mapping[str, Pin]) -> str:
    return HEAD + "".join(f"{settled[name].text}\n" for name in sorted(settled))
