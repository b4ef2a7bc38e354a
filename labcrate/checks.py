"""The doctor's checks of this machine, the engine and the lab: facts in, findings out.

Each check is small and pure. A fix is what to type; where there is nothing to do, it says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from labcrate import engine as engines
from labcrate import signatures
from labcrate.cleanup import human
from labcrate.errors import LabError
from labcrate.facts import Facts, Folder

Severity = Literal["error", "warning", "info"]

IMAGE_BYTES = 7 * 10**9
"""Size of JupyterLab's image with CUDA, for a lab that has none yet."""

MIN_BUILDX, STRICT_COMPOSE = (0, 17), (2, 40)
"""Compose 2.40.1 and newer refuse to build with an older Buildx (docker/compose#13295)."""

MIN_SHM = 10**9
"""A batch of 256 pictures of 224 x 224 is 154 MB, and each of a few workers has two under way."""

MIN_FILES = 4096
"""Each worker of a DataLoader opens some files for every batch; 1024 are known to be too few."""

CLOCK_S = 30.0
"""Certificates and package lists bear minutes; a clock that is off by this much has stopped
following anything."""

MIN_MEMORY = 4 * 10**9
PRIVATE_BITS = 0o077


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the doctor says. check: the name of the check that found it."""

    severity: Severity
    check: str
    problem: str
    fix: str


def env(facts: Facts) -> Iterator[Finding]:
    if facts.env_mode is None:
        yield Finding(
            severity="error",
            check="env",
            problem="there is no .env in this clone yet",
            fix="invoke setup",
        )
    elif facts.env_mode & PRIVATE_BITS:
        yield Finding(
            severity="error",
            check="env",
            problem=f"other users can read .env (mode {facts.env_mode:03o}), which holds the token",
            fix="chmod 600 .env",
        )
    for problem in facts.env_problems:
        yield Finding(severity="error", check="env", problem=problem.text, fix=problem.fix)


def clone(facts: Facts) -> Iterator[Finding]:
    if facts.read_only:
        yield Finding(
            severity="error",
            check="clone",
            problem=f"this clone is on a read-only file system: {facts.clone}",
            fix="clone it to a place that you can write to",
        )


def folders(facts: Facts) -> Iterator[Finding]:
    """The lab's user must be able to write into the four folders, and to change what is in them."""
    missing = [folder.path.name for folder in facts.folders if not folder.exists]
    if missing:
        yield Finding(
            severity="error",
            check="folders",
            problem=f"folders of the lab are missing: {', '.join(missing)}",
            fix="invoke setup (makes them)",
        )
    known = facts.settings
    if known is None:
        return
    closed = [f for f in facts.folders if f.exists and not opens(f, known.uid, known.gid)]
    strange = [name for folder in facts.folders for name in folder.strangers]
    chown = f"sudo chown -R {known.uid}:{known.gid} "
    for folder in closed:
        yield Finding(
            severity="error",
            check="folders",
            problem=f"{folder.path.name}/ belongs to {owner(folder.uid)}, and the lab's user "
            f"({known.uid}) may not write there",
            fix=chown + f"'{folder.path}'",
        )
    if strange:
        tops = sorted({str(f.path) for f in facts.folders if f.strangers})
        yield Finding(
            severity="warning",
            check="folders",
            problem=f"files belong to another user than the lab's ({known.uid}): "
            f"{', '.join(strange[:3])}",
            fix=chown + " ".join(f"'{top}'" for top in tops),
        )


def opens(folder: Folder, uid: int, gid: int) -> bool:
    """Whether a user may make files there; the supplementary groups of a container are none."""
    bits = 6 if folder.uid == uid else 3 if folder.gid == gid else 0
    return uid == 0 or folder.mode >> bits & 0o3 == 0o3


def owner(uid: int) -> str:
    return "root" if uid == 0 else f"uid {uid}"


def ports(facts: Facts) -> Iterator[Finding]:
    """Without the engine nobody knows whose container holds a port: perhaps it is the lab's."""
    severity: Severity = "error" if facts.engine else "warning"
    for problem in facts.held:
        yield Finding(severity=severity, check="ports", problem=problem.text, fix=problem.fix)


def engine(facts: Facts) -> Iterator[Finding]:
    """The engine answers, and it and its plugins are new enough."""
    if facts.refusal:
        why = f" ({facts.refusal.why})" if facts.refusal.why else ""
        yield Finding(
            severity="error",
            check="engine",
            problem=facts.refusal.problem + why,
            fix=facts.refusal.fix,
        )
    if facts.engine is None:
        return
    try:
        engines.require(facts.engine)
    except LabError as error:
        yield Finding(severity="error", check="engine", problem=error.problem, fix=error.fix)
    strict = facts.engine.compose >= STRICT_COMPOSE
    if facts.buildx == (0, 0) or (strict and facts.buildx < MIN_BUILDX):
        state = "missing" if facts.buildx == (0, 0) else "older than this Compose builds with"
        yield Finding(
            severity="error",
            check="engine",
            problem=f"Docker Buildx is {state}",
            fix="invoke setup (or install the package docker-buildx / docker-buildx-plugin)",
        )


