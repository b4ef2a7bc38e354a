"""The doctor's checks of the way from an NVIDIA card to a kernel: card, driver, toolkit, engine,
build of PyTorch, container. Pure functions of the facts, in the order in which a GPU gets lost."""

from __future__ import annotations

from collections.abc import Iterator

from labcrate import gpu, pytorch, signatures
from labcrate.checks import Finding, Severity
from labcrate.engine import Engine
from labcrate.errors import LabError
from labcrate.facts import Facts
from labcrate.gpu import Choice, Missing
from labcrate.nvidia import Card, Host, version
from labcrate.signatures import REFRESH_CDI

INSTALL_DRIVER = (
    "install NVIDIA's driver, 580 or newer (Debian: the package nvidia-driver; Ubuntu: sudo "
    "ubuntu-drivers install), and reboot"
)
CDI_BY_DEFAULT = (28, 2)
"""Engine 28.2 is the first that reads CDI specifications without being told to."""


def finding(check: str, severity: Severity, problem: str, fix: str) -> Finding:
    return Finding(severity=severity, check=check, problem=problem, fix=fix)


def weight(facts: Facts) -> Severity:
    """How much a lost GPU matters: not at all to whoever does not want one."""
    return "info" if facts.settings and facts.settings.gpu == "off" else "error"


def here(facts: Facts) -> Host:
    """The machine that the engine runs on, as far as it is this one."""
    return Host() if facts.engine and facts.engine.remote else facts.host


def present(facts: Facts) -> bool:
    """Whether there is an NVIDIA GPU, seen from any side."""
    host = here(facts)
    remote = facts.engine is not None and facts.engine.remote
    in_wsl = host.wsl and host.smi_found
    return bool(host.cards or host.loaded or host.tegra or in_wsl or (facts.pci and not remote))


def works(host: Host) -> bool:
    """Whether the driver answers, so that what is lost is lost behind it."""
    return bool(host.loaded or host.cards or host.tegra) and not host.smi


def cards(facts: Facts) -> tuple[Card, ...]:
    """The cards that the lab would get."""
    devices = facts.settings.gpu_devices if facts.settings else "all"
    return gpu.selected(here(facts).cards, gpu.wanted(devices))


def arm(facts: Facts) -> bool:
    return facts.engine is not None and facts.engine.architecture in ("aarch64", "arm64")


def card(facts: Facts) -> Iterator[Finding]:
    remote = facts.engine is not None and facts.engine.remote
    if present(facts) or remote:
        return
    if facts.settings and facts.settings.gpu == "on":
        told = "GPU=on in .env, and this machine has no NVIDIA card"
        yield finding("card", "error", told, "set GPU=auto in .env")
    else:
        told = "no NVIDIA card: the lab runs on the CPU"
        yield finding("card", "info", told, "nothing to do")


def driver(facts: Facts) -> Iterator[Finding]:
    """The kernel has a driver for the card, and the installed tools fit it."""
    host, severity = here(facts), weight(facts)
    if not present(facts):
        return
    if not (host.loaded or host.cards or host.tegra or host.wsl):
        yield _no_driver(facts, severity)
    elif "mismatch" in host.smi.lower():
        versions = f" ({host.loaded} runs, {host.on_disk} is installed)" if host.on_disk else ""
        told = f"the NVIDIA driver was upgraded, and the old one is still loaded{versions}"
        yield finding("driver", severity, told, "sudo reboot")
    elif host.smi:
        known = signatures.first(host.smi, "host")
        told = known.problem if known else f"nvidia-smi fails: {host.smi.splitlines()[0]}"
        fix = known.fix if known else "sudo dmesg | grep -i nvrm (the driver's own words)"
        yield finding("driver", severity, told, fix)
    elif host.on_disk and host.loaded and host.on_disk != host.loaded:
        told = f"the next boot loads the NVIDIA driver {host.on_disk}; {host.loaded} runs now"
        yield finding("driver", "warning", told, "sudo reboot, before the tools stop to fit it")
    elif not host.smi_found and not host.tegra:
        told = f"the driver {host.loaded} is loaded, and nvidia-smi is missing: cards are unknown"
        fix = "install it (Debian: nvidia-smi; Ubuntu: nvidia-utils of the driver's number)"
        yield finding("driver", "warning", told, fix)


