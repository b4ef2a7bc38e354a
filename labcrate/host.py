"""Make the host ready: a container engine from the distribution's own packages, started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labcrate import shell
from labcrate.errors import Code, LabError

DOCKERD_LOG = Path("/var/log/labcrate-dockerd.log")
DOCKERD_START_S = 60.0
"""The engine answers in 2-5 s on a warm disk; a first start on a slow one creates its store."""

SOURCES = Path("/etc/apt/sources.list.d/labcrate-forky.sources")
PIN = Path("/etc/apt/preferences.d/labcrate-forky")
FORKY = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd")
"""Debian 12's own docker.io is 20.10 without Compose v2 or Buildx. These five packages of the
next release need only libc 2.34, so they install beside Debian 12's own runc and iptables."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a plan: a command, or a file to write."""

    argv: tuple[str, ...] = ()
    path: Path | None = None
    text: str = ""

    def describe(self) -> str:
        return " ".join(self.argv) if self.path is None else f"write {self.path}"


def os_release(text: str) -> dict[str, str]:
    """Parse /etc/os-release."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def read_os_release() -> dict[str, str]:
    path = Path("/etc/os-release")
    return os_release(path.read_text()) if path.exists() else {}


def apt_mirror(sources: str, distribution: str) -> str | None:
    """The mirror that the host's own apt uses for its own distribution.

    sources: the joined text of the host's source files, one-line or deb822 style.
    """
    deb822: list[str] = re.findall(r"^URIs:\s*(\S+)", sources, re.MULTILINE)
    one_line: list[str] = re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)", sources, re.MULTILINE)
    found = [uri for uri in (*deb822, *one_line) if "security" not in uri]
    named = [uri for uri in found if uri.rstrip("/").endswith(f"/{distribution}")]
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
            pin = "Package: *\nPin: release n=forky\nPin-Priority: 50\n"
            named = tuple(f"{name}/forky" for name in FORKY)
            return (
                Step(path=SOURCES, text=deb822),
                Step(path=PIN, text=pin),
                update,
                Step(argv=(*install, "iptables", "ca-certificates", *named)),
            )
        case "debian", version if version.isdigit() and int(version) >= 13:
            names = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables")
            return (update, Step(argv=(*install, *names)))
        case "ubuntu", _:
            ubuntu = ("docker.io", "docker-buildx", "docker-compose-v2", "iptables")
            return (update, Step(argv=(*install, *ubuntu)))
        case _:
            return None


def sudo() -> tuple[str, ...]:
    """The prefix for a command that needs root."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo"):
        return ("sudo",)
    raise LabError(
        "this step needs root, and there is no sudo",
        fix="run the same command as root, or ask the machine's administrator",
        code=Code.CONSENT,
    )


def act(step: Step) -> None:
    """Carry one step of a plan out, as root."""
    prefix = sudo()
    if step.path is not None:
        shell.echo((*prefix, "tee", str(step.path)))
        done = shell.capture((*prefix, "tee", str(step.path)), stdin=step.text)
    else:
        done = shell.stream((*prefix, *step.argv), extra_env={"DEBIAN_FRONTEND": "noninteractive"})
    if not done.ok:
        raise LabError(
            f"this failed ({done.returncode}): {step.describe()}",
            fix="read the lines above; once mended, run `invoke setup` again",
            code=Code.INSTALL,
        )


def has_systemd() -> bool:
    """Whether systemd runs this host (sd_booted(3) tests the same folder)."""
    return Path("/run/systemd/system").is_dir()


def start_engine() -> None:
    """Start the engine: by systemd, else as a daemon in a session of its own."""
    if has_systemd():
        act(Step(argv=("systemctl", "enable", "--now", "docker")))
    else:
        prefix = sudo()
        shell.echo((*prefix, "dockerd"))
        _clear_stale_pid(Path("/var/run/docker.pid"), prefix)
        log = DOCKERD_LOG.open("ab") if not prefix else subprocess.DEVNULL
        subprocess.Popen(
            [*prefix, "dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + DOCKERD_START_S
    while not shell.capture(("docker", "info"), timeout_s=10).ok:
        if time.monotonic() > deadline:
            where = "journalctl -u docker" if has_systemd() else str(DOCKERD_LOG)
            raise LabError(
                f"the engine did not answer within {DOCKERD_START_S:g} s of its start",
                fix=f"read its log ({where}); once mended, run `invoke setup` again",
                code=Code.ENGINE_DOWN,
            )
        time.sleep(0.2)


def _clear_stale_pid(path: Path, prefix: tuple[str, ...]) -> None:
    """A dockerd that was killed leaves its pid file, and a later one refuses to start on it."""
    if not path.exists():
        return
    pid = path.read_text().strip()
    comm = Path(f"/proc/{pid}/comm")
    if not comm.exists() or comm.read_text().strip() != "dockerd":
        shell.capture((*prefix, "rm", "-f", str(path)))