def kind(facts: Facts) -> Iterator[Finding]:
    """Engines that are not a plain Docker Engine on this machine."""
    found = facts.engine
    if found is None:
        return
    sayings: list[tuple[bool, Severity, str, str]] = [
        (
            found.podman,
            "error",
            "`docker` is Podman here, which leaves out GPU requests and health checks of Compose",
            "sudo apt-get remove podman-docker, then: invoke setup (installs Docker Engine)",
        ),
        (
            found.snap,
            "warning",
            "docker comes from a snap: it sees no folders outside /home, and no GPU toolkit",
            "sudo snap remove docker, then: invoke setup",
        ),
        (
            found.desktop and not found.wsl,
            "warning",
            "Docker Desktop runs containers in a virtual machine, which gets no GPU of this one",
            "docker context use default (with Docker Engine installed: invoke setup)",
        ),
        (
            found.rootless,
            "warning",
            "the engine is rootless: the lab's user becomes a sub-uid of yours, so files it writes "
            "are not yours",
            "use the system's engine: docker context use default (and unset DOCKER_HOST)",
        ),
        (
            "userns" in found.security,
            "warning",
            "the engine remaps users (userns-remap), so files the lab writes are not yours",
            'take "userns-remap" out of /etc/docker/daemon.json, and restart the engine',
        ),
        (
            "selinux" in found.security,
            "warning",
            "SELinux is on in the engine: folders without its label are closed to containers",
            "sudo chcon -R -t container_file_t notebooks runs data models .labcrate",
        ),
        (
            found.wsl,
            "info",
            "this is WSL 2: containers get all GPUs or none, and the Windows driver",
            "nothing to do; keep the clone in the Linux file system, not below /mnt/c",
        ),
    ]
    for true, severity, problem, fix in sayings:
        if true:
            yield Finding(severity=severity, check="kind", problem=problem, fix=fix)


def where(facts: Facts) -> Iterator[Finding]:
    """The engine that `docker` talks to may not be this machine's."""
    found = facts.engine
    if found is None:
        return
    chosen = (
        "DOCKER_HOST" if facts.environ.get("DOCKER_HOST") else f"the docker context {found.context}"
    )
    if found.remote:
        yield Finding(
            severity="warning",
            check="where",
            problem=f"the engine is on another machine ({found.host}, by {chosen}): the lab's "
            "folders and ports would be that machine's",
            fix="docker context use default and unset DOCKER_HOST, or clone the lab over there",
        )
    elif found.context != "default" or "DOCKER_HOST" in chosen:
        yield Finding(
            severity="info",
            check="where",
            problem=f"docker talks to {found.host}, by {chosen}",
            fix="nothing to do, if that is the engine you mean (docker context ls)",
        )


def disk(facts: Facts) -> Iterator[Finding]:
    """A rebuild holds the old image, the new one and its build steps at the same time."""
    size = max([IMAGE_BYTES, *(image.size for image in facts.images)])
    for place in facts.disks:
        mine = place.what == "your folders"
        need = 10**9 if mine else 2 * size
        if place.free >= need:
            continue
        built = bool(facts.images)
        short: Severity = "warning" if mine or (built and place.free > 10**9) else "error"
        yield Finding(
            severity=short,
            check="disk",
            problem=f"{human(place.free)} are free for {place.what} ({place.path}); "
            f"{human(need)} are wanted",
            fix="free some on that disk, or set ROOT_DIR in .env to a folder on another one"
            if mine
            else "docker system df; invoke clean --cache (or move data-root to another disk)",
        )


def memory(facts: Facts) -> Iterator[Finding]:
    total = int(facts.info.get("MemTotal") or 0)
    if 0 < total < MIN_MEMORY:
        yield Finding(
            severity="warning",
            check="memory",
            problem=f"the engine's machine has {human(total)} of memory; PyTorch wants 4 GB",
            fix="give the machine more (WSL: memory= in .wslconfig), or use small batches",
        )
    if facts.available is not None and facts.available < 10**9:
        yield Finding(
            severity="warning",
            check="memory",
            problem=f"only {human(facts.available)} of memory are free on this machine",
            fix="shut down kernels that idle (JupyterLab: Running), or other programs",
        )


def clock(facts: Facts) -> Iterator[Finding]:
    fix = "sudo timedatectl set-ntp true, or sudo hwclock -s (WSL: wsl --shutdown in Windows)"
    if abs(facts.skew_s) > CLOCK_S:
        side = "ahead of" if facts.skew_s > 0 else "behind"
        yield Finding(
            severity="warning",
            check="clock",
            problem=f"the engine's clock is {abs(facts.skew_s):.0f} s {side} this machine's",
            fix=fix,
        )
    if facts.files_ahead_s > 24 * 3600:
        yield Finding(
            severity="warning",
            check="clock",
            problem="this machine's clock is before the day that this clone was made",
            fix=fix,
        )


