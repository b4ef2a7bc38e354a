"""The doctor's checks of this machine and this clone: facts in, findings out.

Each check is small and pure. A fix is what to type; where there is nothing to do, it says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.filesize import decimal

from labcrate.clone.index_logins import without_login
from labcrate.clone.ports import names_this_machine
from labcrate.doctor.facts import Disk, Facts
from labcrate.doctor.findings import Finding, Severity
from labcrate.known import fix_text
from labcrate.lab.compose import JUPYTER

IMAGE_BYTES = 7 * 10**9
"""Size of JupyterLab's image with CUDA, for a lab that has none yet."""

SMALL_IMAGE_BYTES = 5 * 10**8
"""Size of another service's image, for one that has none yet: TensorBoard's is 300 MB."""

SPARE_BYTES = 10**9
"""What a lab with nothing to build needs: logs, checkpoints, what kernels write."""

CLOCK_S = 30.0
"""Certificates and package lists tolerate minutes. A clock that is off by this much follows no
time server any more."""

DAY_S = 24 * 3600

MIN_MEMORY = 4 * 10**9
MIN_AVAILABLE = 10**9

PRIVATE_BITS = 0o077


def check_env(facts: Facts) -> Iterator[Finding]:
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


def check_clone(facts: Facts) -> Iterator[Finding]:
    if facts.read_only:
        yield Finding(
            severity="error",
            check="clone",
            problem=f"this clone is on a read-only file system: {facts.clone.root}",
            fix="clone it to a place that you can write to",
        )


def check_ports(facts: Facts) -> Iterator[Finding]:
    """Without the engine's list nobody knows who has a port: perhaps it is the lab itself."""
    severity: Severity = "error" if facts.lab.listed else "warning"
    for problem in facts.lab.held:
        yield Finding(severity=severity, check="ports", problem=problem.text, fix=problem.fix)


def check_disk(facts: Facts) -> Iterator[Finding]:
    for place in facts.disks:
        is_own = place.what == "your folders"
        need = SPARE_BYTES if is_own else build_bytes(facts)
        if place.free < need:
            yield _too_full(place, need, is_own=is_own, built=bool(facts.lab.images))


def _too_full(place: Disk, need: int, *, is_own: bool, built: bool) -> Finding:
    runs_on = is_own or (built and place.free > SPARE_BYTES)
    return Finding(
        severity="warning" if runs_on else "error",
        check="disk",
        problem=f"only {decimal(place.free)} are free for {place.what} ({place.path}); "
        f"{decimal(need)} are needed",
        fix="free some space on that disk, or set ROOT_DIR in .env to a folder on another one"
        if is_own
        else "docker system df; invoke clean --cache (or move data-root to another disk)",
    )


def build_bytes(facts: Facts) -> int:
    """Bytes that the engine needs for what is not built yet, or is stale.

    A rebuild holds the old image, the new one and its build steps at the same time.
    """
    lab = facts.lab
    if facts.settings is None:
        return 2 * IMAGE_BYTES
    known = {} if lab.images is None else {name: one.size for name, one in lab.images.items()}
    usual = dict.fromkeys(lab.stale, SMALL_IMAGE_BYTES) | {JUPYTER: IMAGE_BYTES}
    sizes = [max(known.get(name, 0), usual[name]) for name in lab.stale]
    return max([SPARE_BYTES, *(2 * size for size in sizes)])


def check_memory(facts: Facts) -> Iterator[Finding]:
    total = int(facts.info.get("MemTotal") or 0)
    if 0 < total < MIN_MEMORY:
        yield Finding(
            severity="warning",
            check="memory",
            problem=f"the engine's machine has {decimal(total)} of memory; PyTorch needs 4 GB",
            fix="give the machine more (WSL: memory= in .wslconfig), or use small batches",
        )
    if facts.available is not None and facts.available < MIN_AVAILABLE:
        yield Finding(
            severity="warning",
            check="memory",
            problem=f"only {decimal(facts.available)} of memory are free on this machine",
            fix="shut down idle kernels (JupyterLab: Running), or stop other programs",
        )


def check_clock(facts: Facts) -> Iterator[Finding]:
    fix = "sudo timedatectl set-ntp true, or sudo hwclock -s (WSL: wsl --shutdown in Windows)"
    if abs(facts.skew_s) > CLOCK_S:
        side = "ahead of" if facts.skew_s > 0 else "behind"
        yield Finding(
            severity="warning",
            check="clock",
            problem=f"the engine's clock is {abs(facts.skew_s):.0f} s {side} this machine's",
            fix=fix,
        )
    if facts.files_ahead_s > DAY_S:
        yield Finding(
            severity="warning",
            check="clock",
            problem="this machine's clock shows a time before the day that this clone was made",
            fix=fix,
        )


def check_proxy(facts: Facts) -> Iterator[Finding]:
    """What a company's network needs: the proxy, and the authority that signs for it."""
    authorities = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
    named = {name: facts.environ[name] for name in authorities if facts.environ.get(name)}
    for name, path in named.items():
        if path in facts.missing_bundles:
            yield Finding(
                severity="error",
                check="proxy",
                problem=f"{name} names a file that does not exist: {path}",
                fix=f"unset {name}, or set it to the bundle with your network's authority",
            )
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
    proxies = [name for name in names if facts.environ.get(name)]
    if proxies:
        yield from _proxy_notes(facts, proxies[0], named=bool(named))
    inside = [name for name in proxies if names_this_machine(facts.environ[name])]
    if inside:
        address = without_login(facts.environ[inside[0]])
        yield Finding(
            severity="error",
            check="proxy",
            problem=f"{', '.join(inside)} ({address}) is this machine's loopback, which in a build "
            "or a notebook is the container itself",
            fix=fix_text("reach-proxy"),
        )
    if facts.settings and not facts.ca_there:
        yield Finding(
            severity="warning",
            check="proxy",
            problem="the lab does not have this host's package settings yet (.labcrate/ca.pem)",
            fix="invoke setup",
        )


def _proxy_notes(facts: Facts, proxy: str, *, named: bool) -> Iterator[Finding]:
    if not named:
        yield Finding(
            severity="info",
            check="proxy",
            problem=f"{proxy} is set, but no certificate authority beside the system's",
            fix="if builds say `certificate verify failed`: set SSL_CERT_FILE, then: invoke setup",
        )
    if facts.engine and not (facts.engine.proxy or facts.engine.desktop):
        yield Finding(
            severity="info",
            check="proxy",
            problem=f"{proxy} is set here, but the engine has no proxy for pulling images",
            fix='if pulls fail: set "proxies" in /etc/docker/daemon.json, and restart the engine',
        )
