"""Make the host ready: a container engine from the distribution's own packages, started."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from labcrate import environment, output, process
from labcrate.clone.place import find_clone
from labcrate.engine.client import chosen_context, plugin_trouble
from labcrate.engine.endpoint import endpoint, leads_away
from labcrate.engine.engine import Engine, find_engine, require_engine
from labcrate.engine.membership import GROUP
from labcrate.engine.plan import (
    Step,
    apt_mirror,
    install_plan,
    older_pin,
    read_apt_sources,
    read_os_release,
    update_command,
)
from labcrate.engine.podman import NotDocker
from labcrate.engine.sight import refuse_unseen
from labcrate.errors import Code, LabError

Confirm = Callable[[str], bool]
"""Asks the user; True: agreed."""

DOCKERD_LOG = Path("/var/log/labcrate-dockerd.log")
DOCKERD_START_S = 60.0
"""The engine answers in 2-5 s on a warm disk; a first start on a slow one creates its store."""


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
    if leads_away(endpoint()):
        refuse_unseen(find_clone())
    try:
        found = require_engine(find_engine())
        output.setup_row("engine", f"already runs: {describe_engine(found)}")
        if not found.remote:
            renew_pin(confirm)
        return found
    except NotDocker:
        raise
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
    if missing:
        output.setup_row("", f"its security updates: {update_command()}")
    return found


def renew_pin(confirm: Confirm) -> None:
    """Let apt update an engine that an earlier version of the lab installed on Debian 12."""
    step = older_pin()
    if step and confirm(f"{step.path} keeps updates of the engine back. Replace it?"):
        act_on(step)
        output.setup_row("engine", f"its security updates come again: {update_command()}")
    elif step:
        output.setup_row("engine", f"{step.path} keeps its updates back: invoke setup --yes")


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
