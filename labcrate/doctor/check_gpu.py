"""The doctor's checks of the way from an NVIDIA card to a kernel: card, driver, toolkit, engine,
container. Pure functions of the facts, in the order in which a GPU gets lost.

What `up` decides is not decided a second time here: offer.py is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from labcrate import known
from labcrate.doctor.facts import Facts
from labcrate.doctor.findings import Finding, Severity
from labcrate.engine.engine import Engine
from labcrate.errors import LabError
from labcrate.gpu.cards import Card, Host
from labcrate.gpu.devices import CDI, device_names, selected_cards
from labcrate.gpu.offer import CDI_BY_DEFAULT, Missing, choose_gpu, offer

INSTALL_DRIVER = (
    "install NVIDIA's driver, 580 or newer (Debian: the package nvidia-driver; Ubuntu: sudo "
    "ubuntu-drivers install), and reboot"
)
OFFERS_ALL = Engine(version=CDI_BY_DEFAULT, cdi_devices=(f"{CDI}all",))
"""An engine that offers every GPU: what `offer` misses with this one, the driver itself lacks."""


def gpu_finding(check: str, severity: Severity, problem: str, fix: str) -> Finding:
    return Finding(severity=severity, check=check, problem=problem, fix=fix)


def gpu_severity(facts: Facts) -> Severity:
    """How much a lost GPU matters: not at all to whoever does not want one."""
    return "info" if facts.settings and facts.settings.gpu == "off" else "error"


def is_far(facts: Facts) -> bool:
    return facts.engine is not None and facts.engine.remote


def engine_host(facts: Facts) -> Host:
    """The machine that the engine runs on, as far as it is this one."""
    return Host() if is_far(facts) else facts.host


def has_card(facts: Facts) -> bool:
    """Whether there is an NVIDIA GPU, seen from any side."""
    host = engine_host(facts)
    in_wsl = host.wsl and host.smi_found
    on_bus = facts.pci and not is_far(facts)
    return bool(host.cards or host.loaded or host.tegra or in_wsl or on_bus)


def driver_works(host: Host) -> bool:
    """Whether the driver answers, so that what is lost is lost behind it."""
    return bool(host.loaded or host.cards or host.tegra) and not host.smi


def lab_cards(facts: Facts) -> tuple[Card, ...]:
    """The cards that the lab would get."""
    return selected_cards(engine_host(facts).cards, wanted_devices(facts))


def wanted_devices(facts: Facts) -> tuple[str, ...]:
    return device_names(facts.settings.gpu_devices if facts.settings else "all")


def check_card(facts: Facts) -> Iterator[Finding]:
    if has_card(facts) or is_far(facts):
        return
    if facts.settings and facts.settings.gpu == "on":
        problem = "GPU=on in .env, but this machine has no NVIDIA card"
        yield gpu_finding("card", "error", problem, "set GPU=auto in .env")
    else:
        problem = "no NVIDIA card: the lab runs on the CPU"
        yield gpu_finding("card", "info", problem, "nothing to do")


def check_driver(facts: Facts) -> Iterator[Finding]:
    """The kernel has a driver for the card, and the installed tools fit it."""
    host = engine_host(facts)
    if not has_card(facts):
        return
    if not (host.loaded or host.cards or host.tegra or host.wsl):
        problem, fix = _no_driver(facts)
    elif isinstance(broken := offer(OFFERS_ALL, host), Missing):
        problem, fix = broken.why, broken.fix
    elif host.smi:
        failure = known.recognise(host.smi, "host")
        problem = f"nvidia-smi fails: {host.smi.splitlines()[0]}"
        fix = failure.fix if failure else "sudo dmesg | grep -i nvrm (what the driver reports)"
    else:
        yield from _driver_notes(host)
        return
    yield gpu_finding("driver", gpu_severity(facts), problem, fix)


def _driver_notes(host: Host) -> Iterator[Finding]:
    """What will go wrong, or is unknown, with a driver that works."""
    if host.on_disk and host.loaded and host.on_disk != host.loaded:
        problem = f"the next boot loads the NVIDIA driver {host.on_disk}; {host.loaded} runs now"
        fix = "sudo reboot, before the installed tools stop working with the running driver"
        yield gpu_finding("driver", "warning", problem, fix)
    elif not host.smi_found and not host.tegra:
        problem = (
            f"the driver {host.loaded} is loaded, but nvidia-smi is missing: cards are unknown"
        )
        fix = "install it (Debian: nvidia-smi; Ubuntu: nvidia-utils of the driver's number)"
        yield gpu_finding("driver", "warning", problem, fix)


def _no_driver(facts: Facts) -> tuple[str, str]:
    """The problem and its fix, for a card that no driver of NVIDIA's drives."""
    held = sorted({device.driver for device in facts.pci} - {""})
    if "vfio-pci" in held:
        return (
            "the NVIDIA card is reserved for a virtual machine (vfio-pci)",
            "use the lab inside that machine, or give the card back to this one's driver",
        )
    if facts.host.smi_found or facts.host.on_disk:
        return (
            "the NVIDIA driver is installed but not loaded",
            "sudo modprobe nvidia (if that fails: reinstall the driver with the headers of "
            "`uname -r`; with Secure Boot its key must be enrolled)",
        )
    instead = f" ({', '.join(held)} drives it, which has no CUDA)" if held else ""
    return f"there is an NVIDIA card but no NVIDIA driver{instead}", INSTALL_DRIVER