def _no_driver(facts: Facts, severity: Severity) -> Finding:
    held = sorted({device.driver for device in facts.pci} - {""})
    if "vfio-pci" in held:
        told = "the NVIDIA card is set apart for a virtual machine (vfio-pci)"
        fix = "use the lab inside that machine, or give the card back to this one's driver"
    elif facts.host.smi_found or facts.host.on_disk:
        told = "the NVIDIA driver is installed and not loaded"
        fix = (
            "sudo modprobe nvidia (if that fails: reinstall the driver with the headers of "
            "`uname -r`; with Secure Boot its key must be enrolled)"
        )
    else:
        instead = f" ({', '.join(held)} drives it, which has no CUDA)" if held else ""
        told = f"there is an NVIDIA card and no NVIDIA driver{instead}"
        fix = INSTALL_DRIVER
    return finding("driver", severity, told, fix)


def build(facts: Facts) -> Iterator[Finding]:
    """Some build of PyTorch suits driver and cards, and the one in the image is such."""
    host, severity = here(facts), weight(facts)
    mine = cards(facts)
    if not (mine and host.driver and works(host)):
        return
    setting = facts.settings.torch_backend if facts.settings else "auto"
    try:
        best = pytorch.choose(
            "auto",
            gpu=True,
            cards=mine,
            driver=host.driver,
            image="",
            index_answers=lambda: True,
            arm=arm(facts),
        ).backend
    except LabError as error:
        yield finding("build", severity, error.problem, error.fix)
        return
    image = next((one.backend for one in facts.images if one.service == "jupyter"), "")
    held = setting if setting != "auto" else image
    fix = f"set TORCH_BACKEND=auto in .env (it takes {best}), then: invoke up"
    if held == "cpu":
        told = "the image's PyTorch is the build for CPUs: the GPU stays idle"
        yield finding("build", "warning" if severity == "error" else "info", told, fix)
    elif (needs := pytorch.NEEDS.get(held)) is not None:
        unfit = [c.name for c in mine if not needs.takes_card(c, arm(facts))]
        if not needs.takes_driver(host.driver):
            told = f"PyTorch's build {held} ({needs.cuda}) needs a newer driver than {host.driver}"
            yield finding("build", severity, told, fix)
        elif unfit:
            told = f"PyTorch's build {held} ({needs.cuda}) has no kernels for {', '.join(unfit)}"
            yield finding("build", severity, told, fix)
    if version(host.driver) < pytorch.CUDA_13.driver:
        told = f"the driver {host.driver} runs CUDA 12 and no CUDA 13: the lab takes {best}"
        yield finding("build", "info", told, "nothing to do; driver 580 or newer runs CUDA 13")


def way(facts: Facts) -> Iterator[Finding]:
    """The engine hands the GPU to containers: the same judgement as `invoke up` makes."""
    engine, host = facts.engine, here(facts)
    if engine is None or not (works(host) or engine.remote):
        return
    found = gpu.offer(engine, host)
    if isinstance(found, Missing):
        wanted = facts.settings is not None and facts.settings.gpu == "on"
        severity = "info" if engine.remote and not wanted else weight(facts)
        yield finding("way", severity, f"no GPU reaches containers: {found.why}", found.fix)
        return
    try:
        choice = _choice(facts, engine, host)
    except LabError as error:
        yield finding("way", weight(facts), error.problem, error.fix)
        return
    yield finding("way", "info", f"containers get {choice.line}", "nothing to do")


