"""What this machine knows of its NVIDIA cards and driver: one reading, and pure parsers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labcrate import shell

Ask = Callable[..., shell.Result]

FIELDS = ("index", "uuid", "name", "compute_cap", "driver_version", "mig.mode.current")
"""What nvidia-smi is asked, with memory.total as the last. Its header fields were renamed in 610,
so it is asked for none (`noheader`) and the order alone tells what a value is."""

SMI_S = 10.0
"""Seconds for nvidia-smi: 0.1 s are usual; without persistence mode a driver that wakes eight
cards takes several."""

WSL_SMI = "usr/lib/wsl/lib/nvidia-smi"
"""Where WSL 2 keeps it, which not every distribution has on its PATH."""

TOOLS = (
    "nvidia-ctk",
    "nvidia-container-runtime-hook",
    "nvidia-container-runtime",
    "nvidia-cdi-hook",
)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One card. capability is None where the driver does not tell; memory_mib is 0 then.

    mig: the card is cut into instances, and computes through them alone.
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
    """What one machine has. Versions as printed, "" where there is none or nobody knows.

    loaded: of the running kernel module. on_disk: of the one that the next boot loads.
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
        """The driver's version: the loaded module's, or as its tool tells (WSL has no module)."""
        return self.loaded or next((card.driver for card in self.cards if card.driver), "")


def version(text: str) -> tuple[int, ...]:
    """(570, 86, 15) of `570.86.15`; () of anything else."""
    found = re.match(r"\d+(\.\d+)*", text.strip())
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def module_version(text: str) -> str:
    """The version in /proc/driver/nvidia/version, of the closed or the open kernel module."""
    found = re.search(r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+\.\d+(?:\.\d+)*)", text)
    return found[1] if found else ""


def parse_smi(text: str) -> tuple[Card, ...]:
    """The cards of a headerless CSV answer; lines that are no card (warnings, errors) are left out.

    Six values a line instead of seven: the driver was asked without compute_cap.
    """
    rows = ([value.strip() for value in line.split(",")] for line in text.splitlines())
    return tuple(_card(row) for row in rows if len(row) >= 6 and row[0].isdigit())


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
        driver=driver if version(driver) else "",
    )


def query(*, capability: bool = True) -> tuple[str, ...]:
    """The arguments that ask nvidia-smi for what `parse_smi` reads."""
    fields = [field for field in FIELDS if capability or field != "compute_cap"]
    return (f"--query-gpu={','.join(fields)},memory.total", "--format=csv,noheader")


def ask_smi(ask: Ask, command: tuple[str, ...]) -> tuple[tuple[Card, ...], str]:
    """The cards, and what nvidia-smi said if it failed. command: how it is started."""
    answer = ask((*command, *query()), timeout_s=SMI_S)
    if 'Field "compute_cap" is not a valid field' in answer.text:
        # Drivers before 510, 470 among them.
        answer = ask((*command, *query(capability=False)), timeout_s=SMI_S)
    said = "" if answer.ok else answer.text.strip() or f"exit status {answer.returncode}"
    return parse_smi(answer.stdout), said


def read(
    ask: Ask = shell.capture,
    root: Path = Path("/"),
    which: Callable[[str], str | None] = shutil.which,
) -> Host:
    """Ask this machine. root: where its file system starts, for tests."""
    smi = which("nvidia-smi") or _existing(root / WSL_SMI)
    cards, said = ask_smi(ask, (smi,)) if smi else ((), "")
    loaded = _text(root / "sys/module/nvidia/version")
    return Host(
        loaded=loaded or module_version(_text(root / "proc/driver/nvidia/version")),
        on_disk=_on_disk(ask, which, root),
        smi=said,
        smi_found=bool(smi),
        cards=cards,
        wsl=(root / "dev/dxg").exists() or "microsoft" in _text(root / "proc/version").lower(),
        tegra=(root / "etc/nv_tegra_release").exists(),
        devices=_devices(root / "dev"),
        tools=tuple(name for name in TOOLS if which(name)),
    )


def _on_disk(ask: Ask, which: Callable[[str], str | None], root: Path) -> str:
    # An ordinary user's PATH often lacks sbin.
    modinfo = which("modinfo") or _existing(root / "sbin/modinfo")
    answer = ask((modinfo, "-F", "version", "nvidia"), timeout_s=5) if modinfo else None
    return answer.stdout.strip() if answer and answer.ok else ""


def _devices(dev: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (*dev.glob("nvidia*"), *dev.glob("dxg"))))


def _existing(path: Path) -> str:
    return str(path) if path.exists() else ""


def _text(path: Path) -> str:
    """A file's text, "" where it is not or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