def proxy(facts: Facts) -> Iterator[Finding]:
    """What a company's network needs: the proxy, and the authority that signs for it."""
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
    proxies = [name for name in names if facts.environ.get(name)]
    authorities = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
    named = {name: facts.environ[name] for name in authorities if facts.environ.get(name)}
    lost = [name for name, path in named.items() if path in facts.missing_bundles]
    for name in lost:
        yield Finding(
            severity="error",
            check="proxy",
            problem=f"{name} names a file that is not there: {named[name]}",
            fix=f"unset {name}, or let it name the bundle that has your network's authority",
        )
    if proxies and not named:
        yield Finding(
            severity="info",
            check="proxy",
            problem=f"{proxies[0]} is set, and no certificate authority beside the system's",
            fix="if builds say `certificate verify failed`: set SSL_CERT_FILE, then invoke setup",
        )
    if proxies and facts.engine and not (facts.engine.proxy or facts.engine.desktop):
        yield Finding(
            severity="info",
            check="proxy",
            problem=f"{proxies[0]} is set here, and the engine has no proxy for pulling images",
            fix='if pulls fail: set "proxies" in /etc/docker/daemon.json, and restart the engine',
        )
    if facts.settings and not facts.ca_there:
        yield Finding(
            severity="warning",
            check="proxy",
            problem="this host's package settings are not taken over yet (.labcrate/ca.pem)",
            fix="invoke setup",
        )


def images(facts: Facts) -> Iterator[Finding]:
    if facts.engine is None or facts.settings is None:
        return
    if len(facts.images) < 2:
        yield Finding(
            severity="info",
            check="images",
            problem="the lab's images are not built yet",
            fix="invoke up (builds and starts)",
        )
    elif facts.stale:
        yield Finding(
            severity="warning",
            check="images",
            problem="the images are older than the files in docker/ or the settings in .env",
            fix="invoke up",
        )


def health(facts: Facts) -> Iterator[Finding]:
    """Each service runs and answers; a lab that is down is no fault."""
    for one in facts.containers:
        logs = f"invoke logs --service {one.service}"
        if one.oom:
            yield Finding(
                severity="error",
                check="health",
                problem=f"{one.service} was killed: it took more memory than it may",
                fix="raise MEMORY_LIMIT in .env (0: no limit), then: invoke down up",
            )
        elif one.status != "running":
            code = f" with status {one.exit_code}" if one.status == "exited" else ""
            yield Finding(
                severity="error",
                check="health",
                problem=f"{one.service} is {one.status}{code}",
                fix=f"{logs} tells why; then: invoke up",
            )
        elif one.health == "unhealthy":
            yield Finding(
                severity="error",
                check="health",
                problem=f"{one.service} runs and does not answer",
                fix=f"{logs} tells why; then: invoke down up",
            )
        elif one.restarts:
            yield Finding(
                severity="warning",
                check="health",
                problem=f"{one.service} ended and was started anew {one.restarts} times",
                fix=f"{logs} tells why",
            )


def limits(facts: Facts) -> Iterator[Finding]:
    """Shared memory and open files of the running JupyterLab, which DataLoader workers need."""
    for one in facts.containers:
        if one.service != "jupyter" or one.status != "running":
            continue
        if one.shm < MIN_SHM and one.ipc != "host":
            yield Finding(
                severity="warning",
                check="limits",
                problem=f"shared memory is {human(one.shm)}: workers of a DataLoader may die",
                fix="set SHM_SIZE=8g in .env, then: invoke down up",
            )
        nofile = re.match(r"\d+", one.inside)
        if nofile and int(nofile[0]) < MIN_FILES:
            yield Finding(
                severity="warning",
                check="limits",
                problem=f"a process in the lab may open {nofile[0]} files: few for many workers",
                fix='set "default-ulimits" (nofile) in /etc/docker/daemon.json, restart the engine',
            )


def moved(facts: Facts) -> Iterator[Finding]:
    expected = str(facts.clone / "compose")
    other = {one.folder for one in facts.containers if one.folder} - {expected}
    if other:
        yield Finding(
            severity="warning",
            check="moved",
            problem=f"the running lab was started from another place: {', '.join(sorted(other))}",
            fix="invoke up (starts it from here)",
        )


def logs(facts: Facts) -> Iterator[Finding]:
    """Known failures in what the services said last."""
    for one in facts.containers:
        for known in signatures.every(one.logs, "lab"):
            yield Finding(
                severity="warning",
                check="logs",
                problem=f"{one.service} said: {known.line[:160]}\n{known.problem}",
                fix=known.fix,
            )