def check_way(facts: Facts) -> Iterator[Finding]:
    """The engine gives the GPU to containers: the same judgement as `invoke up` makes."""
    engine, host = facts.engine, engine_host(facts)
    if engine is None or not (driver_works(host) or engine.remote):
        return
    found = offer(engine, host)
    if isinstance(found, Missing):
        must = facts.settings is not None and facts.settings.gpu == "on"
        severity = "info" if engine.remote and not must else gpu_severity(facts)
        yield gpu_finding("way", severity, f"no GPU reaches containers: {found.why}", found.fix)
        return
    try:
        choice = choose_gpu("auto", wanted_devices(facts), engine, host)
    except LabError as error:
        yield gpu_finding("way", gpu_severity(facts), error.problem, error.fix)
        return
    yield gpu_finding("way", "info", f"containers get {choice.line}", "nothing to do")


def check_cdi(facts: Facts) -> Iterator[Finding]:
    """A CDI specification is a list of files: it is out of date once the driver changes."""
    if is_far(facts):
        return
    loaded, refresh = engine_host(facts).loaded, known.fix_text("refresh-cdi")
    for spec in facts.specs:
        if loaded and spec.versions and loaded not in spec.versions:
            problem = f"{spec.path} is for driver {', '.join(spec.versions)}, but {loaded} runs"
            yield gpu_finding("cdi", gpu_severity(facts), problem, refresh)
        elif spec.gone:
            problem = f"{spec.path} names devices that do not exist: {', '.join(spec.gone)}"
            yield gpu_finding("cdi", gpu_severity(facts), problem, refresh)
    paths = sorted({spec.path for spec in facts.specs})
    if len(paths) > 1:
        problem = f"several CDI specifications name the same GPUs: {', '.join(paths)}"
        fix = f"sudo rm {paths[0]} (the toolkit maintains {paths[-1]})"
        yield gpu_finding("cdi", "warning", problem, fix)
    engine = facts.engine
    if paths and engine and engine.version >= CDI_BY_DEFAULT and not engine.cdi_devices:
        problem = f"the engine does not read the CDI specification {paths[0]}"
        fix = 'remove "cdi": false from /etc/docker/daemon.json, and restart the engine'
        yield gpu_finding("cdi", "warning", problem, fix)


def check_cgroups(facts: Facts) -> Iterator[Finding]:
    """What the toolkit's hook gives, systemd takes away when it reloads its units."""
    engine, host = facts.engine, engine_host(facts)
    if engine is None or engine.cgroup_driver != "systemd" or not driver_works(host):
        return
    if offer(engine, host) in ("gpu-runtime", "gpu-nvidia"):
        problem = "running containers lose the GPU at every `systemctl daemon-reload` and update"
        fix = f"use CDI: {known.fix_text('refresh-cdi')}; then: invoke down up"
        yield gpu_finding("cgroups", "warning", problem, fix)


def check_uvm(facts: Facts) -> Iterator[Finding]:
    host = engine_host(facts)
    if host.loaded and not (host.wsl or host.tegra or "nvidia-uvm" in host.devices):
        problem = "/dev/nvidia-uvm is missing: nvidia-smi works without it, but CUDA does not"
        yield gpu_finding("uvm", "warning", problem, "sudo nvidia-modprobe -u -c=0")


def check_fabric(facts: Facts) -> Iterator[Finding]:
    if facts.fabric not in (None, "active") and engine_host(facts).loaded:
        problem = "NVSwitch joins this machine's cards, but the fabric manager does not run"
        fix = "sudo systemctl enable --now nvidia-fabricmanager (in the driver's own version)"
        yield gpu_finding("fabric", gpu_severity(facts), problem, fix)


def check_mig(facts: Facts) -> Iterator[Finding]:
    split = [card for card in lab_cards(facts) if card.mig]
    if split and facts.smi_list and "MIG-" not in facts.smi_list:
        problem = f"{split[0].name} is in MIG mode without any instance: nothing can use it"
        fix = "sudo nvidia-smi mig -cgi 0 -C (one instance), or sudo nvidia-smi -mig 0 (mode off)"
        yield gpu_finding("mig", gpu_severity(facts), problem, fix)


def check_lost(facts: Facts) -> Iterator[Finding]:
    """The running lab still has the GPU it was started with, and the proof passed in it."""
    for one in facts.lab.containers:
        failure = known.recognise(one.inside, "lab") if one.gpu else None
        if failure:
            problem = f"in {one.service}: {failure.problem}"
            yield gpu_finding("lost", "error", problem, failure.fix)
    if facts.lab.proof:
        problem = f"the GPU did not compute when the lab was started: {facts.lab.proof}"
        yield gpu_finding(
            "lost", gpu_severity(facts), problem, "nox -s gpu_smoke (shows all of it)"
        )
