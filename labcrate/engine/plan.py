"""What to install for a container engine, from the distribution's own packages alone."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path("/etc/apt/sources.list.d/labcrate-forky.sources")
PIN = Path("/etc/apt/preferences.d/labcrate-forky")
FIRST_WITH_BUILDX = 13
"""The first Debian whose own packages have Engine, Compose v2 and Buildx."""

FORKY = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd")
"""Debian 12's own docker.io is 20.10 without Compose v2 or Buildx. These five packages of the
next release need only libc 2.34, so they install beside Debian 12's own runc and iptables."""

FORKY_PIN = f"""\
Package: *
Pin: release n=forky
Pin-Priority: 50

Package: {" ".join(FORKY)}
Pin: release n=forky
Pin-Priority: 500
"""
"""Nothing else of that release is installed, and these five get its updates: apt never upgrades to
a version whose priority is below 100, which is what an installed package has (apt_preferences(5)).
"""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a plan: a command, or a file to write."""

    argv: tuple[str, ...] = ()
    path: Path | None = None
    text: str = ""

    def describe(self) -> str:
        return " ".join(self.argv) if self.path is None else f"write {self.path}"


def read_os_release() -> Mapping[str, str]:
    """What this host's distribution says of itself; nothing where it says nothing."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def apt_mirror(sources: str, distribution: str) -> str | None:
    """The mirror that the host's own apt uses for its own distribution.

    sources: the joined text of the host's source files, one-line or deb822 style.
    """
    deb822: list[str] = re.findall(r"^URIs:\s*(\S+)", sources, re.MULTILINE)
    one_line: list[str] = re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)", sources, re.MULTILINE)
    found = [uri for uri in (*deb822, *one_line) if "security" not in uri]
    # Ubuntu's packages for arm64 are on ports.ubuntu.com/ubuntu-ports.
    ends = (f"/{distribution}", f"/{distribution}-ports")
    named = [uri for uri in found if uri.rstrip("/").endswith(ends)]
    return named[0] if named else None


def read_apt_sources() -> str:
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list"))]
    files += sorted(folder.glob("*.sources"))
    return "\n".join(path.read_text() for path in files if path.is_file())


def install_plan(release: Mapping[str, str], mirror: str | None) -> tuple[Step, ...] | None:
    """The steps that install Engine, Compose and Buildx, or None for an unknown distribution."""
    install = ("apt-get", "install", "--yes", "--no-install-recommends")
    update = Step(argv=("apt-get", "update"))
    match release.get("ID"), release.get("VERSION_ID", ""):
        case "debian", "12" if mirror:
            deb822 = (
                f"Types: deb\nURIs: {mirror}\nSuites: forky\nComponents: main\n"
                "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            )
            named = tuple(f"{name}/forky" for name in FORKY)
            return (
                Step(path=SOURCES, text=deb822),
                Step(path=PIN, text=FORKY_PIN),
                update,
                Step(argv=(*install, "iptables", "ca-certificates", *named)),
            )
        case "debian", version if version.isdigit() and int(version) >= FIRST_WITH_BUILDX:
            names = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables")
            return (update, Step(argv=(*install, *names)))
        case "ubuntu", _:
            ubuntu = ("docker.io", "docker-buildx", "docker-compose-v2", "iptables")
            return (update, Step(argv=(*install, *ubuntu)))
        case _:
            return None


def older_pin() -> Step | None:
    """The pin of an earlier version of the lab, which held security updates back, as it should be.

    None where there is none.
    """
    if not PIN.is_file() or PIN.read_text() == FORKY_PIN:
        return None
    return Step(path=PIN, text=FORKY_PIN)


def update_command() -> str:
    """What brings updates of the engine's packages, as of every other package."""
    return "sudo apt-get update && sudo apt-get upgrade"
