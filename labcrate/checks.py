"""The doctor's checks of this machine and this clone: facts in, findings out.

Each check is small and pure. A fix is what to type; where there is nothing to do, it says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from labcrate.cleanup import human
from labcrate.facts import Facts, Folder

Severity = Literal["error", "warning", "info"]

IMAGE_BYTES = 7 * 10**9
"""Size of JupyterLab's image with CUDA, for a lab that has none yet."""

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