def _choice(facts: Facts, engine: Engine, host: Host) -> Choice:
    devices = facts.settings.gpu_devices if facts.settings else "all"
    return gpu.choose("auto", gpu.wanted(devices), engine, host)


def cdi(facts: Facts) -> Iterator[Finding]:
    """A CDI specification is a list of files: it gets old as the driver changes."""
    loaded = here(facts).loaded
    if facts.engine and facts.engine.remote:
        return
    for spec in facts.specs:
        if loaded and spec.versions and loaded not in spec.versions:
            told = f"{spec.path} is for driver {', '.join(spec.versions)}, and {loaded} runs"
            yield finding("cdi", weight(facts), told, REFRESH_CDI)
        elif spec.gone:
            told = f"{spec.path} names devices that are not there: {', '.join(spec.gone)}"
            yield finding("cdi", weight(facts), told, REFRESH_CDI)
    homes = sorted({spec.path for spec in facts.specs})
    if len(homes) > 1:
        told = f"several CDI specifications name the same GPUs: {', '.join(homes)}"
        fix = f"sudo rm {homes[0]} (the toolkit keeps {homes[-1]})"
        yield finding("cdi", "warning", told, fix)
    reads = facts.engine is not None and facts.engine.version >= CDI_BY_DEFAULT
    if facts.specs and reads and facts.engine and not facts.engine.cdi_devices:
        told = f"the engine does not read the CDI specification {homes[0]}"
        fix = 'take "cdi": false out of /etc/docker/daemon.json, and restart the engine'
        yield finding("cdi", "warning", told, fix)


def cgroups(facts: Facts) -> Iterator[Finding]:
    """What the toolkit's hook gives, systemd takes back when it reloads its units."""
    engine, host = facts.engine, here(facts)
    if engine is None or engine.cgroup_driver != "systemd" or not works(host):
        return
    if gpu.offer(engine, host) in ("gpu-runtime", "gpu-nvidia"):
        told = "running containers lose the GPU at each `systemctl daemon-reload`, also at updates"
        yield finding("cgroups", "warning", told, f"use CDI: {REFRESH_CDI}; then: invoke down up")


def uvm(facts: Facts) -> Iterator[Finding]:
    host = here(facts)
    if host.loaded and not (host.wsl or host.tegra or "nvidia-uvm" in host.devices):
        told = "/dev/nvidia-uvm is missing: nvidia-smi works without it, CUDA does not"
        yield finding("uvm", "warning", told, "sudo nvidia-modprobe -u -c=0")


def fabric(facts: Facts) -> Iterator[Finding]:
    if facts.nvswitch and here(facts).loaded and facts.fabric != "active":
        told = "this machine's cards are joined by NVSwitch, and the fabric manager does not run"
        fix = "sudo systemctl enable --now nvidia-fabricmanager (of the driver's own version)"
        yield finding("fabric", weight(facts), told, fix)


def mig(facts: Facts) -> Iterator[Finding]:
    cut = [one for one in cards(facts) if one.mig]
    if cut and facts.smi_list and "MIG-" not in facts.smi_list:
        told = f"{cut[0].name} is in MIG mode and cut into no instance: nothing can compute on it"
        fix = "sudo nvidia-smi mig -cgi 0 -C (one instance), or sudo nvidia-smi -mig 0 (mode off)"
        yield finding("mig", weight(facts), told, fix)


def lost(facts: Facts) -> Iterator[Finding]:
    """The running lab: it still has the GPU it was started with, and the proof it passed."""
    for one in facts.containers:
        known = signatures.first(one.inside, "lab") if one.gpu else None
        if known:
            yield finding("lost", "error", f"in {one.service}: {known.problem}", known.fix)
    if facts.proof:
        told = f"the GPU did not compute when the lab was started: {facts.proof}"
        yield finding("lost", weight(facts), told, "nox -s gpu_smoke (shows all of it)")
