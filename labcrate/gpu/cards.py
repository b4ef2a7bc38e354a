"""What this machine knows about its NVIDIA cards and driver: one reading, and pure parsers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labcrate import environment, process

Ask = Callable[..., process.Result]
"""Runs a command and returns its answer: `process.ask`, or the same inside a container."""
Which = Callable[[str], str | None]

FIELDS = ("index", "uuid", "name", "compute_cap", "driver_version", "mig.mode.current")
"""What nvidia-smi is asked for, followed by memory.total. Driver 610 renamed the header's fields,
so the header is left out (`noheader`), and the order alone says what a value is."""

MIN_FIELDS = len(FIELDS)
"""Values in a line that describes a card: those of FIELDS without compute_cap, and the memory."""

SMI_S = 10.0
"""Seconds for nvidia-smi: 0.1 s is usual; without persistence mode a driver that wakes eight cards
needs several."""

MODINFO_S = 5.0
"""Seconds for modinfo, which reads one file."""

WSL_SMI = "usr/lib/wsl/lib/nvidia-smi"
"""Where WSL 2 keeps it. Not every distribution has this folder on its PATH."""

TOOLS = (
    "nvidia-ctk",
    "nvidia-container-runtime-hook",
    "nvidia-container-runtime",
    "nvidia-cdi-hook",
)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One card. capability is None and memory_mib is 0 where the driver does not report them.

    mig: the card is split into instances, and computes only through them.
    """

    index: int
    uuid: str
    name: str
    capability: tuple[int, int] | None
    memory_mib: int
    mig: bool
    driver: str


@dataclass(frozen=True, kw_only=True)
class Host:
    """What one machine has. Versions as printed, "" where there is none or it is unknown.

    loaded: of the running kernel module. on_disk: of the module that the next boot loads.
    smi: what nvidia-smi said when it failed. devices: names in /dev. tools: those on PATH.
    """

    loaded: str = ""
    on_disk: str = ""
    smi: str = ""
    smi_found: bool = False
    cards: tuple[Card, ...] = ()
    wsl: bool = False
    tegra: bool = False
    devices: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()

    @property
    def driver(self) -> str:
        """The driver's version: the loaded module's, or what its tool reports (WSL: no module)."""
        return self.loaded or next((card.driver for card in self.cards if card.driver), "")


def driver_tuple(text: str) -> tuple[int, ...]:
    """(570, 86, 15) of `570.86.15`; () of anything else."""
    found = re.match(r"\d+(\.\d+)*", text.strip())
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def parse_driver_version(text: str) -> str:
    """The version in /proc/driver/nvidia/version, of the closed or the open kernel module."""
    found = re.search(r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+\.\d+(?:\.\d+)*)", text)
    return found[1] if found else ""


def parse_cards(text: str) -> tuple[Card, ...]:
    """The cards in nvidia-smi's CSV answer; other lines (warnings, errors) are skipped.

    Six values in a line instead of seven: the driver was asked without compute_cap.
    """
    rows = ([value.strip() for value in line.split(",")] for line in text.splitlines())
    return tuple(_card(row) for row in rows if len(row) >= MIN_FIELDS and row[0].isdigit())


def _card(row: list[str]) -> Card:
    index, uuid, name, *capability, driver, mig, memory = row
    pair = re.fullmatch(r"(\d+)\.(\d+)", capability[0]) if capability else None
    mib = re.match(r"\d+", memory)
    return Card(
        index=int(index),
        uuid=uuid,
        name=name,
        capability=(int(pair[1]), int(pair[2])) if pair else None,
        memory_mib=int(mib[0]) if mib else 0,
        mig=mig == "Enabled",
        # `[N/A]` and the like start with a bracket.
        driver=driver if driver_tuple(driver) else "",
    )


def smi_arguments(*, capability: bool = True) -> tuple[str, ...]:
    """The arguments with which nvidia-smi prints what `parse_cards` reads."""
    fields = [field for field in FIELDS if capability or field != "compute_cap"]
    return (f"--query-gpu={','.join(fields)},memory.total", "--format=csv,noheader")


def ask_cards(ask: Ask, command: tuple[str, ...]) -> tuple[tuple[Card, ...], str]:
    """The cards, and what nvidia-smi said if it failed. command: how nvidia-smi is started."""
    answer = ask((*command, *smi_arguments()), timeout_s=SMI_S)
    if 'Field "compute_cap" is not a valid field' in answer.text:
        # Drivers older than 510, for example 470.
        answer = ask((*command, *smi_arguments(capability=False)), timeout_s=SMI_S)
    said = "" if answer.ok else answer.text.strip() or f"exit status {answer.returncode}"
    return parse_cards(answer.stdout), said


def smi_path(root: Path = Path("/"), which: Which = environment.command_path) -> str:
    """Where nvidia-smi is; "" where there is none."""
    return which("nvidia-smi") or _existing(root / WSL_SMI)


def read_host(
    ask: Ask = process.ask, root: Path = Path("/"), which: Which = environment.command_path
) -> Host:
    """Read this machine. root: where its file system starts, for tests."""
    smi = smi_path(root, which)
    cards, said = ask_cards(ask, (smi,)) if smi else ((), "")
    loaded = _text(root / "sys/module/nvidia/version") or parse_driver_version(
        _text(root / "proc/driver/nvidia/version")
    )
    return Host(
        loaded=loaded,
        # A machine without a driver is spared the process.
        on_disk=_on_disk(ask, root, which) if loaded or smi else "",
        smi=said,
        smi_found=bool(smi),
        cards=cards,
        wsl=(root / "dev/dxg").exists() or "microsoft" in _text(root / "proc/version").lower(),
        tegra=(root / "etc/nv_tegra_release").exists(),
        devices=_devices(root / "dev"),
        tools=tuple(name for name in TOOLS if which(name)),
    )


def _on_disk(ask: Ask, root: Path, which: Which) -> str:
    # An ordinary user's PATH often lacks sbin.
    modinfo = which("modinfo") or _existing(root / "sbin/modinfo")
    if not modinfo:
        return ""
    answer = ask((modinfo, "-F", "version", "nvidia"), timeout_s=MODINFO_S)
    return answer.stdout.strip() if answer.ok else ""


def _devices(dev: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (*dev.glob("nvidia*"), *dev.glob("dxg"))))


def _existing(path: Path) -> str:
    return str(path) if path.exists() else ""


def _text(path: Path) -> str:
    """A file's text; "" where there is none or it is not readable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
