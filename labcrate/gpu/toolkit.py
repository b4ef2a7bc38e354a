"""`setup` and the NVIDIA Container Toolkit, without which no engine can give a card to the lab.

Installed from the packages that this machine's own sources have. NVIDIA's repository is somebody
else's to add: the exact commands are said.
"""

from __future__ import annotations

from labcrate import environment, output, process
from labcrate.clone.settings import Settings
from labcrate.engine.engine import Engine
from labcrate.engine.install import Confirm, act_on
from labcrate.engine.plan import Step
from labcrate.errors import LabError
from labcrate.gpu.cards import Host, read_host
from labcrate.gpu.offer import CDI_BY_DEFAULT, Missing, offer, toolkit_command
from labcrate.gpu.unused import driven_card

PACKAGE = "nvidia-container-toolkit"
SPEC = "/var/run/cdi/nvidia.yaml"
"""Where the toolkit's own service writes it anew at each boot (toolkit 1.18 and newer)."""

FROM_NVIDIA = "https://nvidia.github.io/libnvidia-container"
KEY = "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg"

BY_HAND = {
    "apt-get": (
        f"curl -fsSL {FROM_NVIDIA}/gpgkey | sudo gpg --dearmor -o {KEY}",
        f"curl -fsSL {FROM_NVIDIA}/stable/deb/{PACKAGE}.list"
        f" | sed 's#deb https://#deb [signed-by={KEY}] https://#'"
        f" | sudo tee /etc/apt/sources.list.d/{PACKAGE}.list",
        f"sudo apt-get update && sudo apt-get install --yes {PACKAGE}",
    ),
    "dnf": (
        f"curl -fsSL {FROM_NVIDIA}/stable/rpm/{PACKAGE}.repo"
        f" | sudo tee /etc/yum.repos.d/{PACKAGE}.repo",
        f"sudo dnf install --assumeyes {PACKAGE}",
    ),
    "zypper": (
        f"sudo zypper addrepo {FROM_NVIDIA}/stable/rpm/{PACKAGE}.repo",
        f"sudo zypper --gpg-auto-import-keys install --no-confirm {PACKAGE}",
    ),
    "pacman": (f"sudo pacman -S --needed {PACKAGE}",),
}
"""NVIDIA's own instructions, by the program that installs packages."""


def ensure_toolkit(settings: Settings, engine: Engine, confirm: Confirm) -> None:
    """Offer what this machine's card lacks, or say it. A lab on the CPU is a lab, so a no and a
    failure are said and no more."""
    host = read_host()
    if settings.gpu == "off" or not driven_card(host) or engine.remote:
        return
    found = offer(engine, host)
    if not isinstance(found, Missing):
        output.setup_row("gpu", "already offered by the engine")
        return
    output.setup_row("gpu", f"NOT USED: {found.why}")
    plan = toolkit_plan(engine, host) if found.toolkit else ()
    if not plan:
        output.say("\n".join(["    to use it:", *by_hand(found, engine, host)]))
        return
    steps = "\n".join(f"    {step.describe()}" for step in plan)
    if not confirm(f"Give the GPU to containers with these steps?\n{steps}\n"):
        output.say(f"    to use it, as root:\n{steps}")
        return
    try:
        for step in plan:
            act_on(step)
    except LabError as error:
        output.say(f"{error}\nThe lab can go on on the CPU.")


def toolkit_plan(engine: Engine, host: Host) -> tuple[Step, ...]:
    """The steps that make the engine offer the card; none where they are not `setup`'s to do.

    An older engine, or a rootless one, must be started anew for it, and with it every container.
    """
    if engine.version < CDI_BY_DEFAULT or engine.rootless:
        return ()
    tell = Step(argv=("nvidia-ctk", "cdi", "generate", f"--output={SPEC}"))
    if "nvidia-ctk" in host.tools:
        return (tell,)
    install = ("apt-get", "install", "--yes", "--no-install-recommends", PACKAGE)
    return (Step(argv=install), tell) if apt_has(PACKAGE) else ()


def apt_has(package: str) -> bool:
    """Whether apt can install a package from the sources that this machine has."""
    if not environment.command_path("apt-cache"):
        return False
    said = process.ask(("apt-cache", "policy", package), extra_env={"LC_ALL": "C"}).stdout
    return "Candidate:" in said and "Candidate: (none)" not in said


def by_hand(found: Missing, engine: Engine, host: Host) -> list[str]:
    """The commands to type, one a line; in words where the distribution is not known."""
    installer = next((name for name in BY_HAND if environment.command_path(name)), "")
    if not found.toolkit or not installer or "nvidia-ctk" in host.tools:
        return [f"    {found.fix}"]
    return [f"    {line}" for line in (*BY_HAND[installer], toolkit_command(engine))]
