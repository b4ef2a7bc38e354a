"""The first build of both images where nothing was downloaded before, by hand and with the lab.

Each gets a bare machine with an engine of its own: no layer, no cache, no download is there before.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clone import ROOT
from machine import Machine, base_image, start_machine
from recipe import BOARD, HEAVY
from rows import Row, seconds

from labcrate.packages.locks import read_pins

STEP_LINE = re.compile(r"^ +([\d.]+) s (\S.*)$", re.MULTILINE)
"""How `invoke build` shows a step that took time."""

LOCKS = ("torch.lock", "packages.in", "packages.lock", "settled.lock")


@contextmanager
def bare_machine(folder: Path) -> Iterator[Machine]:
    """A machine that is set up, with the whole lab's files and nothing built."""
    folder.mkdir()
    machine = start_machine(base_image(), folder)
    try:
        for name in LOCKS:
            machine.write(f"docker/{name}", (ROOT / "docker" / name).read_text())
        machine.run("python3", "bootstrap.py", "invoke", "setup", "--yes", timeout=600)
        yield machine
    finally:
        remove = ["docker", "rm", "--force", "--volumes", machine.name]
        subprocess.run(remove, check=True, capture_output=True)


def by_hand(machine: Machine) -> float:
    """Both images from two Dockerfiles, as an article has them."""
    base = machine.run("sh", "-c", ". ./.env; echo $BASE_IMAGE").stdout.strip()
    state = "/root/lab/.labcrate"
    secrets = f"--secret id=pip.conf,src={state}/pip.conf --secret id=ca.pem,src={state}/ca.pem"
    lists = {
        "heavy": ("torch.lock", "base.lock", "packages.lock"),
        "board": ("tensorboard.lock",),
    }
    for name, dockerfile in (("heavy", HEAVY), ("board", BOARD)):
        pins = [pin for lock in lists[name] for pin in read_pins(ROOT / "docker" / lock).values()]
        machine.sh(f"mkdir -p /root/{name}")
        machine.write(f"/root/{name}/Dockerfile", dockerfile)
        machine.write(
            f"/root/{name}/pins.txt", "".join(f"{pin.name}=={pin.version}\n" for pin in pins)
        )
    build = f"docker build --quiet --build-arg BASE={base} {secrets}"
    both = f"{build} --tag heavy /root/heavy; {build} --tag board /root/board"
    return seconds(lambda: machine.run("bash", "-ec", both, timeout=1800))


def first_build(folder: Path) -> tuple[Row, list[tuple[str, float]]]:
    """The row, and what the lab's build did: its longer steps with their seconds."""
    with bare_machine(folder / "theirs") as machine:
        theirs = by_hand(machine)
    with bare_machine(folder / "ours") as machine:
        started = time.monotonic()
        told = machine.invoke("build", timeout=1800).stdout
        ours = time.monotonic() - started
    steps = [(what, float(taken)) for taken, what in STEP_LINE.findall(told)]
    row = Row(
        name="first build",
        what="both images, nothing downloaded before",
        against="two Dockerfiles with pip and the same versions",
        goal=0.45,
        ours=[ours],
        theirs=[theirs],
    )
    return row, steps
