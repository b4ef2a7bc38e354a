"""Make the host ready: a container engine from the distribution's own packages, started."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labcrate import environment, output, process
from labcrate.engine.client import chosen_context, plugin_trouble
from labcrate.engine.engine import Engine, find_engine, require_engine
from labcrate.engine.membership import GROUP
from labcrate.errors import Code, LabError

Confirm = Callable[[str], bool]
"""Asks the user; True: agreed."""

DOCKERD_LOG = Path("/var/log/labcrate-dockerd.log")
DOCKERD_START_S = 60.0
"""The engine answers in 2-5 s on a warm disk; a first start on a slow one creates its store."""

SOURCES = Path("/etc/apt/sources.list.d/labcrate-forky.sources")
PIN = Path("/etc/apt/preferences.d/labcrate-forky")
FIRST_WITH_BUILDX = 13
"""The first Debian whose own packages have Engine, Compose v2 and Buildx."""

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
        case "debian", version if version.isdigit() and int(version) >= FIRST_WITH_BUILDX:
            names = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables")
            return (update, Step(argv=(*install, *names)))
        case "ubuntu", _:
            ubuntu = ("docker.io", "docker-buildx", "docker-compose-v2", "iptables")
            return (update, Step(argv=(*install, *ubuntu)))
        case _:
            return None


def sudo() -> tuple[str, ...]:
    """The prefix for a command that needs root."""
    if environment.is_root():
        return ()
    if environment.command_path("sudo"):
        return ("sudo",)
    raise LabError(
        "this step needs root, and there is no sudo",
        fix="run the same command as root, or ask the machine's administrator",
        code=Code.CONSENT,
    )


def act_on(step: Step) -> None:
    """Carry one step of a plan out, as root."""
    prefix = sudo()
    if step.path is not None:
        done = process.change((*prefix, "tee", str(step.path)), stdin=step.text)
    else:
        noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
        done = process.stream((*prefix, *step.argv), extra_env=noninteractive)
    if not done.ok:
        raise LabError(
            f"this failed ({done.returncode}): {step.describe()}",
            fix="read the lines above; once fixed, run `invoke setup` again",
            code=Code.INSTALL,
        )


def has_systemd() -> bool:
    """Whether systemd runs this host (sd_booted(3) tests the same folder)."""
    return Path("/run/systemd/system").is_dir()


def start_engine() -> None:
    """Start the engine: by systemd, else as a daemon in a session of its own."""
    if has_systemd():
        act_on(Step(argv=("systemctl", "enable", "--now", "docker")))
    else:
        prefix = sudo()
        _clear_stale_pid(Path("/var/run/docker.pid"), prefix)
        _detach_dockerd(prefix)
    if process.is_dry():
        return
    deadline = time.monotonic() + DOCKERD_START_S
    while not engine_answers():
        if time.monotonic() > deadline:
            where = "journalctl -u docker" if has_systemd() else str(DOCKERD_LOG)
            raise LabError(
                f"the engine did not answer within {DOCKERD_START_S:g} s of its start",
                fix=f"read its log ({where}); once fixed, run `invoke setup` again",
                code=Code.ENGINE_DOWN,
            )
        time.sleep(0.2)


def _detach_dockerd(prefix: tuple[str, ...]) -> None:
    """prefix: sudo's, which asks for a password at this terminal, so it stays in this session."""
    if not prefix:
        process.detach(("dockerd",), log=DOCKERD_LOG)
        return
    script = f"setsid --fork dockerd < /dev/null >> {DOCKERD_LOG} 2>&1"
    process.change((*prefix, "sh", "-c", script))


def engine_answers() -> bool:
    """Whether the engine runs; root asks where this user may not use its socket yet."""
    asked = process.ask(("docker", "info"), timeout_s=10)
    if asked.ok or "permission denied" not in asked.text.lower():
        return asked.ok
    return process.ask((*sudo(), "docker", "info"), timeout_s=10).ok


def _clear_stale_pid(path: Path, prefix: tuple[str, ...]) -> None:
    """A dockerd that was killed leaves its pid file, and a later one refuses to start on it."""
    if not path.exists():
        return
    pid = path.read_text().strip()
    comm = Path(f"/proc/{pid}/comm")
    if not comm.exists() or comm.read_text().strip() != "dockerd":
        process.change((*prefix, "rm", "-f", str(path)), quiet=True)


def ensure_engine(confirm: Confirm) -> Engine:
    """Find the engine; install and start one where there is none."""
    try:
        found = require_engine(find_engine())
        output.setup_row("engine", f"already runs: {describe_engine(found)}")
        return found
    except LabError as error:
        hidden = error.code is Code.COMPOSE and plugin_trouble()
        if error.code is Code.ENGINE_DENIED or hidden or engine_elsewhere():
            raise
        missing = error.code is not Code.ENGINE_DOWN or not environment.command_path("dockerd")
    if missing:
        install_engine(confirm)
    if not engine_answers():
        if not missing and not confirm("Start the container engine?"):
            raise not_agreed("start the container engine (dockerd)")
        start_engine()
    if process.is_dry():
        raise LabError(
            "this dry run ends here: the next steps need the engine",
            fix="run the same command without --dry",
            code=Code.ENGINE_DOWN,
        )
    found = require_engine(find_engine())
    state = f"{'installed and ' if missing else ''}started: {describe_engine(found)}"
    output.setup_row("engine", state)
    return found


def engine_elsewhere() -> bool:
    """Whether the user points docker at an engine that this machine's packages cannot start."""
    named = environment.variable("DOCKER_HOST") or environment.variable("DOCKER_CONTEXT")
    return bool(named or (environment.command_path("docker") and chosen_context()))


def describe_engine(found: Engine) -> str:
    dotted = ".".join(map(str, found.version))
    return f"Docker {dotted}, Compose {'.'.join(map(str, found.compose))}"


def install_engine(confirm: Confirm) -> None:
    release = read_os_release()
    plan = install_plan(release, apt_mirror(read_apt_sources(), "debian"))
    if plan is None:
        raise LabError(
            f"there is no container engine, and no plan for {release.get('PRETTY_NAME', 'this')}",
            fix="install Docker Engine with Compose and Buildx, then: invoke setup",
            code=Code.ENGINE_MISSING,
        )
    if not environment.is_root():
        join = ("usermod", "--append", "--groups", GROUP, environment.user_name())
        plan = (*plan, Step(argv=join))
    steps = "\n".join(f"    {step.describe()}" for step in plan)
    if not confirm(f"No container engine here. Install it with these steps?\n{steps}\n"):
        raise not_agreed("install the container engine with:\n" + steps)
    for step in plan:
        act_on(step)


def not_agreed(what: str) -> LabError:
    return LabError(
        f"setup would {what}",
        fix="invoke setup --yes (or answer the question at a terminal)",
        code=Code.CONSENT,
    )
